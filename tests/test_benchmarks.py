"""The scripts of `benchmarks/` start, from any folder."""

from __future__ import annotations

import pytest

from cifar.runtime.paths import ROOT
from helpers.processes import run_warm

SCRIPTS = sorted(
    path.name for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser" in path.read_text()
)  # the others take settings


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script, tmp_path):
    done = run_warm(ROOT / "benchmarks" / script, "--help", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert f"usage: {script}" in done.stdout
