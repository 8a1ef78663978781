"""Recorded runs against each other: settings, results, cost, tests, and the images that tell them apart."""

from cifar.comparison.groups import grouped, named, of_experiment, of_sweep
from cifar.comparison.page import check_place, write
from cifar.comparison.report import Comparison, as_text

__all__ = ["Comparison", "as_text", "check_place", "grouped", "named", "of_experiment", "of_sweep", "write"]
