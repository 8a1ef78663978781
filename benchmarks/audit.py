"""Faults planted in CIFAR-10, and how many of them `python -m cifar audit` finds.

python benchmarks/audit.py --data DIR/cifar-10-batches-py duplicates labels
python benchmarks/audit.py --data DIR/cifar-10-batches-py duplicates --published duplicates_cifar10.csv

`--published` is the list of Barz and Denzler 2020, arXiv:1902.00423: meta/duplicates_cifar10.csv of their repository
github.com/cvjena/cifair.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cifar.audit import duplicates, folds, noise  # noqa: E402
from cifar.audit.pool import Pool  # noqa: E402
from cifar.config.registry import DATASETS  # noqa: E402
from cifar.interfaces import Dataset, Split  # noqa: E402
from helpers.planting import KINDS, near_duplicate, wrong_labels  # noqa: E402

PLANTED = 2000
SHARE = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="+", choices=["duplicates", "labels"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    settings = {"name": "cifar10", "path": given.data, "val_fraction": 0.1, "limit": given.limit}
    data = DATASETS.build(settings, seed=0)
    for check in given.checks:
        began, cpu = time.monotonic(), time.process_time()
        find_duplicates(data, given.seed, given.published) if check == "duplicates" else find_labels(data, given.seed)
        print(f"{check}: {time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} s of processor time")


def find_duplicates(data: Dataset, seed: int, published: Path | None) -> None:
    """Plant near duplicates of `PLANTED` images of all splits, as further training images.

    A pair with a planted image is right if the other image is its source, or is one of the duplicates of its source.
    """
    rng = np.random.default_rng(seed)
    pool = Pool(data)
    sources = rng.choice(len(pool), PLANTED, replace=False)
    kinds = [KINDS[number % len(KINDS)] for number in range(PLANTED)]
    copies = np.stack([near_duplicate(pool.image(k), kind, rng) for k, kind in zip(sources, kinds, strict=True)])
    names = np.array([f"planted/{number}" for number in range(PLANTED)])
    train = Split(
        np.concatenate([data.train.images, copies]),
        {"label": np.concatenate([data.train.targets["label"], np.zeros(PLANTED, np.int64)])},
        np.concatenate([data.train.ids, names]),
    )
    whole = Pool(replace(data, train=train))
    began = time.monotonic()
    found = duplicates.find(whole)
    print(f"search in {len(whole):,} images: {time.monotonic() - began:.0f} s")
    pairs = {frozenset(pair) for pair in whole.ids[found.pairs].tolist()}
    source = {name: pool.ids[k] for name, k in zip(names, sources, strict=True)}
    for kind in KINDS:
        own = [name for name, of in zip(names, kinds, strict=True) if of == kind]
        print(f"recall {kind}: {np.mean([frozenset((name, source[name])) in pairs for name in own]):.3f}")
    right = []
    for pair in pairs:
        ends = {source.get(name, name) for name in pair}
        if any(name in source for name in pair):
            right.append(len(ends) == 1 or frozenset(ends) in pairs)
    print(f"precision of {len(right):,} pairs with a planted image: {np.mean(right):.3f}")
    natural = [pair for pair in pairs if not any(name in source for name in pair)]
    across = [pair for pair in natural if len({name.partition("/")[0] for name in pair}) == 2]
    print(f"natural pairs: {len(natural):,}, of these {len(across):,} of a training and a test image")
    if published:
        rows = list(csv.DictReader(published.open()))
        for judgment in sorted({row["Judgment"] for row in rows}):
            known = [frozenset((f"train/{row['TrainID']}", f"test/{row['TestID']}"))
                     for row in rows if row["Judgment"] == judgment]  # fmt: skip
            print(f"published, judgment {judgment}: {sum(pair in pairs for pair in known)} of {len(known)}")


def find_labels(data: Dataset, seed: int) -> None:
    """Replace `SHARE` of the labels of all splits by other classes at random."""
    pool, rng = Pool(data), np.random.default_rng(seed)
    true, classes = pool.labels, len(data.class_names)
    given = wrong_labels(true, classes, SHARE, rng)
    parts = np.split(given, np.cumsum([len(part) for part in pool.parts[:2]]))
    splits = [replace(part, targets={"label": labels}) for part, labels in zip(pool.parts, parts, strict=True)]
    noisy = Pool(Dataset(data.name, *splits, data.class_names))
    out_of_fold = folds.classified(noisy, seed, True, lambda number: print(f"network {number}", flush=True))
    print(f"out-of-fold accuracy: {(out_of_fold.probabilities.argmax(axis=1) == true).mean():.4f}")
    wrong = given != true
    show("maximum likelihood", noise.estimate(out_of_fold.probabilities, given).likely, wrong)
    show("confident joint, off the diagonal", confident(out_of_fold.probabilities, given), wrong)


def confident(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The images off the diagonal of the confident joint of Northcutt et al. 2021, `filter_by="confident_learning"`."""
    thresholds = np.array([probabilities[labels == k, k].mean() for k in range(probabilities.shape[1])])
    above = np.where(probabilities >= thresholds, probabilities, 0)
    return np.flatnonzero(above.any(axis=1) & (above.argmax(axis=1) != labels))


def show(name: str, found: np.ndarray, wrong: np.ndarray) -> None:
    right = wrong[found].sum()
    print(f"{name}: {len(found):,} labels, precision {right / len(found):.3f}, recall {right / wrong.sum():.3f}")


if __name__ == "__main__":
    main()
