"""What this program may overwrite and delete: the files and folders that carry its mark.

A file carries `MARK` near its beginning, each format in its own way: a `<meta name="generator">` of HTML, a text chunk
of PNG, a key of JSON. A folder holds a file called `MARKER`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cifar.files import atomic
from cifar.runtime.errors import InputError

MARK = "Written by python -m cifar, which may overwrite it"
BEGINNING = 1024
"""Bytes of a file in which its mark stands."""
MARKER = ".cifar-folder"


def check(path: Path, label: str = "") -> None:
    """Raise `InputError` where `write` would; `label` is what the message calls the path, by default the path."""
    label, place = label or str(path), path.resolve()
    if place.is_dir() or not os.access(place.parent, os.W_OK):
        raise InputError(f"{label}: cannot be written; accepted: a file in a folder that is there and writable")
    if place.exists() and not is_own(place):
        raise InputError(
            f"{label}: is another program's file, or of an earlier version, and is not overwritten; "
            "accepted: a new file, or one that this command wrote"
        )


def check_new(path: Path, label: str) -> None:
    """Raise `InputError` unless a new file can be written at `path`, for formats that cannot carry the mark."""
    if os.path.lexists(path):
        raise InputError(f"{label}: is there already, and is not overwritten; accepted: a new file")
    check(path, label)


def write(path: Path, content: bytes, label: str = "") -> None:
    """Write a file that carries `MARK`, atomically; raise `InputError` where there is a file that carries none."""
    check(path, label)
    try:
        atomic.write(path, content)
    except OSError as error:
        raise InputError(f"{label or path}: cannot be written: {error.strerror}") from None


def is_own(path: Path) -> bool:
    """True for a readable file that carries `MARK`."""
    if not path.is_file():  # a device or a pipe might never end
        return False
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(BEGINNING)
    except OSError:
        return False


def make_folder(path: Path) -> None:
    """Make the folder at `path` and mark it; a folder that is there already stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:  # perhaps only just, by another process
        if not path.is_dir():
            raise
    else:
        (path / MARKER).write_text("Made by cifar, which deletes this folder when it is done with it.\n")


def remove_folder(path: Path) -> None:
    """Delete the folder at `path` with all in it if it is marked; one that is not stays as it is."""
    if (path / MARKER).is_file() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
