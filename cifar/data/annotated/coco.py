"""Photos annotated in the JSON of COCO: boxes, and masks as polygons or run lengths.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, https://cocodataset.org/#format-data
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, NonNegativeInt, PositiveInt, Tag, ValidationError

from cifar.config.registry import DATASETS
from cifar.config.schema import Share
from cifar.data.annotated.base import Example, annotated, check_size, checked_box, checked_classes, checked_file, rarest
from cifar.data.annotated.rle import polygon_mask, run_mask, runs_of
from cifar.files.safe_io import member, read_file, refusing
from cifar.interfaces import VOID, Dataset
from cifar.runtime.errors import InputError, did_you_mean, warn
from cifar.runtime.lazy import np

ACCEPTED = "the JSON of COCO: images, categories and annotations"
SAID = 3
"""Broken annotations of a file that are told of one by one."""


class Entry(BaseModel):
    """A record of the file; what else it states is passed over."""

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
class Thing:
    """An annotation that was checked: its box as (left, top, right, bottom), its class from 0, and its mask."""

    box: list[float]
    label: int
    crowd: bool
    area: list[list[float]] | np.ndarray | None
    """Polygons, or lengths of runs."""


@DATASETS.register
def coco(
    seed: int,
    *,
    path: str,
    train: str,
    val: str | None,
    test: str,
    annotations: str,
    images: str,
    on_invalid: Literal["refuse", "skip"],
    size: PositiveInt,
    val_fraction: Share,
    limit: PositiveInt | None,
) -> Dataset:
    """The photos of COCO at `path` as (size, size, 3), with boxes, and with masks if there are segmentations.

    `train`, `val` and `test` name splits; that of a name has the file `annotations` and the folder `images`, with the
    name in the place of `{split}`. Without `val`, it is cut from the training images. The classes are the categories in
    the order of their ids. `iscrowd` makes a crowd. In the mask, a pixel of objects of several classes is void. Raises
    `InputError` for what does not agree with the format or with itself; `on_invalid=skip` leaves out, with a warning,
    annotations whose box, segmentation or ids make no sense. Settings and errors else are those of `annotated`.
    """
    root = Path(path).expanduser()
    found = {split: _File(root, split, annotations, images) for split in (train, val, test) if split is not None}
    class_names = found[train].class_names
    for file in found.values():
        if file.class_names != class_names:
            raise InputError(f"{file.path}: its categories are not those of {found[train].path}; accepted: the same")
    things = {split: file.things(skip=on_invalid == "skip") for split, file in found.items()}
    every = [thing for photos in things.values() for here in photos.values() for thing in here]
    masks = any(thing.area is not None for thing in every)
    if masks and not all(thing.area is not None for thing in every):
        raise InputError(f"{root}: some annotations have a segmentation and some have none; accepted: all or none")
    parts = {split: found[split].examples(things[split], masks) for split in found}
    return annotated(root.resolve().name, parts[train], None if val is None else parts[val], parts[test], class_names,
                     seed=seed, size=size, val_fraction=val_fraction, limit=limit)  # fmt: skip


class _File:
    """The annotations of a split."""

    def __init__(self, root: Path, split: str, annotations: str, images: str):
        self.path = member(root, annotations.replace("{split}", split))
        self._folder = member(root, images.replace("{split}", split))
        self._content = _parsed(self.path)
        self._photos = _by_id(self._content.images, f"{self.path}: image")
        categories = _by_id(self._content.categories, f"{self.path}: category")
        ids = sorted(categories)
        self.class_names = checked_classes([categories[number].name for number in ids], self.path)
        self._labels = {number: label for label, number in enumerate(ids)}

    def things(self, skip: bool) -> dict[int, list[Thing]]:
        """By the id of a photo what is on it, all checked; without those that make no sense if they are to `skip`."""
        found: dict[int, list[Thing]] = {number: [] for number in self._photos}
        seen: set[int] = set()
        skipped = []
        for annotation in self._content.annotations:
            try:
                thing = self._checked(annotation, seen)
            except InputError as error:
                if not skip:
                    raise
                skipped.append(str(error))
            else:
                found[annotation.image_id].append(thing)
        if skipped:
            warn(
                f"{'; '.join(skipped[:SAID])}{' …' if skipped[SAID:] else ''}: {len(skipped)} of "
                f"{len(self._content.annotations)} annotations left out"
            )
        return found

    def examples(self, things: Mapping[int, list[Thing]], masks: bool) -> list[Example]:
        classes = [np.array([thing.label for thing in here], np.int64) for here in things.values()]
        groups = rarest(classes, len(self.class_names))
        return [self._example(self._photos[number], things[number], group, masks)
                for number, group in zip(things, groups, strict=True)]  # fmt: skip

    def _example(self, photo: Photo, here: Sequence[Thing], group: int, masks: bool) -> Example:
        where = f"{self.path}: image {photo.id}"
        with refusing(where, "a file_name within the folder"):
            file = checked_file(member(self._folder, photo.file_name), where)
        return Example(file, group, functools.partial(_targets, photo, here, masks, file, where))

    def _checked(self, annotation: Annotation, seen: set[int]) -> Thing:
        where = f"{self.path}: annotation {annotation.id}"
        if annotation.id in seen:
            raise InputError(f"{where}: its id comes twice; accepted: ids that differ")
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
        area = annotation.segmentation or None
        if isinstance(area, Runs):
            area = runs_of(area.counts, area.size, size, where)
        elif area is not None:
            for polygon in area:
                _check_polygon(polygon, size, where)
        return Thing(box, self._labels[annotation.category_id], bool(annotation.iscrowd), area)


def _parsed(path: Path) -> File:
    with refusing(path, ACCEPTED):
        try:
            return File.model_validate_json(read_file(path))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            told = f"{place.lstrip('.')}: {first['msg']}" if place else first["msg"]
            raise InputError(f"{path}: {told}; accepted: {ACCEPTED}") from None


def _by_id(entries: Sequence[Any], where: str) -> dict[int, Any]:
    found = {}
    for entry in entries:
        if entry.id in found:
            raise InputError(f"{where} {entry.id}: its id comes twice; accepted: ids that differ")
        found[entry.id] = entry
    return found


def _check_polygon(polygon: Sequence[float], size: tuple[int, int], where: str) -> None:
    if len(polygon) < 6 or len(polygon) % 2:
        raise InputError(f"{where}: a polygon of {len(polygon)} numbers; accepted: x and y of at least three corners")
    for limit, places in zip(size[::-1], (polygon[0::2], polygon[1::2]), strict=True):
        if min(places) < -1 or max(places) > limit + 1:
            raise InputError(
                f"{where}: a polygon sticks out of the image of {size[1]}×{size[0]} pixels; accepted: by "
                f"one pixel at most"
            )


def _targets(
    photo: Photo, here: Sequence[Thing], masks: bool, file: Path, where: str, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    check_size(size, (photo.height, photo.width), file, where)
    targets = {
        "boxes": np.array([thing.box for thing in here], np.float64).reshape(-1, 4),
        "classes": np.array([thing.label for thing in here], np.int64),
        "crowd": np.array([thing.crowd for thing in here], bool),
    }
    return targets | ({"mask": _mask(here, size)} if masks else {})


def _mask(here: Sequence[Thing], size: tuple[int, int]) -> np.ndarray:
    """uint8 of `size`; void where objects of several classes overlap, as torchvision's reference has it."""
    mask = np.zeros(size, np.uint8, order="F")  # as run lengths go
    for thing in here:
        inside = run_mask(thing.area, size) if isinstance(thing.area, np.ndarray) else polygon_mask(thing.area, size)
        value = np.uint8(thing.label + 1)
        np.copyto(mask, np.where((mask == 0) | (mask == value), value, np.uint8(VOID)), where=inside)
    return mask
