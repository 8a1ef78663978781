"""The folders of configurations: `conf/`, and those of extensions."""

from __future__ import annotations

from pathlib import Path

from cifar.runtime.paths import CONF

_folders = [CONF]


def folders() -> tuple[Path, ...]:
    """All of them, that of the package first."""
    return tuple(_folders)


def add(folder: Path) -> None:
    """Add the `conf/` of an extension."""
    _folders.append(folder)


def choices(group: str) -> list[str]:
    """The names of the choices of a group."""
    return [path.stem for folder in _folders for path in sorted((folder / group).glob("*.yaml"))]


def file(name: str) -> Path:
    """The file of this relative name, in the first folder that has it."""
    return next((folder / name for folder in _folders if (folder / name).is_file()), CONF / name)
