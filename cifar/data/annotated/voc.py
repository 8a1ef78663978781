"""Photos annotated in PASCAL VOC's formats: boxes in XML files, masks in PNG files of indices.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, http://host.robots.ox.ac.uk/pascal/VOC
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import check_size, checked_box, checked_classes, checked_mask, mask_values, rarest
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Listing, Options, Reader, checked_file, photo_dataset
from cifar.files.safe_io import Node, refusing, xml_tree
from cifar.files.tree import TreePath, open_tree
from cifar.images.io import read_index_mask
from cifar.interfaces import Dataset
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import np

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Classes of VOC2007 to VOC2012, in the order of the masks' values."""
SMALL = 2**24
"""Maximum size of a list or an XML file in bytes."""


@dataclass(frozen=True)
class XmlAnnotation:
    """Content of an XML file: the photo's (height, width), and name, line, box and difficulty of each object."""

    size: tuple[int, int]
    names: list[str]
    lines: list[int]
    boxes: list[list[float]]
    difficult: list[bool]


@DATASETS.register
def voc(
    seed: int,
    *,
    path: str,
    image_set: Literal["Main", "Segmentation"],
    train: str,
    val: str | None,
    test: str | None,
    classes: list[str] | None,
    size: PositiveInt,
    val_fraction: Share,
    test_fraction: Share = 0.2,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos of PASCAL VOC at `path`, the folder of a year, as (size, size, 3), with boxes.

    `train`, `val` and `test` name lists in `ImageSets/IMAGE_SET/`; if `val` or `test` is None, it is split off the
    training images. With `image_set=Segmentation` there are also masks, from `SegmentationClass`. Coordinates of boxes
    count from 1 and include the last pixel; difficult objects are crowds. `classes` are VOC's 20 by default. Raises
    `InputError` for invalid or contradictory files. For the other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        class_names = checked_classes(CLASSES if classes is None else classes, "data.classes")
        masks = image_set == "Segmentation"
        parts = {split: _examples(root, root.member(f"ImageSets/{image_set}/{split}.txt"), class_names, masks)
                 for split in (train, val, test) if split is not None}  # fmt: skip
        listing = Listing(root.name, root, class_names, parts[train], parts.get(val or ""), parts.get(test or ""))
        return photo_dataset(listing, Options(seed, size, "letterbox", val_fraction, test_fraction, limit, reader))


def read_list(path: TreePath) -> list[tuple[str, str, list[str]]]:
    """Read a list of images: (file and line number, name, remaining words) of each line; raises `InputError`.

    Empty lines and lines that begin with # are skipped.
    """
    with refusing(path, "a text file with the name of an image in each line"):
        lines = path.read(SMALL).decode().splitlines()
    entries: dict[str, tuple[str, str, list[str]]] = {}
    for number, line in enumerate(lines, 1):
        name, *rest = line.split() or ["#"]
        if name.startswith("#"):
            continue
        if name in entries:
            raise InputError(f"{path}: line {number}: {name} is repeated; accepted: each image once")
        entries[name] = (f"{path}: line {number}", name, rest)
    return list(entries.values())


def read_xml(path: TreePath) -> XmlAnnotation:
    """Read and check an XML file; raises `InputError` with the line of the error."""
    with refusing(path, "an XML file of PASCAL VOC, with size and objects"):
        root = xml_tree(path.read(SMALL))
    height, width = (_number(root, f"size/{name}", path) for name in ("height", "width"))
    if min(height, width) < 1 or height % 1 or width % 1:
        raise InputError(f"{path}: size {width:g}×{height:g}; accepted: whole numbers from 1")
    size = int(height), int(width)
    content = XmlAnnotation(size, [], [], [], [])
    for item in root.iterfind("object"):
        left, top, right, bottom = (_number(item, f"bndbox/{name}", path) for name in ("xmin", "ymin", "xmax", "ymax"))
        content.names.append((item.findtext("name") or "").strip())
        content.lines.append(item.line)
        content.boxes.append(checked_box((left - 1, top - 1, right, bottom), size, f"{path}: line {item.line}"))
        content.difficult.append(_number(item, "difficult", path, 0) != 0)
    return content


def object_targets(content: XmlAnnotation, labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Convert a file's objects to the targets `boxes`, `classes` and `crowd`; difficult objects are crowds."""
    return {
        "boxes": np.array(content.boxes, np.float64).reshape(-1, 4),
        "classes": np.array(labels, np.int64),
        "crowd": np.array(content.difficult, bool),
    }


def _number(node: Node, name: str, path: TreePath, default: float | None = None) -> float:
    child = node.find(name)
    if child is None:
        if default is not None:
            return default
        raise InputError(f"{path}: line {node.line}: {node.tag} has no {name}; accepted: the XML of PASCAL VOC")
    try:
        return float(child.text or "")
    except ValueError:
        raise InputError(
            f"{path}: line {child.line}: {name} is {(child.text or '').strip()[:40]!r}; accepted: a number"
        ) from None


def _examples(root: TreePath, path: TreePath, class_names: Sequence[str], masks: bool) -> list[Example]:
    values = mask_values(class_names)
    annotated_photos, classes = [], []
    for where, name, _ in read_list(path):
        with skipping_invalid():
            xml = checked_file(root.member(f"Annotations/{name}.xml"), where)
            photo = checked_file(root.member(f"JPEGImages/{name}.jpg"), where)
            mask = checked_file(root.member(f"SegmentationClass/{name}.png"), where) if masks else None
            objects = read_xml(xml)
            labels = [_label(called, class_names, f"{xml}: line {line}")
                      for called, line in zip(objects.names, objects.lines, strict=True)]  # fmt: skip
            classes.append(np.array(labels, np.int64))
            annotated_photos.append((photo, functools.partial(_targets, objects, labels, xml, photo, mask, values)))
    groups = rarest(classes, len(class_names))
    return [Example(photo, group, annotate)
            for (photo, annotate), group in zip(annotated_photos, groups, strict=True)]  # fmt: skip


def _label(name: str, class_names: Sequence[str], where: str) -> int:
    if name not in class_names:
        raise InputError(f"{where}: class {name!r}; {did_you_mean(name, class_names)}; accepted: one of these")
    return class_names.index(name)


def _targets(
    objects: XmlAnnotation,
    labels: Sequence[int],
    xml: TreePath,
    photo: TreePath,
    mask: TreePath | None,
    values: Sequence[int],
    size: tuple[int, int],
) -> dict[str, np.ndarray]:
    check_size(size, objects.size, photo, xml)
    targets = object_targets(objects, labels)
    return targets if mask is None else targets | {"mask": checked_mask(read_index_mask(mask), size, values, mask)}
