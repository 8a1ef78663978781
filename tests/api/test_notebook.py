"""`examples/quickstart.ipynb`, its cells in order as a notebook runs and shows them."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from cifar.runtime.paths import ROOT
from helpers.runs import sqlite


def shown(code: str, names: dict[str, Any]) -> Any:
    """What a notebook shows of a cell: the value of its last expression."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return None


@pytest.mark.slow  # trains twice
def test_quickstart(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite(tmp_path))
    cells = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    run, picture, answers, _, runs = (
        shown("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"
    )
    assert "data:image/png;base64," in run._repr_html_()
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert list(answers) == [0, 1, 2, 3, 4]
    assert len(runs) == 2
    printed = capsys.readouterr().out
    assert "test:" in printed
    assert "optimizer.lr" in printed
