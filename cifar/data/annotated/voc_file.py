"""Files of PASCAL VOC's format: XML files of objects, lists of images, and `labelmap.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

from cifar.data.annotated.base import checked_box
from cifar.data.annotated.values import as_flag, as_number
from cifar.data.invalid_files import skipping_invalid
from cifar.files.safe_io import Node, refusing, xml_tree
from cifar.files.tree import TreePath
from cifar.images.io import SUFFIXES
from cifar.runtime.errors import InputError

SMALL = 2**24
"""Maximum size of a list or an XML file in bytes."""
NONE = Node("none")
"""Stands for an element that is missing."""


class XmlObject(NamedTuple):
    """An object: its place in the file, name, box (xmin, ymin, xmax, ymax) as stated, and difficulty."""

    where: str
    name: str
    box: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True)
class XmlAnnotation:
    """Content of an XML file: the photo's (height, width), `None` where it is not stated, its name, and its objects."""

    size: tuple[int, int] | None
    photo: str | None
    objects: list[XmlObject]


def read_xml(path: TreePath) -> XmlAnnotation:
    """Read an XML file; raises `InputError` with the line. Invalid objects are reported to `invalid_files`."""
    with refusing(path, "an XML file of PASCAL VOC, with size and objects"):
        root = xml_tree(path.read(SMALL))
    objects = []
    for item in cast("Iterator[Node]", root.iterfind("object")):
        with skipping_invalid("annotation"):
            box = tuple(_number(item, f"bndbox/{name}", path) for name in ("xmin", "ymin", "xmax", "ymax"))
            name = (item.findtext("name") or "").strip()
            objects.append(XmlObject(f"{path}: line {item.line}", name, box, _is_difficult(item, path)))
    return XmlAnnotation(_size(root, path), (root.findtext("filename") or "").strip() or None, objects)


def pixel_box(item: XmlObject, first_pixel: int, size: tuple[int, int]) -> list[float]:
    """The checked box (left, top, right, bottom) of an object in a photo of `size`.

    With `first_pixel=1`, coordinates count from 1 and include the last pixel; with 0, they are edges. Raises
    `InputError`.
    """
    left, top, right, bottom = item.box
    return checked_box((left - first_pixel, top - first_pixel, right, bottom), size, item.where)


def read_lines(path: TreePath) -> list[tuple[str, str]]:
    """Read a list: (file and line number, text) of each line but the empty and those that begin with #."""
    with refusing(path, "a text file with the name of an image in each line"):
        lines = path.read(SMALL).decode("utf-8-sig").splitlines()
    return [
        (f"{path}: line {number}", line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.strip().startswith("#")
    ]


def read_names(path: TreePath) -> list[tuple[str, str]]:
    """Read a list of images: (file and line number, name without suffix); raises `InputError` for a repeated name.

    A name may have spaces; a last word of -1, 0 or 1, as in the lists of a class, is not part of it.
    """
    entries: dict[str, str] = {}
    for where, line in read_lines(path):
        name, _, last = line.rpartition(" ")
        name = name.strip() if name.strip() and last in ("-1", "0", "1") else line
        stem, dot, suffix = name.rpartition(".")
        name = stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else name
        if name in entries:
            raise InputError(f"{where}: {name} is repeated; accepted: each image once")
        entries[name] = where
    return [(where, name) for name, where in entries.items()]


def read_labelmap(path: TreePath) -> dict[str, int]:
    """Read CVAT's `labelmap.txt`: names and colors, of 24 bits, in the order of the masks' values, background first."""
    labels: dict[str, int] = {}
    for where, line in read_lines(path):
        name, *rest = line.split(":")
        try:
            red, green, blue = map(int, rest[0].split(","))
            if not 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
                raise ValueError("a color has values from 0 to 255")
        except (ValueError, IndexError):
            raise InputError(f"{where}: {line[:80]!r}; accepted: name:red,green,blue:parts:actions") from None
        labels[name.strip()] = (red << 16) + (green << 8) + blue
    return labels


def _size(root: Node, path: TreePath) -> tuple[int, int] | None:
    """Height and width; `None` where one is missing or 0."""
    height, width = (_number(root, f"size/{name}", path, 0) for name in ("height", "width"))
    if not (height and width):
        return None
    if min(height, width) < 0 or height % 1 or width % 1:
        raise InputError(f"{path}: size {width:g}×{height:g}; accepted: whole numbers from 1")
    return int(height), int(width)


def _is_difficult(item: Node, path: TreePath) -> bool:
    child = _child(item, "difficult")
    text = (child.text or "").strip()
    if text.lower() == "unspecified":  # by LabelImg's and other tools' default
        return False
    try:
        return as_flag(text)
    except ValueError as error:
        raise InputError(f"{path}: line {child.line}: difficult is {error}") from None


def _child(node: Node, name: str) -> Node:
    found = node.find(name)
    return NONE if found is None else cast(Node, found)


def _number(node: Node, name: str, path: TreePath, default: float | None = None) -> float:
    child = _child(node, name)
    text = (child.text or "").strip()
    if not text and default is not None:
        return default
    if child is NONE:
        raise InputError(f"{path}: line {node.line}: {node.tag} has no {name}; accepted: the XML of PASCAL VOC")
    try:
        return as_number(text)
    except ValueError:
        raise InputError(f"{path}: line {child.line}: {name} is {text[:40]!r}; accepted: a number") from None
