"""Folders of the project, the command lines that a user types, and files of a run.

A checkout has `run.py` and `conf/` next to the package; a wheel has copies of both inside the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `cifar`."""
IS_INSTALLED = (PACKAGE / "run.py").is_file()
"""True for an installed wheel, false for a checkout, also one that is installed as editable."""
ROOT = PACKAGE if IS_INSTALLED else PACKAGE.parent
"""The folder of `run.py` and `conf/`."""
CONF = ROOT / "conf"
STORE = Path.cwd() if IS_INSTALLED else ROOT
"""The folder of `mlflow.db`, `mlruns/` and `optuna.db` unless a setting names another."""

RUN = "cifar run" if IS_INSTALLED else "python run.py"
"""What a user types to train."""
COMMAND = "cifar" if IS_INSTALLED else "python -m cifar"
"""What a user types for a command on recorded runs."""
RUN_PROCESS = (sys.executable, *(("-P", "-m", "cifar", "run") if IS_INSTALLED else (str(ROOT / "run.py"),)))
"""The program and first arguments of a process that trains. `-P` keeps modules of the working folder out of it."""

WEIGHTS = "model.weights.h5"
"""The file of a run's weights, which are those of the epoch that its metric `best/epoch` names."""

EVENT_FILES = "tensorboard"
"""The folder of a run's event files for TensorBoard."""
