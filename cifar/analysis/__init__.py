"""Recorded runs against each other: settings, results, cost, tests, and the images that tell them apart."""

from cifar.analysis.groups import grouped, named, of_experiment, of_sweep
from cifar.analysis.report import Comparison, as_text

__all__ = ["Comparison", "as_text", "grouped", "named", "of_experiment", "of_sweep"]
