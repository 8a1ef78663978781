"""Folders of the project."""

from __future__ import annotations

from pathlib import Path

from cifar.runtime.lazy import Lazy

metadata = Lazy("importlib.metadata")

ROOT = Path(__file__).resolve().parents[2]
"""The folder of `run.py`, where `mlflow.db` and `mlruns/` are."""
