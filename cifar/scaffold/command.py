"""The command `python -m cifar new`: files of a new part in a folder of extensions."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path
from typing import Any, NamedTuple

from cifar.config.registry import (
    AUGMENTATIONS,
    CALLBACKS,
    DATASETS,
    LOSSES,
    METRICS,
    MODELS,
    OPTIMIZERS,
    SCHEDULES,
    Registry,
)
from cifar.files import atomic
from cifar.runtime.errors import InputError
from cifar.runtime.paths import RUN

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT = Path("extensions")
DIGITS = ("data=digits", "data.limit=300")


class Part(NamedTuple):
    """A kind of part: the registry of its builders, and the settings that use the new one, called NAME."""

    registry: Registry[Any]
    settings: tuple[str, ...]

    @property
    def room(self) -> str:
        """The folder of its code, called as that in `cifar/`."""
        return self.registry.home.split(".")[1]


PARTS = {
    "model": Part(MODELS, ("model=NAME", *DIGITS)),
    "data": Part(DATASETS, ("data=NAME",)),
    "augmentation": Part(AUGMENTATIONS, ("augmentation=NAME", *DIGITS)),
    "callback": Part(CALLBACKS, ("callbacks=[checkpoint,NAME]", *DIGITS)),
    "loss": Part(LOSSES["classification"], ("task.loss=NAME", *DIGITS)),
    "metric": Part(METRICS["classification"], DIGITS),
    "optimizer": Part(OPTIMIZERS, ("optimizer=NAME", *DIGITS)),
    "schedule": Part(SCHEDULES, ("schedule=NAME", *DIGITS)),
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `new`."""
    command.add_argument("kind", metavar="KIND", choices=PARTS, help=", ".join(PARTS))
    command.add_argument("name", metavar="NAME")
    command.add_argument("--extensions", dest="folder", type=Path, metavar="DIR", default=DEFAULT,
                         help="folder that gets the files (default: %(default)s)")  # fmt: skip


def new(arguments: argparse.Namespace) -> None:
    """Write code, settings and a test; raises `InputError` where a file or a choice of this name is there already."""
    part, name, folder = PARTS[arguments.kind], arguments.name, arguments.folder
    if not name.isidentifier() or not name.islower() or keyword.iskeyword(name):
        raise InputError(f"new {arguments.kind} {name}: should be a name of lower-case letters, digits and '_'")
    if name in part.registry.names():
        raise InputError(f"new {arguments.kind} {name}: cifar has one of this name; accepted: another")
    found = files(arguments.kind, name)
    for path in found:
        if (folder / path).exists():
            raise InputError(f"{folder / path}: exists already, and is not overwritten")
    for path, text in found.items():
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            atomic.write(folder / path, text.encode())
        except OSError as error:
            raise InputError(f"{folder / path}: cannot be written: {error.strerror}") from None
        print(folder / path)
    settings = " ".join(part.settings).replace("NAME", name)
    print(f"{RUN} extensions={folder} {settings} epochs=1 uses it; python -m pytest {folder / 'tests'} tests it")


def files(kind: str, name: str) -> dict[Path, str]:
    """The text of each file of a new part, by its path in the folder."""
    part, group = PARTS[kind], PARTS[kind].registry.group
    texts = {Path(part.room, f"{name}.py"): _text(kind, "py")}
    if (TEMPLATES / f"{kind}.yaml.txt").exists():  # losses and metrics have no settings
        texts[Path("conf", group, f"{name}.yaml")] = _text(kind, "yaml")
    settings = ", ".join(f'"{setting}"' for setting in part.settings)
    test = _text("test", "py").replace("SETTINGS", settings).replace("KIND", kind.capitalize())
    texts[Path("tests", f"test_{name}.py")] = test
    return {path: text.replace("NAME", name) for path, text in texts.items()}


def _text(kind: str, suffix: str) -> str:
    return (TEMPLATES / f"{kind}.{suffix}.txt").read_text()
