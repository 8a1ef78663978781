"""Builders from outside of the package: of a folder that the command names, and of installed packages.

Such a folder looks like the checkout: `models/mine.py` registers a builder, `conf/model/mine.yaml` states its settings.
Its files are the modules `cifar_extensions.models.mine`, and so on. Code is imported only from a folder that the
command of this process names, or from a package that is installed with an entry point of the group `cifar.extensions`.
Records have the names and hashes of files, which are compared; nothing is ever imported because of a record.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cifar.config import search_path
from cifar.config.command_line import parts
from cifar.files.hashing import file_sha256
from cifar.runtime.errors import InputError, did_you_mean, first_line
from cifar.runtime.paths import COMMAND, CONF

if TYPE_CHECKING:
    from cifar.config.registry import Registry

PACKAGE = "cifar_extensions"
"""The package that the modules of a folder are in."""
GROUP = "cifar.extensions"
"""The group of entry points; each names a package with such folders."""
SETTING = "extensions="
TESTS = "tests"
"""A folder that is no part of the extension."""


@dataclass(frozen=True)
class Extensions:
    """A folder that is loaded; `files` are the SHA-256 of its files by their paths in it."""

    folder: Path
    files: Mapping[str, str]


_named: Extensions | None = None


def named() -> Extensions | None:
    """The folder that the command of this process names, if it names one."""
    return _named


def add_argument(command: argparse.ArgumentParser) -> None:
    """Add `--extensions` to a command that reads the settings of runs."""
    command.add_argument("--extensions", metavar="DIR", help="folder with the run's own models, data sets, …")


def load_command(arguments: Sequence[str]) -> None:
    """Load installed extensions, and the folder that one of the `arguments` of `run.py` names; raises `InputError`."""
    load_installed()
    for argument in arguments:
        if (given := argument.lstrip("+")).startswith(SETTING) and (folder := parts(given)[1]) not in ("null", ""):
            load(folder)


def load_installed() -> None:
    """Load the installed packages that have an entry point of the group `cifar.extensions`; raises `InputError`."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        found = importlib.util.find_spec(entry.value)
        if found is None or not found.submodule_search_locations:
            raise InputError(f"entry point {entry.name} of {GROUP}: {entry.value} is no package; uninstall or mend it")
        folder = Path(found.submodule_search_locations[0])
        if folder / "conf" not in search_path.folders():
            _import(folder, entry.value, f"package {entry.value}")
            search_path.add(folder / "conf")


def load(folder: str | Path) -> None:
    """Load the builders of a folder; raises `InputError` for one that is no such folder, or whose code fails."""
    global _named
    where, path = f"{SETTING}{folder}", Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise InputError(f"{where}: no such folder; `{COMMAND} new model NAME` writes a start")
    found = Extensions(path, {name: file_sha256(path / name) for name in _files(path, where)})
    if _named and _named != found:
        reason = "its files have changed since" if _named.folder == path else f"those of {_named.folder}"
        raise InputError(f"{where}: this process has loaded extensions, {reason}; a new process can load these")
    if not _named:
        for package, place in {PACKAGE: [], **{f"{PACKAGE}.{room}": [str(path / room)] for room in rooms()}}.items():
            module = sys.modules[package] = ModuleType(package)
            module.__path__ = place
        _import(path, PACKAGE, where)
        _named = found
        search_path.add(path / "conf")


def rooms() -> list[str]:
    """The folders in which modules of builders are, called as those of `cifar/`."""
    return sorted({registry.home.split(".")[1] for registry in _registries()})


def as_recorded(value: object) -> object:
    """The setting `extensions` as a record has it: for the folder that this command names, its files."""
    if not isinstance(value, str):
        return value
    if not _named or _named.folder != Path(value).expanduser().absolute():
        raise ValueError("be given on the command line, which alone can name a folder of code")
    return dict(_named.files)


def require(files: object) -> None:
    """Raises `InputError` unless the `files` that a record has are those of the folder that this command names."""
    if not files:
        return
    if not isinstance(files, Mapping):
        raise InputError(f"extensions={repr(files)[:60]}: should be the SHA-256 of files by their names")
    own = "the run has its own as artifacts in extensions/"
    if not _named:
        shown = ", ".join(map(repr, sorted(map(str, files))[:3]))
        raise InputError(
            f"the run was made with extensions ({shown}); name their folder by --extensions DIR, by extensions=DIR for "
            f"run.py; {own}"
        )
    for name, sha256 in files.items():
        if (now := _named.files.get(name)) != sha256:
            differs = "is missing" if now is None else "differs from that of the run"
            raise InputError(f"{SETTING}{_named.folder}: {name!r} {differs}; {own}, to be put into a folder")


def _registries() -> tuple[Registry[Any], ...]:
    from cifar.config.registry import ALL, LOSSES, METRICS  # not for a command without extensions, such as --help

    return (*ALL, *LOSSES.values(), *METRICS.values())


def _files(folder: Path, where: str) -> list[str]:
    """The paths in `folder` of its code and configurations, sorted; raises `InputError` for what is out of place."""
    code = [path for room in rooms() for path in (folder / room).rglob("*.py")]
    for name in sorted({path.parent.name for path in folder.glob("*/*.py")} - {*rooms(), TESTS}):
        raise InputError(f"{where}: {name}: unknown folder of code; {did_you_mean(name, rooms())}")
    groups = {path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")}
    stated = list((folder / "conf").rglob("*.yaml"))
    for path in stated:
        stem = path.relative_to(folder / "conf")
        if stem.parent.as_posix() not in groups:
            raise InputError(f"{where}: conf/{stem}: unknown group; {did_you_mean(stem.parent.as_posix(), groups)}")
        if (CONF / stem).is_file():
            raise InputError(f"{where}: conf/{stem}: cifar has a choice of this name; give it another")
    if not code + stated:
        raise InputError(f"{where}: no code in it; accepted: folders called {', '.join(rooms())}, and conf")
    return sorted(path.relative_to(folder).as_posix() for path in code + stated)


def _import(folder: Path, package: str, where: str) -> None:
    """Import the modules in the rooms of `folder`, as those of `package`; raises `InputError` with file and line."""
    for registry in _registries():
        registry.registered()  # first, so that a name that is taken is a mistake in the extension
    for room in rooms():
        for module in pkgutil.iter_modules([str(folder / room)]):
            with _reported(folder, where), _no_bytecode():
                importlib.import_module(f"{package}.{room}.{module.name}")


@contextlib.contextmanager
def _reported(folder: Path, where: str) -> Iterator[None]:
    """Turn an error of the code in `folder` into `InputError`."""
    try:
        yield
    except Exception as error:
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            places.append((error.filename or "", error.lineno))
        own = [(file, line) for file, line in places if Path(file).is_relative_to(folder)]
        shown = f"{Path(own[-1][0]).relative_to(folder)}, line {own[-1][1]}: " if own else ""
        raise InputError(f"{where}: {shown}{type(error).__name__}: {first_line(error)}") from error


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Inside the `with`, imports write no files."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
