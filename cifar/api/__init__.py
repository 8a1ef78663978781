"""The Python interface: train, find, load and compare runs as the command line does. `import cifar` has its names."""

from cifar.api.display import Comparison, Picture
from cifar.api.records import Run, Runs, compare, load, runs
from cifar.api.training import run

__all__ = ["Comparison", "Picture", "Run", "Runs", "compare", "load", "run", "runs"]
