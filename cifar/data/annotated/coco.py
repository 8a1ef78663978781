"""Photos annotated in COCO's JSON format: boxes, and masks as polygons or run lengths.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, https://cocodataset.org/#format-data
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, NonNegativeInt, PositiveInt, Tag, ValidationError

from cifar.config.registry import DATASETS
from cifar.config.schema import Share
from cifar.data.annotated.base import check_size, checked_box, checked_classes, rarest
from cifar.data.annotated.rle import polygon_mask, run_lengths, run_mask
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Listing, Options, Reader, checked_file, photo_dataset
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath, open_tree
from cifar.interfaces import VOID, Dataset
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import np

ACCEPTED = "COCO's JSON: images, categories and annotations"


class Entry(BaseModel):
    """A record of the file; other fields are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class Photo(Entry):
    id: int
    file_name: str
    width: PositiveInt
    height: PositiveInt


class Category(Entry):
    id: int
    name: str


class Runs(Entry):
    size: tuple[PositiveInt, PositiveInt]
    counts: list[NonNegativeInt] | str


Segmentation = Annotated[
    Annotated[list[list[float]], Tag("polygons")] | Annotated[Runs, Tag("runs")],
    Discriminator(lambda value: "polygons" if isinstance(value, list) else "runs"),
]


class Annotation(Entry):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: Literal[0, 1] = 0
    segmentation: Segmentation | None = None


class File(Entry):
    images: Annotated[list[Photo], Field(min_length=1)]
    categories: list[Category]
    annotations: list[Annotation]


@dataclass(frozen=True)
class CheckedAnnotation:
    """A valid annotation: box (left, top, right, bottom), class from 0, and mask."""

    box: list[float]
    label: int
    crowd: bool
    area: list[list[float]] | np.ndarray | None
    """Polygons, or run lengths."""


