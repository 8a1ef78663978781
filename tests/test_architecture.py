"""Who may import whom, checked by the syntax trees; and that checking settings loads nothing heavy."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifar.config.registry import ALL
from cifar.runtime.paths import ROOT
from helpers.processes import run_python
from helpers.source_files import FILES

LAYERS = (
    {"runtime"},
    {"files"},
    {"config"},
    {"interfaces", "reference"},
    {"augmentation", "distributed", "images", "metrics", "optim", "search"},
    {"data", "nn", "plots"},
    {"models", "tasks"},
    {"tracking"},
    {"training"},
    {"analysis", "export", "prediction", "reproduction", "scaffold", "sweep"},
    {"audit", "inspection"},
    {"evaluation"},
    {"api", "serving"},
    {"__main__"},
)
"""The rooms of the package, the lowest layer first; a room imports only from itself and from lower layers."""
LAYER = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}

PRIVATE_NAMES = {"cifar/runtime/private_api.py"}
"""The file that reads private names of libraries, with its reasons."""
HOOKS = {
    "representative_dataset",
    "EntityDeclHandler",
    "SkippedEntityHandler",
    "StartElementHandler",
    "EndElementHandler",
}
"""Attributes by which TensorFlow's converter and Expat take a function."""
DOCUMENTED = {"_exit", "_get_variable_index"}
"""Names of `os` and of Keras's optimizers that look private, and that their documentation says to use."""


def module_of(path: Path) -> str:
    """The dotted name of the file at `path`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES if path.is_relative_to(ROOT / "cifar")}


def imports(path: Path) -> Iterator[str]:
    """Dotted names that the file at `path` imports anywhere, but for type checkers only; also those in strings."""
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
        elif isinstance(node, ast.Constant) and node.value in MODULES and node.value != "cifar":
            yield node.value
        nodes.extend(ast.iter_child_nodes(node))


def own_imports(path: Path) -> set[str]:
    """The modules of this package that the file at `path` imports."""
    found = set()
    for name in imports(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", "cifar", module_of(path)}


def room(module: str) -> str:
    """The room of a module: `data` for `cifar.data.digits`."""
    return module.split(".")[1]


REGISTRY = "cifar.config.registry"
"""It walks the rooms of its builders, and names them in strings."""
GRAPH = {module: own_imports(path) for module, path in MODULES.items() if module not in ("cifar", REGISTRY)}


@pytest.mark.parametrize("module", GRAPH)
def test_imports_go_down_the_layers(module):
    assert room(module) in LAYER, "a new room needs its layer here"
    for other in GRAPH[module]:
        if room(other) != room(module):
            assert LAYER[room(other)] < LAYER[room(module)], f"{module} imports {other}, which is not below it"


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_ours_is_imported_by_a_string(path):
    strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    found = {text for text in strings if isinstance(text, str) and text.startswith("cifar.") and text in MODULES}
    allowed = {registry.home for registry in ALL} if module_of(path) == REGISTRY else set()
    assert found == allowed


@pytest.mark.parametrize(
    ("library", "importers"),
    [
        ("mlflow", {"cifar/tracking"}),
        ("hydra", {"run.py", "cifar/config", "hydra_plugins"}),
        ("optuna", {"cifar/search", "cifar/sweep"}),
        ("sklearn", {"cifar/metrics", "cifar/tasks"}),
        ("matplotlib", {"cifar/plots"}),
        ("fastapi", {"cifar/serving"}),
        ("uvicorn", {"cifar/serving", "cifar/tracking"}),
    ],
)
def test_only_these_import(library, importers):
    found = {path for path in FILES for name in imports(path) if name.partition(".")[0] == library}
    places = {"/".join(path.relative_to(ROOT).parts[:2]) for path in found}
    assert {"hydra_plugins" if place.startswith("hydra_plugins") else place for place in places} == importers


def defined_names(path: Path) -> Iterator[str]:
    """Names of functions, classes and attributes of its own objects that the file at `path` defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name


OWN_NAMES = {name for path in FILES for name in defined_names(path)} | DOCUMENTED


def private_names(path: Path) -> Iterator[str]:
    """What the file at `path` reads of libraries by names that begin with an underscore, or from private modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(attr=name) if name.startswith("_") and name not in OWN_NAMES and name[-2:] != "__":
                yield ast.unparse(node)
            case ast.Attribute(attr="__internal__"):
                yield ast.unparse(node)
            case ast.ImportFrom(module=module) if module != "__future__" and (
                any(part.startswith("_") for part in module.split(".")) or module.startswith("tensorflow.python")
            ):
                yield module


def replaced_parts(path: Path) -> Iterator[str]:
    """What the file at `path` assigns to: attributes of what it imports, and of other objects by functions of its own.

    The names of attributes by which a library takes a callback are not among them.
    """
    nodes = list(ast.walk(ast.parse(path.read_text())))
    methods = {part for node in nodes if isinstance(node, ast.ClassDef) for part in node.body}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node not in methods}
    imported = set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                library = (getattr(node, "module", None) or alias.name).partition(".")[0]
                if library not in sys.stdlib_module_names:
                    imported.add(alias.asname or alias.name.partition(".")[0])
    for node in nodes:
        if isinstance(node, ast.Assign):
            values = getattr(node.value, "elts", [node.value])
            gives_function = any(
                isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)
                for value in values
            )
            for target in (part for whole in node.targets for part in getattr(whole, "elts", [whole])):
                match target:
                    case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                        if name != "self" and attribute not in HOOKS and (gives_function or name in imported):
                            yield ast.unparse(target)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_libraries_are_read_in_one_file(path):
    if str(path.relative_to(ROOT)) not in PRIVATE_NAMES:
        assert list(private_names(path)) == []
        assert list(replaced_parts(path)) == []


def test_hydra_plugins_has_no_init_at_its_top():
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def test_names_of_all_builders_need_no_heavy_library():
    script = """
import sys
import cifar.training.experiment
from cifar.config.registry import ALL, LOSSES, METRICS
assert all(registry.names() for registry in (*ALL, *LOSSES.values(), *METRICS.values()))
heavy = {"tensorflow", "keras", "sklearn", "mlflow", "optuna", "matplotlib", "seaborn", "PIL", "rich"}
print(*sorted(heavy & sys.modules.keys()))
"""
    done = run_python("-c", script)
    assert (done.code, done.stdout.strip()) == (0, ""), done
