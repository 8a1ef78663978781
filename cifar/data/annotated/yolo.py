"""Photos annotated in YOLO's format: a text file for each, with a box or a polygon in each line.

Source: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import checked_box, checked_classes, photo_size, rarest
from cifar.data.annotated.objects import Object, targets_of
from cifar.data.annotated.rle import checked_polygons
from cifar.data.annotated.values import as_number, as_whole
from cifar.data.annotated.voc_file import read_lines
from cifar.data.annotated.yolo_layout import find_yolo, label_file
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Listing, Options, Reader, Resize, Size, photo_dataset
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import np

NORMALIZED = 2.0
"""Coordinates are shares of the photo's sides; larger ones than this must be pixels."""


class Label(NamedTuple):
    """A line of a label file: its place, class, box (left, top, right, bottom) and polygon, in shares of the sides."""

    where: str
    number: int
    box: tuple[float, float, float, float]
    polygon: list[float] | None


@DATASETS.register
def yolo(
    seed: int,
    wanted: Collection[str] | None = None,
    *,
    path: str,
    config: str | None,
    size: Size,
    resize: Resize = "letterbox",
    cached_size: Size | None = None,
    val_fraction: Share,
    test_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid,
    reader: Reader,
) -> Dataset:
    """Photos at `path` as images of `size`, with boxes, and with masks if the task has `wanted` them.

    `config` is Ultralytics' YAML file, `data.yaml` by default, with the names of the classes and the places of the
    splits; for other folders see `find_yolo`. Splits that are missing are cut by the fractions. A photo without a label
    file has no objects. The box of a polygon is around it. Raises `InputError`. For the other settings see
    `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        files = find_yolo(root, config)
        labels = {split: _read(photos, files.has_keypoints) for split, photos in files.photos.items()}
        found = [label for split in labels.values() for photo in split.values() for label in photo]
        if not found:
            raise InputError(f"{root}: no photo has labels; accepted: labels/NAME.txt for images/NAME.jpg")
        _warn_of_missing(labels, root)
        masks = all(label.polygon for label in found) if wanted is None else "mask" in wanted
        class_names = checked_classes(files.class_names, root, masks)
        examples = {split: _examples(photos, len(class_names), masks) for split, photos in labels.items()}
        listing = Listing(root.name, root, class_names, **examples)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _warn_of_missing(labels: dict[str, dict[TreePath, list[Label]]], root: TreePath) -> None:
    missing = [photo for split in labels.values() for photo in split if label_file(photo) is None]
    if missing:
        warn(f"{root}: {len(missing)} photos have no label file, and so no objects, such as {missing[0].path}")


def _read(photos: Sequence[TreePath], has_keypoints: bool) -> dict[TreePath, list[Label]]:
    """The valid lines of the label file of each photo; those that cannot be read are reported to `invalid_files`."""
    found: dict[TreePath, list[Label]] = {photo: [] for photo in photos}
    for photo, labels in found.items():
        file = label_file(photo)
        for where, line in read_lines(file) if file is not None else ():
            with skipping_invalid("annotation"):
                labels.append(_label(line, where, has_keypoints))
    return found


def _label(line: str, where: str, has_keypoints: bool) -> Label:
    words = line.split()
    try:
        number, numbers = as_whole(words[0]), [as_number(word) for word in words[1:]]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if numbers and max(map(abs, numbers)) > NORMALIZED and not has_keypoints:
        raise InputError(f"{where}: {line[:60]}; accepted: coordinates divided by the photo's width and height")
    if len(numbers) == 4 or (has_keypoints and len(numbers) > 4):
        x, y, width, height = numbers[:4]
        return Label(where, number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None)
    if len(numbers) < 6 or len(numbers) % 2:
        raise InputError(
            f"{where}: {len(words)} numbers; accepted: class, x, y, width, height, or class and x, y of three corners "
            "or more"
        )
    xs, ys = numbers[0::2], numbers[1::2]
    return Label(where, number, (min(xs), min(ys), max(xs), max(ys)), numbers)


def _examples(photos: dict[TreePath, list[Label]], classes: int, masks: bool) -> list[Example]:
    valid: dict[TreePath, tuple[tuple[int, int], list[Object]]] = {}
    for photo, labels in photos.items():
        with skipping_invalid("photo"):
            size = photo_size(photo)
            valid[photo] = size, []
            for label in labels:
                with skipping_invalid("annotation"):
                    valid[photo][1].append(_object(label, size, classes, masks))
    groups = rarest([np.array([item.label for item in items], np.int64) for _, items in valid.values()], classes)
    return [
        Example(photo, group, functools.partial(targets_of, items, masks, size, photo, photo))
        for (photo, (size, items)), group in zip(valid.items(), groups, strict=True)
    ]


def _object(label: Label, size: tuple[int, int], classes: int, masks: bool) -> Object:
    if not 0 <= label.number < classes:
        raise InputError(f"{label.where}: class {label.number}; accepted: 0 to {classes - 1}, those of names")
    height, width = size
    left, top, right, bottom = label.box
    box = checked_box((left * width, top * height, right * width, bottom * height), size, label.where)
    if not masks:
        return Object(box, label.number, False, None)
    if label.polygon is None:
        raise InputError(f"{label.where}: has no polygon, which a mask needs; accepted: x and y of its corners")
    polygon = [
        share * side for share, side in zip(label.polygon, [width, height] * (len(label.polygon) // 2), strict=True)
    ]
    return Object(box, label.number, False, checked_polygons([polygon], size, label.where))
