"""Your own photos for segmentation, each with a mask file."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, Share
from cifar.data.annotated.base import checked_classes, checked_mask, mask_values
from cifar.data.annotated.mask_files import read_color_mask, read_index_mask
from cifar.data.invalid_files import OnInvalid, handling_invalid, skipping_invalid
from cifar.data.photos import SPLITS, Example, Listing, Options, Reader, Resize, Size, photo_dataset
from cifar.files.safe_io import refusing
from cifar.files.tree import TreePath, open_tree
from cifar.images.io import SUFFIXES
from cifar.interfaces import VOID, Dataset
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

if TYPE_CHECKING:
    Read = Callable[[TreePath], np.ndarray]
    """Reads a mask, uint8 (height, width), from a file."""

ACCEPTED = "a folder with images/ and masks/, or with train/ and test/ that contain these"


def _with_background(classes: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
    if isinstance(classes, list):
        return classes
    colors = {"background": "#000000", **classes}
    for name, color in colors.items():
        if not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise ValueError(f"be colors such as '#ff0000'; that of {name} is {color!r}")
    if len({color.lower() for color in colors.values()}) < len(colors):
        raise ValueError(f"be unique colors, different from the background's, {colors['background']}")
    return colors


Classes = Annotated[list[str] | dict[str, str], AfterValidator(_with_background)]


@DATASETS.register
def masks(
    seed: int,
    *,
    path: str,
    classes: Classes,
    size: Size,
    resize: Resize = "letterbox",
    cached_size: Size | None = None,
    val_fraction: Share,
    test_fraction: Share,
    limit: PositiveInt | None,
    on_invalid: OnInvalid = "error",
    reader: Reader = 1,
) -> Dataset:
    """Photos in `images/` of `path` as images of `size`, with masks of the same name in `masks/`, PNG files.

    With a list of `classes`, a mask's values are 0 for background, 1 for the first class and so on, and 255 for pixels
    to ignore. With a mapping of classes to colors, masks have these colors; it may contain `void`, and `background`,
    which is '#000000' by default. Folders of splits contain `images/` and `masks/` each, or are in both of these;
    without them, the fractions cut splits. Invalid are a photo without a mask or a mask without a photo, a mask of
    another size, unknown values or colors. For the other settings and errors see `photo_dataset`.
    """
    with handling_invalid(on_invalid):
        root = open_tree(path)
        class_names = checked_classes([name for name in classes if name not in ("background", "void")], "data.classes")
        read: Read = read_index_mask
        if isinstance(classes, dict):
            order = {"background": 0, "void": VOID} | {name: k for k, name in enumerate(class_names, 1)}
            colors = {int(color[1:], 16): order[name] for name, color in classes.items()}
            read = functools.partial(read_color_mask, colors=colors)
        values = mask_values(class_names)
        splits = {split: _examples(photos, masks, read, values) for split, (photos, masks) in _folders(root).items()}
        listing = Listing(root.name, root, class_names, **splits)
        return photo_dataset(
            listing, Options(seed, size, resize, val_fraction, test_fraction, limit, reader, cached_size)
        )


def _folders(root: TreePath) -> dict[str, tuple[TreePath, TreePath]]:
    """The folders of photos and masks of each split that there is."""
    found: dict[str, tuple[TreePath, TreePath]] = {}
    for split, names in SPLITS.items():
        for name in names:
            for pair in (
                (root / name / "images", root / name / "masks"),
                (root / "images" / name, root / "masks" / name),
            ):
                if pair[0].is_dir():
                    found.setdefault(split, pair)
    return found if "train" in found else {"train": (root / "images", root / "masks")}


def _examples(images: TreePath, masks: TreePath, read: Read, values: Sequence[int]) -> list[Example]:
    photos, files = _by_name(images, SUFFIXES), _by_name(masks, (".png",))
    for one, other, what in ((photos, files, "mask"), (files, photos, "photo")):
        for name in one:
            with skipping_invalid("photo"):
                if name not in other:
                    raise InputError(
                        f"{one[name]}: has no {what} of the same name; accepted: images/NAME.jpg or .png with "
                        f"masks/NAME.png"
                    )
    return [Example(photo, 0, functools.partial(_targets, read, photo, files[name], values))
            for name, photo in photos.items() if name in files]  # fmt: skip


def _by_name(folder: TreePath, suffixes: Sequence[str]) -> dict[str, TreePath]:
    """Map names without suffix to the files in `folder` with one of the `suffixes`, sorted."""
    files: dict[str, TreePath] = {}
    with refusing(folder, ACCEPTED):
        for file in folder.iterdir():
            if file.suffix.lower() in suffixes and files.setdefault(file.stem, file) != file:
                raise InputError(f"{file}: same name as {files[file.stem].name}; accepted: unique names")
    return files


def _targets(
    read: Read, photo: TreePath, path: TreePath, values: Sequence[int], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    return {"mask": checked_mask(read(path), size, values, photo, path)}
