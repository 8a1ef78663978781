"""What `run.py` loads before it answers, as a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import Completed, run_python
from helpers.runs import sqlite

SPY = """
import runpy, sys
sys.argv = ["run.py", *sys.argv[2:]]
try:
    runpy.run_path("run.py", run_name="__main__")
finally:
    loaded = {"tensorflow", "keras", "mlflow", "sklearn", "matplotlib", "numpy", "pydantic"} & sys.modules.keys()
    open(LOADED, "w").write(" ".join(sorted(loaded)))
"""


def spied(loaded: Path, *arguments: str) -> Completed:
    """`python run.py ARGUMENTS…`, which leaves in the file `loaded` what heavy libraries it has loaded."""
    return run_python("-c", SPY.replace("LOADED", repr(str(loaded))), "run.py", *arguments)


def test_help_loads_nothing_heavy(tmp_path):
    done = spied(tmp_path / "loaded", "--help")
    assert (done.code, done.stderr) == (0, "")
    assert (tmp_path / "loaded").read_text() == "numpy pydantic"


@pytest.mark.parametrize(
    ("arguments", "line", "heavy"),
    [
        ("modle=cnn3", "error: modle", ""),
        ("optimizer.lrr=1", "error: optimizer.lrr=1: unknown setting; did you mean 'lr'? known: ", ""),
        ("++optimizer.lrr=1", "error: optimizer.lrr=1: unknown setting; did you mean 'lr'? known: ", "pydantic"),
        ("optimizer.lr=-1", "error: optimizer.lr=-1: should be greater than 0", "pydantic"),
        ("data.path=/nowhere", "error: /nowhere: no such file or folder; accepted for data.path: ", "pydantic"),
    ],
)
def test_mistake_is_told_before_anything_heavy_loads(tmp_path, arguments, line, heavy):
    loaded = tmp_path / "loaded"
    done = spied(loaded, *arguments.split(), f"tracking.uri={sqlite(tmp_path)}")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert loaded.read_text() == heavy
    assert list(tmp_path.iterdir()) == [loaded]


@pytest.mark.parametrize(("argument", "variables"), [("--debug", {}), ("seed=0", {"HYDRA_FULL_ERROR": "1"})])
def test_traceback_is_shown_when_asked_for(argument, variables):
    done = run_python(ROOT / "run.py", "optimizer.lr=-1", argument, **variables)
    assert done.code == 2
    assert done.stderr.startswith("Traceback")
    assert "InputError: optimizer.lr=-1: should be greater than 0" in done.stderr
