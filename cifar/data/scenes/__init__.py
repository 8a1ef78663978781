"""Synthetic scenes composed of the images of another data set."""

from cifar.data.scenes.builder import scenes

__all__ = ["scenes"]
