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
NAMES = (
    {"train": "train2017", "test": "val2017"},  # the published test images have no public annotations
    {"train": "train", "val": "valid", "test": "test"},
    {"train": "train", "val": "val", "test": "test"},
    {"train": "Train", "val": "Validation", "test": "Test"},
)
"""Names of splits that are looked for, where the first has a file."""
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
    are, with the first of `NAMES`, or the only JSON file. A single file is the part of `train`. Raises `InputError`.
    """
    given = {split: name for split, name in splits.items() if name is not None}
    if annotations is not None and "{split}" not in annotations:
        return {"train": Part(root.member(annotations), root.member(images) if images else root)}
    for pattern in FILES if annotations is None else (annotations,):
        for usual in NAMES:
            names = {split: name for split, name in usual.items() if name not in given.values()} | given
            files = {split: root.member(pattern.replace("{split}", name)) for split, name in names.items()}
            found = [split for split in names if files[split].is_file()]
            if found and (annotations is not None or given.keys() <= {*found}):
                return {split: Part(files[split], _folder(root, names[split], images))
                        for split in names if split in found or split in given}  # fmt: skip
    if annotations is not None or given:
        shown = ", ".join(f"data.{split}={name}" for split, name in given.items())
        raise InputError(
            f"{root}: no file {annotations or FILES[0]}{f' for {shown}' * bool(shown)}; accepted: {ACCEPTED}"
        )
    return {"train": Part(_only_file(root), root.member(images) if images else root)}


def _folder(root: TreePath, name: str, images: str | None) -> TreePath:
    if images is not None:
        return root.member(images.replace("{split}", name)) if images != "." else root
    folders = (root.member(folder.replace("{split}", name)) for folder in IMAGES)
    return next((folder for folder in folders if folder.is_dir()), root)


def _only_file(root: TreePath) -> TreePath:
    with refusing(root, "a folder with COCO's JSON"):
        folders = [root, *(folder for folder in (root / "annotations",) if folder.is_dir())]
        files = [file for folder in folders for file in folder.iterdir() if file.suffix.lower() == ".json"]
    if len(files) != 1:
        shown = ", ".join(file.path for file in files[:5]) or "none"
        raise InputError(f"{root}: the files with annotations are not clear (.json: {shown}); accepted: {ACCEPTED}")
    return files[0]
