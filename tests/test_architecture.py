"""Who may import whom, held by the syntax trees; and that checking settings loads nothing heavy."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import python

from cifar.environment import ROOT

FLOORS = {
    0: ("errors", "schema", "lazy", "registry", "contracts", "environment", "interrupts", "config", "mistakes",
        "command_line", "overrides", "untrusted", "objective", "reporting", "text", "files", "runtime"),
    1: ("devices", "layers", "muon", "views", "plots", "study", "calibration", "statistics", "images", "complexity",
        "boxes", "drawing", "masks", "pixelwise", "progress", "state", "data", "models", "tasks", "augmentation",
        "optimizers", "schedules", "averaging", "callbacks"),
    2: ("pipeline", "experiment"),
    3: ("tracking", "recording", "training", "rehearsal"),
    4: ("__main__", "comparison", "export", "listing", "serving", "sweep"),
}  # fmt: skip
FLOOR = {part: floor for floor, parts in FLOORS.items() for part in parts}
FAMILIES = {"data", "models", "tasks", "augmentation", "optimizers", "schedules", "averaging", "callbacks"}
"""The siblings on F1 that register builders; the rest of F1 is shared by them."""
FILES = sorted([ROOT / "run.py", *(ROOT / "cifar").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])


def imports(path: Path) -> Iterator[str]:
    """Dotted names that the file at `path` imports anywhere, but for type checkers only."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        nodes.extend(ast.iter_child_nodes(node))


def part(path: Path) -> str:
    """The part of the package that the file at `path` belongs to: `data` for `cifar/data/digits.py`."""
    return path.relative_to(ROOT / "cifar").parts[0].removesuffix(".py")


def parts_of(path: Path) -> set[str]:
    """The parts of the package that the file at `path` imports; what comes through `lazy` counts as itself."""
    found = set()
    for name in imports(path):
        root, _, rest = name.partition(".")
        if root == "cifar":
            first, _, last = rest.partition(".")
            found.add(last if first == "lazy" and last in FLOOR else first)
    return found


PACKAGE = [path for path in FILES if path.is_relative_to(ROOT / "cifar") and path != ROOT / "cifar" / "__init__.py"]


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT / "cifar")))
def test_imports_go_down_the_floors(path):
    own = part(path)
    assert own in FLOOR, "a new part needs its floor here"
    for other in parts_of(path) - {own}:
        assert FLOOR[other] <= FLOOR[own], f"{own} imports {other}, which is above it"
        assert not (own in FAMILIES and other in FAMILIES), f"{own} imports its sibling {other}"
        assert not (FLOOR[own] == 1 and other in FAMILIES), f"{own} is shared, {other} is not"


def test_parts_import_each_other_in_no_circle():
    graph: dict[str, set[str]] = {}
    for path in PACKAGE:
        graph.setdefault(part(path), set()).update(parts_of(path) - {part(path)})
    graphlib.TopologicalSorter(graph).prepare()


PLUGINS = ("grid_sweeper", "no_folders", "optuna_sweeper", "process_launcher", "shared_store")


@pytest.mark.parametrize(
    ("library", "importers"),
    [
        ("mlflow", {"cifar/tracking"}),
        ("hydra", {"run.py", "cifar/command_line.py", "cifar/mistakes.py", "cifar/overrides.py",
                   *(f"hydra_plugins/{plugin}" for plugin in PLUGINS)}),
        ("optuna", {"cifar/study", "cifar/sweep"}),
        ("sklearn", {"cifar/data", "cifar/tasks"}),
        ("matplotlib", {"cifar/plots"}),
        ("fastapi", {"cifar/serving"}),
        ("uvicorn", {"cifar/serving", "cifar/tracking"}),
    ],
)
def test_only_these_import(library, importers):
    found = {"/".join(path.relative_to(ROOT).parts[:2]) for path in FILES
             for name in imports(path) if name.partition(".")[0] == library}  # fmt: skip
    assert found == importers


def test_hydra_plugins_has_no_init_at_its_top():
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def test_names_of_all_builders_need_no_heavy_library():
    script = """
import sys
import cifar.experiment
from cifar.registry import ALL
assert all(registry.names() for registry in ALL)
heavy = {"tensorflow", "keras", "sklearn", "mlflow", "optuna", "matplotlib", "seaborn", "PIL"}
print(*sorted(heavy & sys.modules.keys()))
"""
    done = python("-c", script)
    assert (done.code, done.stdout.strip()) == (0, ""), done
