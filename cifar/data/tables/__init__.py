"""Photos with a table of their labels: CSV, JSON lines or Parquet, and Hugging Face's `imagefolder` with metadata."""

from cifar.data.tables.builder import table

__all__ = ["table"]
