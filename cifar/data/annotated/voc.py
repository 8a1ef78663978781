"""Photos annotated in PASCAL VOC's formats: boxes in XML files, masks in PNG files of indices or colors.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, http://host.robots.ox.ac.uk/pascal/VOC
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import (
    check_size,
    checked_classes,
    checked_mask,
    mask_values,
    object_targets,
    photo_size,
    rarest,
)
from cifar.data.annotated.mask_files import read_mask, voc_colors
from cifar.data.annotated.voc_file import XmlAnnotation, pixel_box, read_labelmap, read_xml
from cifar.data.annotated.voc_layout import Files, find_files
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import Example, Listing, Options, Reader, Resize, Size, checked_file, photo_dataset
from cifar.files.tree import open_tree
from cifar.interfaces import VOID, Dataset
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import np

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Classes of VOC2007 to VOC2012, in the order of the masks' values."""
NO_CLASS = {"background": 0, "void": VOID, "ignored": VOID}


@DATASETS.register
def voc(
    seed: int,
    wanted: Collection[str] | None = None,
    *,
    path: str,
    image_set: Literal["Main", "Segmentation"],
    train: str | None,
    val: str | None,
    test: str | None,
    classes: list[str] | None,
    first_pixel: Literal[0, 1] = 1,
    size: Size,
    resize: Resize = "letterbox",
    cached_size: Size | None = None,
    test_fraction: Share = 0.2,
    val_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos of PASCAL VOC at `path` as images of `size`, with boxes.

    `train`, `val` and `test` name lists in `ImageSets/IMAGE_SET/`; for what is used without lists see `find_files`.
    Splits that are missing are cut by the fractions. With `image_set=Segmentation` there are also masks,
    from `SegmentationClass`. Boxes count from `first_pixel`: see `pixel_box`. Difficult objects are crowds. `classes`
    are by default those of `labelmap.txt`; else VOC's 20, where there are lists; else all names of objects. For the
    other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        masks = image_set == "Segmentation"
        files, has_lists = find_files(root, image_set, {"train": train, "val": val, "test": test})
        contents = {
            split: _read_xmls(listed, needs_boxes=not masks or wanted is None or "boxes" in wanted)
            for split, listed in files.items()
        }
        labelmap = read_labelmap(root / "labelmap.txt") if (root / "labelmap.txt").is_file() else {}
        names = classes or [name for name in labelmap if name.lower() not in NO_CLASS]
        if not names and not has_lists:
            found = [item.name for photos in contents.values() for _, content in photos for item in content.objects]
            names = sorted({name for name in found if name})
        class_names = checked_classes(names or CLASSES, "data.classes", masks)
        colors = None
        if masks:
            order = NO_CLASS | {name: number for number, name in enumerate(class_names, 1)}
            stated = {color: order.get(name, order.get(name.lower())) for name, color in labelmap.items()}
            colors = {color: value for color, value in stated.items() if value is not None} or voc_colors(
                len(class_names)
            )
        examples = {split: _examples(photos, class_names, first_pixel, colors) for split, photos in contents.items()}
        listing = Listing(root.name, root, class_names, **examples)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _read_xmls(listed: Sequence[Files], needs_boxes: bool) -> list[tuple[Files, XmlAnnotation]]:
    found = []
    for files in listed:
        with skipping_invalid("photo"):
            if needs_boxes or files.xml.is_file():
                found.append((files, read_xml(checked_file(files.xml, files.where))))
            else:
                found.append((files, XmlAnnotation(None, None, [])))
    return found


def _examples(
    photos: Sequence[tuple[Files, XmlAnnotation]],
    class_names: Sequence[str],
    first_pixel: int,
    colors: Mapping[int, int] | None,
) -> list[Example]:
    valid = []
    for files, content in photos:
        with skipping_invalid("photo"):
            stated = content.size or photo_size(files.photo)
            if colors is not None:
                checked_file(files.mask, files.where)
            objects = _objects(content, stated, class_names, first_pixel)
            valid.append((files, stated, objects))
    values = mask_values(class_names) if colors is not None else []
    groups = rarest([objects["classes"] for _, _, objects in valid], len(class_names))
    return [
        Example(files.photo, group, functools.partial(_targets, objects, stated, files, colors, values))
        for (files, stated, objects), group in zip(valid, groups, strict=True)
    ]


def _objects(
    content: XmlAnnotation, size: tuple[int, int], class_names: Sequence[str], first_pixel: int
) -> dict[str, np.ndarray]:
    """The targets `boxes`, `classes` and `crowd` of an XML file."""
    boxes, classes, crowd = [], [], []
    for item in content.objects:
        with skipping_invalid("annotation"):
            if item.name not in class_names:
                raise InputError(
                    f"{item.where}: class {item.name!r}; {did_you_mean(item.name, class_names)}; "
                    "accepted: one of these, or data.classes=[NAME,…]"
                )
            boxes.append(pixel_box(item, first_pixel, size))
            classes.append(class_names.index(item.name))
            crowd.append(item.difficult)
    return object_targets(boxes, classes, crowd)


def _targets(
    objects: Mapping[str, np.ndarray],
    stated: tuple[int, int],
    files: Files,
    colors: Mapping[int, int] | None,
    values: Sequence[int],
    size: tuple[int, int],
) -> Mapping[str, np.ndarray]:
    check_size(size, stated, files.photo, files.xml)
    if colors is None:
        return objects
    mask = read_mask(files.mask, colors)
    return {**objects, "mask": checked_mask(mask, size, values, files.photo, files.mask)}
