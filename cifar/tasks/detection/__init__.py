"""Object detection."""

from cifar.tasks.detection.task import detection

__all__ = ["detection"]
