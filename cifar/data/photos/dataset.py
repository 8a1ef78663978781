"""From a `Listing` to a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.data.invalid_files import skipping_invalid
from cifar.data.photos.checks import check_classes
from cifar.data.photos.decoding import decoded
from cifar.data.photos.listing import Example, Listing, Options
from cifar.data.photos.splitting import limited, split_off
from cifar.files.tree import TreePath
from cifar.interfaces import Dataset, Split, aligned_empty
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped

PADDING = {"boxes": (np.float32, 0), "classes": (np.int64, -1), "crowd": (bool, False)}


def photo_dataset(listing: Listing, options: Options) -> Dataset:
    """Decode the photos, read their targets, and cut the splits that the source does not have.

    `test_fraction` of each group of the training examples, the same for every seed, becomes the test split;
    `val_fraction`, chosen by the seed, the validation split. Raises `InputError`, also if a split would be empty.
    """
    train, val, test = listing.train, listing.val, listing.test
    if train is not None and test is None:
        train, test = split_off(train, options.test_fraction, 0, "data.test_fraction")
    train, test = limited(train or (), options.limit), limited(test or (), options.limit)
    if val is not None:
        val = limited(val, options.limit)
    elif listing.train is not None:
        train, val = split_off(train, options.val_fraction, options.seed, "data.val_fraction")
    parts = {"training": train, "validation": val or (), "test": test}
    for part, examples in parts.items():
        if not examples and (listing.train is not None or part == "test"):
            raise InputError(f"data.name={listing.name}: no {part} images; accepted: at least one")
    splits = [_read(examples, listing.root, options) if examples else None for examples in parts.values()]
    *others, last = splits
    assert last
    first, second = (split or last.take(np.arange(0)) for split in others)
    dataset = Dataset(listing.name, first, second, last, listing.class_names)
    if listing.train is not None:
        check_classes(dataset, listing.root)
    return dataset


def _read(examples: Sequence[Example], root: TreePath, options: Options) -> Split:
    shape = (options.size, options.size, 3)
    images = aligned_empty(len(examples) * options.size**2 * 3).reshape(len(examples), *shape)
    collected: dict[str, list[np.ndarray]] = {}
    ids: list[str] = []
    for example in examples:
        with skipping_invalid():
            images[len(ids)], position = decoded(example.photo, shape, options.resize)
            annotations = example.annotate(position.size)
            ids.append(unescaped(example.photo.path))
            for name, target in annotations.items():
                if name == "boxes":
                    target = position.boxes_to_image(target)
                elif name == "mask":
                    target = position.mask_to_image(target, shape)
                collected.setdefault(name, []).append(target)
    targets = {name: _padded(arrays, *PADDING[name]) if name in PADDING else np.stack(arrays)
               for name, arrays in collected.items()}  # fmt: skip
    if not ids:
        raise InputError(f"{root}: no image of {len(examples)} is valid; accepted: at least one in each split")
    return Split(images[: len(ids)], targets, np.array(ids))


def _padded(arrays: Sequence[np.ndarray], dtype: type, value: float) -> np.ndarray:
    """Stack arrays (k, …) of different k to one (n, m, …), padded with `value`; m is at least 1."""
    longest = max(1, *map(len, arrays))
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded
