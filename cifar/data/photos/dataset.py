"""From a `Listing` to a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.data.invalid_files import counts, is_auditing, refuse_invalid
from cifar.data.photos.checks import check_classes, check_names
from cifar.data.photos.decoding import Photos, decode_all
from cifar.data.photos.listing import Example, Listing, Options
from cifar.data.photos.splitting import groups, limited, split_off, without_copies
from cifar.data.photos.targets import example_targets, stacked
from cifar.files.rows import ImageRows
from cifar.interfaces import Dataset, Split
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np
from cifar.runtime.terminal import unescaped

PARTS = {"train": "training", "val": "validation", "test": "test"}


def photo_dataset(listing: Listing, options: Options) -> Dataset:
    """Decode the photos, read their targets, and cut the splits that the source does not have.

    `test_fraction` of the training examples, the same for every seed, becomes the test split; `val_fraction`, chosen by
    the seed, the validation split. A training image of which a copy is in another split is left out. Raises
    `InputError`, also for a split without images, and for a photo in two splits.
    """
    refuse_invalid()
    given = _given(listing, options)
    check_names(given, listing.root)
    cuts_val = listing.train is not None and listing.val is None
    if cuts_val:  # a fraction that leaves no images is refused before anything is decoded
        split_off(groups(given["train"]), options.val_fraction, options.seed, "data.val_fraction", options.reader)
    examples = [example for part in given.values() for example in part]
    photos = decode_all([example.photo for example in examples], options)
    targets = example_targets(examples, photos, options)
    refuse_invalid()
    ids = np.array([unescaped(example.photo.path) for example in examples])
    rows = _valid(given, targets)
    if options.reader > 1 and not is_auditing():
        rows = without_copies(rows, photos.keys, ids)
    if cuts_val and len(rows["train"]):
        rows |= _validation(rows["train"], groups(examples), photos, options)
    for part in PARTS if listing.train is not None else ("test",):
        if not len(rows[part]):
            raise InputError(f"data.name={listing.name}: no {PARTS[part]} images; accepted: at least one")
    digests = None if options.reader == 1 else photos.digests
    larger = _larger(rows, examples, options)
    splits = {
        part: Split(ImageRows(photos.images, found, digests), stacked(targets, found), ids[found], larger.get(part))
        for part, found in rows.items()
    }
    dataset = Dataset(listing.name, **splits, class_names=listing.class_names, invalid=counts(), resize=options.resize)
    if listing.train is not None:
        check_classes(dataset, listing.root)
    return dataset


def _larger(rows: dict[str, np.ndarray], examples: Sequence[Example], options: Options) -> dict[str, ImageRows]:
    """The training and validation images in `options.cached_size`, if there is one."""
    if options.larger is None:
        return {}
    count, both = len(rows["train"]), [*rows["train"], *rows["val"]]
    photos = decode_all([examples[row].photo for row in both], options.larger)
    if photos.errors:  # the disk or the network has failed, or a file has changed
        raise InputError(next(iter(photos.errors.values())))
    numbers = {"train": np.arange(count), "val": np.arange(count, len(both))}
    return {part: ImageRows(photos.images, found, photos.digests) for part, found in numbers.items()}


def _given(listing: Listing, options: Options) -> dict[str, list[Example]]:
    """The examples of each split that the source has, or that is cut for all seeds alike; the others are empty."""
    train, test = listing.train or (), listing.test
    if test is None:
        rest, cut = split_off(groups(train), options.test_fraction, 0, "data.test_fraction", options.reader)
        train, test = [train[k] for k in rest], [train[k] for k in cut]
    return {
        part: limited(found, options.limit)
        for part, found in (("train", train), ("val", listing.val or ()), ("test", test))
    }


def _valid(given: dict[str, list[Example]], targets: Sequence[object]) -> dict[str, np.ndarray]:
    """The numbers of the examples of each split that have targets."""
    rows, first = {}, 0
    for part, examples in given.items():
        numbers = range(first, first + len(examples))
        rows[part] = np.array([number for number in numbers if targets[number] is not None], np.int64)
        first += len(examples)
    return rows


def _validation(rows: np.ndarray, group: np.ndarray, photos: Photos, options: Options) -> dict[str, np.ndarray]:
    rest, cut = split_off(group[rows], options.val_fraction, options.seed, "data.val_fraction", options.reader)
    if options.reader > 1:
        copied = np.isin(photos.keys[rows[cut]], photos.keys[rows[rest]])
        rest, cut = np.sort([*rest, *cut[copied]]), cut[~copied]
        if not len(cut):
            raise InputError(
                f"data.val_fraction={options.val_fraction}: all {copied.sum()} images are copies of training "
                f"images; accepted: at least one that is none"
            )
    return {"train": rows[rest], "val": rows[cut]}