@DATASETS.register
def coco(
    seed: int,
    *,
    path: str,
    train: str,
    val: str | None,
    test: str | None,
    annotations: str,
    images: str,
    size: PositiveInt,
    val_fraction: Share,
    test_fraction: Share = 0.2,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos of COCO at `path` as (size, size, 3), with boxes, and with masks if there are segmentations.

    `train`, `val` and `test` name splits; a split has the file `annotations` and the folder `images`, with its name in
    place of `{split}`. If `val` or `test` is None, it is split off the training images. The classes are the categories,
    sorted by id. Annotations with `iscrowd` are crowds. Pixels with objects of several classes are `VOID` in the mask.
    Raises `InputError` for invalid or contradictory files. For the other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        files = {split: _File(root, split, annotations, images) for split in (train, val, test) if split is not None}
        class_names = files[train].class_names
        for file in files.values():
            if file.class_names != class_names:
                raise InputError(
                    f"{file.path}: categories differ from those of {files[train].path}; accepted: the same"
                )
        annotations_by_photo = {split: file.annotations_by_photo() for split, file in files.items()}
        has_mask = {
            item.area is not None
            for photos in annotations_by_photo.values()
            for items in photos.values()
            for item in items
        }
        masks = True in has_mask
        if len(has_mask) > 1:
            raise InputError(f"{root}: some annotations have a segmentation and some have none; accepted: all or none")
        parts = {split: files[split].examples(annotations_by_photo[split], masks) for split in files}
        listing = Listing(root.name, root, class_names, parts[train], parts.get(val or ""), parts.get(test or ""))
        return photo_dataset(listing, Options(seed, size, "letterbox", val_fraction, test_fraction, limit, reader))


class _File:
    """The annotation file of a split."""

    def __init__(self, root: TreePath, split: str, annotations: str, images: str):
        self.path = root.member(annotations.replace("{split}", split))
        self._folder = root.member(images.replace("{split}", split))
        self._content = _parsed(self.path)
        self._photos = _by_id(self._content.images, f"{self.path}: image")
        categories = _by_id(self._content.categories, f"{self.path}: category")
        ids = sorted(categories)
        self.class_names = checked_classes([categories[number].name for number in ids], self.path)
        self._labels = {number: label for label, number in enumerate(ids)}

    def annotations_by_photo(self) -> dict[int, list[CheckedAnnotation]]:
        """Return the valid annotations by photo id; invalid ones are reported to `invalid_files`."""
        valid: dict[int, list[CheckedAnnotation]] = {number: [] for number in self._photos}
        seen: set[int] = set()
        for annotation in self._content.annotations:
            with skipping_invalid("annotation"):
                item = self._checked(annotation, seen)
                valid[annotation.image_id].append(item)
        return valid

    def examples(self, annotations_by_photo: Mapping[int, list[CheckedAnnotation]], masks: bool) -> list[Example]:
        classes = [np.array([item.label for item in items], np.int64) for items in annotations_by_photo.values()]
        groups = rarest(classes, len(self.class_names))
        found = []
        for number, group in zip(annotations_by_photo, groups, strict=True):
            with skipping_invalid():
                found.append(self._example(self._photos[number], annotations_by_photo[number], group, masks))
        return found

    def _example(self, photo: Photo, items: Sequence[CheckedAnnotation], group: int, masks: bool) -> Example:
        where = f"{self.path}: image {photo.id}"
        with refusing(where, "a file_name within the folder"):
            file = checked_file(self._folder.member(photo.file_name), where)
        return Example(file, group, functools.partial(_targets, photo, items, masks, file, where))

    def _checked(self, annotation: Annotation, seen: set[int]) -> CheckedAnnotation:
        where = f"{self.path}: annotation {annotation.id}"
        if annotation.id in seen:
            raise InputError(f"{where}: repeated id; accepted: unique ids")
        seen.add(annotation.id)
        if annotation.image_id not in self._photos:
            raise InputError(f"{where}: no image has the id {annotation.image_id}; accepted: those of images")
        if annotation.category_id not in self._labels:
            raise InputError(
                f"{where}: category_id {annotation.category_id}; {did_you_mean('', map(str, self._labels))}; "
                f"accepted: one of these"
            )
        photo = self._photos[annotation.image_id]
        size = (photo.height, photo.width)
        left, top, width, height = annotation.bbox
        box = checked_box((left, top, left + width, top + height), size, where)
        given = annotation.segmentation or None
        area = run_lengths(given.counts, given.size, size, where) if isinstance(given, Runs) else given
        if isinstance(given, list):
            for polygon in given:
                _check_polygon(polygon, size, where)
        return CheckedAnnotation(box, self._labels[annotation.category_id], bool(annotation.iscrowd), area)


def _parsed(path: TreePath) -> File:
    with refusing(path, ACCEPTED):
        try:
            return File.model_validate_json(path.read())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            problem = f"{place.lstrip('.')}: {first['msg']}" if place else first["msg"]
            raise InputError(f"{path}: {problem}; accepted: {ACCEPTED}") from None


def _by_id(entries: Sequence[Any], where: str) -> dict[int, Any]:
    by_id = {}
    for entry in entries:
        if entry.id in by_id:
            raise InputError(f"{where} {entry.id}: repeated id; accepted: unique ids")
        by_id[entry.id] = entry
    return by_id


def _check_polygon(polygon: Sequence[float], size: tuple[int, int], where: str) -> None:
    if len(polygon) < 6 or len(polygon) % 2:
        raise InputError(f"{where}: a polygon of {len(polygon)} numbers; accepted: x and y of three corners or more")
    for limit, coordinates in zip(size[::-1], (polygon[0::2], polygon[1::2]), strict=True):
        if min(coordinates) < -1 or max(coordinates) > limit + 1:
            raise InputError(
                f"{where}: a polygon exceeds the image of {size[1]}×{size[0]} pixels; accepted: by at most one pixel"
            )


def _targets(
    photo: Photo, items: Sequence[CheckedAnnotation], masks: bool, file: TreePath, where: str, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    check_size(size, (photo.height, photo.width), file, where)
    targets = {
        "boxes": np.array([item.box for item in items], np.float64).reshape(-1, 4),
        "classes": np.array([item.label for item in items], np.int64),
        "crowd": np.array([item.crowd for item in items], bool),
    }
    return targets | ({"mask": _mask(items, size)} if masks else {})


def _mask(items: Sequence[CheckedAnnotation], size: tuple[int, int]) -> np.ndarray:
    """Mask, uint8 of `size`; `VOID` where objects of several classes overlap, like torchvision's reference."""
    mask = np.zeros(size, np.uint8, order="F")  # the order of run lengths
    for item in items:
        assert item.area is not None
        inside = run_mask(item.area, size) if isinstance(item.area, np.ndarray) else polygon_mask(item.area, size)
        value = np.uint8(item.label + 1)
        np.copyto(mask, np.where((mask == 0) | (mask == value), value, np.uint8(VOID)), where=inside)
    return mask
