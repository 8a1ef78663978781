"""Semantic segmentation."""

from cifar.tasks.segmentation.task import segmentation

__all__ = ["segmentation"]
