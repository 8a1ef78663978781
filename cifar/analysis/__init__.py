"""Comparison of recorded runs: settings, results, cost, significance tests, and the images on which they differ."""

from cifar.analysis.groups import grouped, named, of_experiment, of_sweep
from cifar.analysis.report import Comparison, as_text

__all__ = ["Comparison", "as_text", "grouped", "named", "of_experiment", "of_sweep"]
