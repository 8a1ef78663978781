"""Photos annotated in COCO's JSON format: boxes, and masks as polygons or run lengths."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Literal

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import checked_box, checked_classes, photo_size, rarest
from cifar.data.annotated.coco_file import Annotation, CocoFile, Id, Runs, read_coco
from cifar.data.annotated.coco_layout import Part, find_parts
from cifar.data.annotated.objects import Object, targets_of
from cifar.data.annotated.rle import checked_polygons, run_lengths
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Finder, Listing, Options, Reader, Resize, Size, photo_dataset
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import np


@DATASETS.register
def coco(
    seed: int,
    wanted: Collection[str] | None = None,
    *,
    path: str,
    annotations: str | None,
    images: str | None,
    train: str | None,
    val: str | None,
    test: str | None,
    classes: Literal["used", "all"] | list[str] = "all",
    masks: Literal["task", "found"] = "found",
    size: Size,
    resize: Resize = "letterbox",
    cached_size: Size | None = None,
    test_fraction: Share = 0.2,
    val_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos of COCO at `path` as images of `size`, with boxes, and with masks from segmentations.

    `annotations` and `images` are a file and a folder below `path`, of all photos, or of the split whose name takes the
    place of `{split}`; `train`, `val` and `test` are these names. What is None is looked for: see `find_parts`. Splits
    that are missing are cut by the fractions. `classes` are the categories with annotations, all of them, or those
    of a list, in its order; else they are sorted by id. Annotations with `iscrowd` are crowds. Pixels with objects of
    several classes are `VOID` in the mask. Masks are read if the task has `wanted` them; with `masks=found`, or without
    a task, if all annotations have a segmentation. For the other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        needs_masks = None if wanted is None or masks == "found" else "mask" in wanted
        parts = find_parts(root, annotations, images, {"train": train, "val": val, "test": test})
        files = {part.file.path: read_coco(part.file, needs_masks is not False) for part in parts.values()}
        names = _class_names([files[part.file.path] for part in parts.values()], classes)
        if needs_masks is None:
            areas = {annotation.area is not None for file in files.values() for annotation in file.annotations}
            needs_masks = areas == {True}
        class_names = checked_classes(names, root, needs_masks)
        examples = {
            split: _Objects(files[part.file.path], part, names, needs_masks).examples() for split, part in parts.items()
        }
        listing = Listing(root.name, root, class_names, **examples)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _class_names(files: Sequence[CocoFile], classes: Literal["used", "all"] | list[str]) -> list[str]:
    """The names of the categories to read, of one file after the other, each sorted by id; raises `InputError`."""
    used = {file.categories.get(annotation.category) for file in files for annotation in file.annotations}
    found: dict[str, None] = {}
    for file in files:
        numbers = _numbers(file)
        found |= dict.fromkeys(sorted(numbers, key=lambda name: (isinstance(numbers[name], str), numbers[name])))
    if not isinstance(classes, list):
        return [name for name in found if name in used or classes == "all"]
    for name in classes:
        if name not in found:
            raise InputError(f"data.classes: no category {name!r}; {did_you_mean(name, found)}")
    return classes


def _numbers(file: CocoFile) -> dict[str, Id]:
    """The id of each name; of several, the one with annotations. Raises `InputError` if more than one has some."""
    used = {annotation.category for annotation in file.annotations}
    numbers: dict[str, Id] = {}
    for number, name in file.categories.items():
        other = numbers.setdefault(name, number)
        if other != number and {other, number} <= used:
            raise InputError(f"{file.path}: categories {other} and {number} are both {name!r}; accepted: unique names")
        if number in used:
            numbers[name] = number
    return numbers


class _Objects:
    """The valid annotations of a file, by photo."""

    def __init__(self, file: CocoFile, part: Part, names: Sequence[str], masks: bool):
        self._file, self._masks = file, masks
        self._finder = Finder(part.folder)
        labels = {name: label for label, name in enumerate(names)}
        self._labels = {number: labels.get(name) for number, name in file.categories.items()}
        self._classes = len(names)

    def examples(self) -> list[Example]:
        photos = self._photos()
        objects: dict[Id, list[Object]] = {number: [] for number in photos}
        for annotation in self._file.annotations:
            with skipping_invalid("annotation"):
                label = self._label(annotation)
                if label is not None and annotation.photo in photos:  # else it is not to be read, or invalid itself
                    found = self._checked(annotation, label, photos[annotation.photo][1])
                    objects[annotation.photo].append(found)
        self._file.annotations.clear()  # what is kept of them is in `objects`
        groups = rarest(
            [np.array([item.label for item in items], np.int64) for items in objects.values()], self._classes
        )
        return [
            Example(file, group, functools.partial(targets_of, items, self._masks, size, file, self._file.path))
            for (file, size), items, group in zip(photos.values(), objects.values(), groups, strict=True)
        ]

    def _photos(self) -> dict[Id, tuple[TreePath, tuple[int, int]]]:
        """The file and the size of each photo."""
        found = {}
        for number, photo in self._file.photos.items():
            with skipping_invalid("photo"):
                file = self._finder.photo(photo.file_name, f"{self._file.path}: image {number}")
                found[number] = file, photo.size or photo_size(file)
        return found

    def _label(self, annotation: Annotation) -> int | None:
        """The class of an annotation, `None` for a class that is not read."""
        if annotation.photo not in self._file.photo_ids:
            raise InputError(
                f"{self._file.where(annotation)}: no image has the id {annotation.photo}; accepted: those of images"
            )
        if annotation.category not in self._labels:
            raise InputError(
                f"{self._file.where(annotation)}: category_id {annotation.category}; "
                f"{did_you_mean('', map(str, self._labels))}; accepted: one of these"
            )
        return self._labels[annotation.category]

    def _checked(self, annotation: Annotation, label: int, size: tuple[int, int]) -> Object:
        where = self._file.where(annotation)
        left, top, width, height = annotation.bbox
        box = checked_box((left, top, left + width, top + height), size, where)
        area: Sequence[Sequence[float]] | np.ndarray | None = None
        if self._masks:
            if annotation.area is None:
                raise InputError(f"{where}: has no segmentation, which a mask needs; accepted: polygons or run lengths")
            if isinstance(annotation.area, Runs):
                area = run_lengths(annotation.area.counts, annotation.area.size, size, where)
            else:
                area = checked_polygons(annotation.area, size, where)
        return Object(box, label, annotation.crowd, area)
