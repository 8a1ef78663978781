"""Folders of the project, and files of a run."""

from __future__ import annotations

from pathlib import Path

from cifar.runtime.lazy import Lazy

metadata = Lazy("importlib.metadata")

ROOT = Path(__file__).resolve().parents[2]
"""The folder of `run.py`, where `mlflow.db` and `mlruns/` are."""

WEIGHTS = "model.weights.h5"
"""The file of a run's weights, which are those of the epoch that its metric `best/epoch` names."""
