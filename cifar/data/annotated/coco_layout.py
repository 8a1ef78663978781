"""Where the files of COCO's format are: in COCO's own folders, and in those that annotation tools export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError

FILES = (
    "annotations/instances_{split}.json",  # COCO, CVAT
    "{split}/_annotations.coco.json",  # Roboflow
    "annotations/{split}.json",
    "{split}/labels.json",  # FiftyOne
    "{split}.json",
)
"""Files of a split, below the folder of the data."""
NAMES = {
    "train": ("train2017", "train", "Train"),
    "val": ("valid", "val", "Valid", "Val", "validation", "Validation"),
    "test": ("val2017", "test", "Test"),  # COCO's own test images have no public annotations
}
"""Names of each split that are looked for, in this order."""
IMAGES = ("{split}", "images/{split}", "images", "data")
"""Folders of the photos of a split, the first of which exists; else they are anywhere below the folder of the data."""
ACCEPTED = "data.annotations=FILE, with {split} in place of the name of a split if each has a file"


class Part(NamedTuple):
    """The file with the annotations of a split, and the folder of its photos."""

    file: TreePath
    folder: TreePath


def find_parts(
    root: TreePath, annotations: str | None, images: str | None, splits: Mapping[str, str | None]
) -> dict[str, Part]:
    """Return the part of each of the splits `train`, `val` and `test` that there is.

    `splits` are the names of those that are given. Without `annotations`, the files are the first of `FILES` that there
    are, with the first names of `NAMES`, or the only JSON file. A single file is that of `train`. Raises `InputError`.
    """
    given = {split: name for split, name in splits.items() if name is not None}
    if annotations is not None and "{split}" not in annotations:
        return {"train": Part(root.member(annotations), _anywhere(root, images))}
    for pattern in FILES if annotations is None else (annotations,):
        names = _names(root, pattern, given)
        files = {split: root.member(pattern.replace("{split}", name)) for split, name in names.items()}
        if files and (annotations is not None or all(file.is_file() for file in files.values())):
            return {split: Part(file, _folder(root, names[split], images)) for split, file in files.items()}
    if annotations is not None or given:
        shown = ", ".join(f"data.{split}={name}" for split, name in given.items())
        raise InputError(
            f"{root}: no file {annotations or FILES[0]}{f' for {shown}' * bool(shown)}; accepted: {ACCEPTED}"
        )
    return {"train": Part(_only_file(root), _anywhere(root, images))}


def _names(root: TreePath, pattern: str, given: Mapping[str, str]) -> dict[str, str]:
    """The name of each split: that `given`, or the first usual one with a file."""

    def has_file(name: str) -> bool:
        return name not in given.values() and root.member(pattern.replace("{split}", name)).is_file()

    found = {}
    for split, usual in NAMES.items():
        name = given.get(split) or next(filter(has_file, usual), None)
        if name is not None:
            found[split] = name
    return found


def _folder(root: TreePath, name: str, images: str | None) -> TreePath:
    if images is not None:
        return _anywhere(root, images.replace("{split}", name))
    folders = (root.member(folder.replace("{split}", name)) for folder in IMAGES)
    return next((folder for folder in folders if folder.is_dir()), root)


def _anywhere(root: TreePath, images: str | None) -> TreePath:
    """The folder of photos that is stated; else photos may be anywhere below `root`."""
    return root.member(images) if images and images != "." else root


def _only_file(root: TreePath) -> TreePath:
    with refusing(root, "a folder with COCO's JSON"):
        folders = [root, *(folder for folder in (root / "annotations",) if folder.is_dir())]
        files = [file for folder in folders for file in folder.iterdir() if file.suffix.lower() == ".json"]
    if len(files) != 1:
        shown = ", ".join(file.path for file in files[:5]) or "none"
        raise InputError(f"{root}: the files with annotations are not clear (.json: {shown}); accepted: {ACCEPTED}")
    return files[0]
