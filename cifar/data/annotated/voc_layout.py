"""Where the files of PASCAL VOC's format are: in VOC's own folders, and in those that annotation tools export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cifar.data.annotated.voc_file import read_names
from cifar.data.invalid_files import report_invalid, skipping_invalid
from cifar.data.photos import SPLITS, Finder
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath
from cifar.runtime.errors import InputError

ACCEPTED = "a folder with ImageSets/, Annotations/ and JPEGImages/, or with photos and an XML file for each"
PHOTOS = ("JPEGImages", "images", "Images")
MASKS = ("SegmentationClass", "SegmentationObject")
"""Folders of files of pixels that are no photos."""


class Files(NamedTuple):
    """The files of a photo: where it is listed, its XML file, which may be missing, and its mask, which may be."""

    where: str
    photo: TreePath
    xml: TreePath
    mask: TreePath


def find_files(root: TreePath, image_set: str, given: Mapping[str, str | None]) -> tuple[dict[str, list[Files]], bool]:
    """Return the files of each of the splits `train`, `val` and `test` that there is, and True if lists name them.

    The splits are the lists of these names, or those `given`, in `ImageSets/IMAGE_SET/`; else folders of these names
    with photos and XML files; else `train` is every photo with an XML file. Raises `InputError`.
    """
    lists = root.member(f"ImageSets/{image_set}")
    if lists.is_dir():
        names = _lists(lists, given)
        finder = Finder(_photos(root))
        return {split: list(_listed(root, lists / f"{name}.txt", finder)) for split, name in names.items()}, True
    folders = {split: root.member(name) for split, name in given.items() if name is not None}
    if not folders:
        folders = {split: root / name for split, names in SPLITS.items() for name in names if (root / name).is_dir()}
    if "train" not in folders:
        folders = {"train": root}
    return {split: list(_in_folder(folder)) for split, folder in folders.items()}, False


def _lists(folder: TreePath, given: Mapping[str, str | None]) -> dict[str, str]:
    """The name of the list of each split: of the same name, `val` as the test without one, or the only list."""
    stated = {split: name for split, name in given.items() if name is not None}
    with refusing(folder, ACCEPTED):
        found = {file.stem for file in folder.iterdir() if file.suffix == ".txt"} - {*stated.values()}
    usual: dict[str, str] = {split: split for split in ("train", "val", "test") if split in found}
    if "test" not in {*usual, *stated} and "val" in usual:
        usual["test"] = usual.pop("val")
    if "train" not in usual and ("trainval" in found or len(found) == 1):
        usual["train"] = "trainval" if "trainval" in found else found.pop()
    names = usual | stated
    if "train" not in names:
        shown = ", ".join(sorted(found)[:8]) or "none"
        raise InputError(f"{folder}: lists {shown}; accepted: train.txt and val.txt, or data.train=NAME")
    return names


def _listed(root: TreePath, path: TreePath, finder: Finder) -> Iterator[Files]:
    for where, name in read_names(path):
        with skipping_invalid("photo"):
            xml = root.member(f"Annotations/{name}.xml")
            yield Files(where, finder.photo(f"{name}.jpg", where), xml, root.member(f"SegmentationClass/{name}.png"))


def _in_folder(folder: TreePath) -> Iterator[Files]:
    finder = Finder(_photos(folder), MASKS)
    with refusing(folder, ACCEPTED):
        xmls = [file for file in folder.walk() if file.suffix.lower() == ".xml"]
    if not xmls:
        raise InputError(f"{folder}: has no XML files; accepted: {ACCEPTED}")
    left = {photo.path: photo for photo in finder.photos}
    for xml in xmls:
        with skipping_invalid("photo"):
            photo = finder.photo(f"{xml.parent.path}/{xml.stem}.jpg", str(xml))
            left.pop(photo.path, None)
            yield Files(str(xml), photo, xml, folder.member(f"SegmentationClass/{xml.stem}.png"))
    for photo in left.values():
        report_invalid(InputError(f"{photo}: has no XML file of the same name; accepted: one for each photo"))


def _photos(folder: TreePath) -> TreePath:
    return next((folder / name for name in PHOTOS if (folder / name).is_dir()), folder)
