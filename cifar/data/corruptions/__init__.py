"""The 15 common corruptions of images at 5 severities, made without files, network or other programs.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
2019, arXiv:1903.12261. The severities are those of CIFAR-10-C, which are made for images of 32×32 pixels.
"""

from cifar.data.corruptions.corrupt import corrupt
from cifar.data.corruptions.kinds import GROUPS, KINDS, SEVERITIES, Kind

__all__ = ["GROUPS", "KINDS", "SEVERITIES", "Kind", "corrupt"]
