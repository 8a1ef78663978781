"""The files of the program."""

from __future__ import annotations

from cifar.runtime.paths import ROOT

FILES = sorted([ROOT / "run.py", *(ROOT / "cifar").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])
