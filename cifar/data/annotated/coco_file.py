"""The content of a file in COCO's JSON format, with the types that different programs write.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, https://cocodataset.org/#format-data
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cifar.data.annotated.values import as_flag, as_id, as_name, as_number, as_whole
from cifar.data.invalid_files import skipping_invalid
from cifar.files import json_stream
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError

ACCEPTED = "COCO's JSON: images, categories and annotations"
Id = int | str


class Photo(NamedTuple):
    """`size` is (height, width), None where the file does not state it."""

    id: Id
    file_name: str
    size: tuple[int, int] | None


class Runs(NamedTuple):
    """A mask of run lengths, as numbers or compressed, for an image of `size` (height, width)."""

    size: tuple[int, int]
    counts: array[int] | str


class Annotation(NamedTuple):
    """An object: `bbox` is left, top, width and height; `area` are polygons (x, y, x, y, …) or runs, if any."""

    name: str
    """What messages call it: its id or its position in the file."""
    photo: Id
    category: Id
    bbox: tuple[float, float, float, float]
    crowd: bool
    area: list[array[float]] | Runs | None


@dataclass
class CocoFile:
    """The images, categories and annotations of the file at `path`; ids are unique."""

    path: TreePath
    photos: dict[Id, Photo] = field(default_factory=dict)
    photo_ids: set[Id] = field(default_factory=set)
    """Also those of photos that are invalid."""
    categories: dict[Id, str] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)

    def where(self, annotation: Annotation) -> str:
        """The place of an annotation, for messages: file, annotation and photo."""
        photo = self.photos.get(annotation.photo)
        shown = "" if photo is None else f" of {photo.file_name}"
        return f"{self.path}: {annotation.name}{shown}"


def read_coco(path: TreePath, with_areas: bool) -> CocoFile:
    """Read a file of any size, one annotation at a time; areas only if asked for. Raises `InputError`.

    Images and annotations that are not readable are reported to `invalid_files`.
    """
    content = CocoFile(path)
    seen: set[Id] = set()
    readers: dict[str, tuple[str, Callable[[str, Any], None]]] = {
        "images": ("photo", lambda name, entry: _add_photo(content, name, entry)),
        "categories": ("category", lambda name, entry: _add_category(content, name, entry)),
        "annotations": ("annotation", lambda name, entry: _add_annotation(content, name, entry, with_areas, seen)),
    }
    found = set()
    with refusing(path, ACCEPTED), path.open() as file:
        for key, entries in json_stream.lists(file):
            if key in readers:
                if entries is None:
                    raise InputError(f"{path}: {key} is no list; accepted: {ACCEPTED}")
                found.add(key)
                kind, read = readers[key]
                for position, entry in enumerate(entries):
                    with skipping_invalid(kind):
                        read(f"{key}[{position}]", entry)
    if "images" in found and not content.photo_ids:
        raise InputError(f"{path}: images is empty; accepted: at least one")
    if missing := [key for key in readers if key not in found]:
        raise InputError(f"{path}: {missing[0]} is missing; accepted: {ACCEPTED}")
    return content


def _add_photo(content: CocoFile, name: str, entry: Any) -> None:
    fields = _Fields(content.path, name, entry)
    number = fields.get("id", as_id)
    if number in content.photo_ids:
        raise InputError(f"{content.path}: image {number}: repeated id; accepted: unique ids")
    content.photo_ids.add(number)
    content.photos[number] = Photo(number, fields.get("file_name", as_name), fields.size())


def _add_category(content: CocoFile, name: str, entry: Any) -> None:
    fields = _Fields(content.path, name, entry)
    number = fields.get("id", as_id)
    if number in content.categories:
        raise InputError(f"{content.path}: category {number}: repeated id; accepted: unique ids")
    content.categories[number] = fields.get("name", as_name)


def _add_annotation(content: CocoFile, name: str, entry: Any, with_areas: bool, seen: set[Id]) -> None:
    fields = _Fields(content.path, name, entry)
    if fields.entry.get("id") is not None:
        number = fields.get("id", as_id)
        fields.name = f"annotation {number}"
        if number in seen:
            raise InputError(f"{content.path}: annotation {number}: repeated id; accepted: unique ids")
        seen.add(number)
    content.annotations.append(
        Annotation(
            fields.name,
            fields.get("image_id", as_id),
            fields.get("category_id", as_id),
            fields.get("bbox", _box),
            fields.get("iscrowd", as_flag, None),
            fields.get("segmentation", _area, None) if with_areas else None,
        )
    )


class _Fields:
    """The fields of an entry; raises `InputError` with its place."""

    def __init__(self, path: TreePath, name: str, entry: Any):
        self.path, self.name, self.entry = path, name, entry
        if not isinstance(entry, dict):
            raise InputError(f"{path}: {name}: {str(entry)[:40]} is no object; accepted: {ACCEPTED}")

    def get(self, key: str, convert: Callable[[Any], Any], *default: Any) -> Any:
        if key not in self.entry and not default:
            raise InputError(f"{self.path}: {self.name}: {key} is missing; accepted: {ACCEPTED}")
        with self._naming(key):
            return convert(self.entry.get(key, *default))

    def size(self) -> tuple[int, int] | None:
        """Height and width; None where one is missing."""
        stated = [self.entry.get(key) for key in ("height", "width")]
        if None in stated:
            return None
        with self._naming("size"):
            height, width = map(as_whole, stated)
            if min(height, width) < 1:
                raise ValueError(f"{width}×{height}; accepted: numbers from 1")
            return height, width

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise InputError(f"{self.path}: {self.name}: {key} {error}") from None


def _box(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"{str(value)[:60]}; accepted: left, top, width and height")
    left, top, width, height = map(as_number, value)
    return left, top, width, height


def _area(value: Any) -> list[array[float]] | Runs | None:
    if isinstance(value, Mapping):
        return _runs(value)
    if value is None or value == "":
        return None
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:60]}; accepted: polygons or run lengths")
    polygons = [value] if value and not isinstance(value[0], list) else value  # a single one without brackets
    return [_polygon(polygon) for polygon in polygons if polygon != []] or None


def _polygon(value: Any) -> array[float]:
    if not isinstance(value, list):
        raise ValueError(f"{str(value)[:60]}; accepted: polygons or run lengths")
    try:
        return array("d", value)
    except (TypeError, OverflowError):  # numbers as texts
        return array("d", map(as_number, value))


def _runs(value: Mapping[str, Any]) -> Runs:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not isinstance(counts, list | str):
        raise ValueError(f"{str(value)[:60]}; accepted: run lengths, with size and counts")
    height, width = map(as_whole, size)
    try:
        return Runs((height, width), counts if isinstance(counts, str) else array("q", map(as_whole, counts)))
    except OverflowError:
        raise ValueError("has counts beyond 64 bits; accepted: run lengths") from None
