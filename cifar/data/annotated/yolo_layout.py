"""Where the files of YOLO's format are: by a `data.yaml` of Ultralytics, or in the folders of annotation tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from cifar.data.annotated.values import as_name, as_whole
from cifar.data.annotated.voc_file import SMALL, read_lines
from cifar.data.photos import SPLITS, Finder, is_image
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError, warn

ACCEPTED = "a folder with data.yaml, or with classes.txt or obj.names, and photos with a .txt file for each"
NAMES = ("classes.txt", "obj.names")
"""Files with the name of a class in each line, by Label Studio, LabelImg and CVAT."""


@dataclass
class YoloFiles:
    """Names of the classes, photos of each split, and the number of key points of a line, if any."""

    class_names: list[str]
    photos: dict[str, list[TreePath]] = field(default_factory=dict)
    has_keypoints: bool = False


def find_yolo(root: TreePath, config: str | None) -> YoloFiles:
    """Find the files below `root`, by the YAML file `config` if it is given; raises `InputError`."""
    file = root.member(config) if config is not None else _config(root)
    if file is not None:
        return _by_config(root, file)
    names = next((root / name for name in NAMES if (root / name).is_file()), None)
    if names is None:
        raise InputError(f"{root}: has no data.yaml; accepted: {ACCEPTED}")
    found = YoloFiles([line for _, line in read_lines(names)])
    for split, folders in SPLITS.items():
        for name in folders:
            place = next((place for place in (f"{name}.txt", name, f"images/{name}") if _exists(root / place)), None)
            if place is not None:
                found.photos.setdefault(split, list(_photos(root, root / place)))
    if "train" not in found.photos:
        found.photos = {"train": list(_photos(root, root / "images" if (root / "images").is_dir() else root))}
    return found


def label_file(photo: TreePath) -> TreePath | None:
    """The file of a photo's labels: in `labels/` instead of the last `images/`, or beside it."""
    parts = photo.path.split("/")
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index("images")
        parts[place] = "labels"
    folder = TreePath(photo.tree, "/".join(parts[:-1]))
    for file in (folder / f"{photo.stem}.txt", photo.parent / f"{photo.stem}.txt"):
        if file.is_file():
            return file
    return None


def _config(root: TreePath) -> TreePath | None:
    with refusing(root, ACCEPTED):
        files = [file for file in root.iterdir() if file.suffix.lower() in (".yaml", ".yml")]
    named = [file for file in files if file.stem in ("data", "dataset")]
    if len(named or files) > 1:
        raise InputError(f"{root}: has {', '.join(file.name for file in named or files)}; accepted: data.config=FILE")
    return next(iter(named or files), None)


def _by_config(root: TreePath, file: TreePath) -> YoloFiles:
    with refusing(file, "a YAML file of Ultralytics, with names, train and val"):
        content = yaml.safe_load(file.read(SMALL).decode("utf-8-sig"))
        if not isinstance(content, Mapping):
            raise ValueError("it is no mapping")
    found = YoloFiles(_names(content, file), has_keypoints="kpt_shape" in content)
    for split in ("train", "val", "test"):
        stated = content.get(split)
        places = [place for place in (stated if isinstance(stated, list) else [stated]) if place]
        located = [_located(file.parent, root, str(place)) for place in places]
        for place, location in zip(places, located, strict=True):
            if location is None and split == "train":
                raise InputError(f"{file}: train: {place}: no such folder or list; accepted: existing ones")
            if location is None:
                warn(f"{file}: {split}: {place}: no such folder or list; images are cut from those for training")
        photos = [photo for location in located if location is not None for photo in _photos(root, location)]
        if photos:
            found.photos[split] = photos
    if "train" not in found.photos:
        raise InputError(f"{file}: train has no images; accepted: a folder or a list of images, below {root}")
    return found


def _names(content: Mapping[str, Any], file: TreePath) -> list[str]:
    """The class names, from a list or a mapping of numbers; raises `InputError`."""
    names = content.get("names")
    with refusing(f"{file}: names", "a list of names, or a mapping from 0, 1, … to them"):
        if names is None and content.get("nc") is not None:
            return [f"class_{number}" for number in range(as_whole(content["nc"]))]
        if isinstance(names, Mapping):
            by_number = {as_whole(number): as_name(name) for number, name in names.items()}
            if sorted(by_number) != list(range(len(by_number))):
                raise ValueError("the numbers are not 0, 1, …")
            return [by_number[number] for number in range(len(by_number))]
        if not isinstance(names, list):
            raise ValueError("they are missing")
        return [as_name(name) for name in names]


def _located(folder: TreePath, root: TreePath, stated: str) -> TreePath | None:
    """The folder or list that a path of any machine means: the most of its last parts that exist, below `root`."""
    parts = [part for part in PurePosixPath(stated.replace("\\", "/")).parts if part not in ("..", "/")]
    for first in range(len(parts)):
        for base in (folder, root):
            if _exists(place := base.member("/".join(parts[first:]))):
                return place
    return None


def _exists(place: TreePath) -> bool:
    return place.is_dir() or place.is_file()


def _photos(root: TreePath, place: TreePath) -> Iterator[TreePath]:
    """The photos in a folder, or in a list of their paths; raises `InputError`."""
    if place.is_file():
        finder = Finder(root)
        yield from (finder.photo(line, where) for where, line in read_lines(place))
        return
    with refusing(place, ACCEPTED):
        yield from (file for file in place.walk() if is_image(file))
