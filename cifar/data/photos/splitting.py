"""Cutting splits from examples, in proportion to their groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cifar.data.photos.listing import Example
from cifar.data.splits import proportional_split, rank_in_class, subset
from cifar.runtime.errors import InputError, warn
from cifar.runtime.lazy import np
from cifar.runtime.terminal import first_of


def limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most `limit` of the examples, the same share of each group."""
    return [examples[k] for k in subset(groups(examples), limit)]


def split_off(
    group: np.ndarray, fraction: float, seed: int, setting: str, reader: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Split off `fraction` of the examples, in proportion to their `group` (n,); return positions of the rest and them.

    With `reader=1`, the number is rounded in each group. Raises `InputError` naming `setting` if a part is empty.
    """
    cut = proportional_split if reader == 1 else exact_split
    rest, taken = cut(group, fraction, seed)
    if not len(rest) or not len(taken):
        raise InputError(
            f"{setting}={fraction}: splits {len(group)} images into {len(rest)} and {len(taken)}; "
            f"accepted: at least one image in both parts"
        )
    return rest, taken


def exact_split(group: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off `fraction` of all examples, rounded once; return sorted positions of the rest and that part.

    Each group gives its share, rounded down or up: up where the remainders are largest, equal ones chosen by `seed`. A
    group keeps one example at least. The choice is the same on every machine: see `splits.stratified_split`.
    """
    counts = np.bincount(group)
    random = np.random.PCG64(seed).random_raw(len(group) + len(counts))
    share = counts * fraction
    taken = np.floor(share + 1e-9).astype(np.int64)
    room = taken < counts - 1
    missing = math.floor(len(group) * fraction + 0.5) - taken.sum()
    remainder = np.where(room, np.round(share - taken, 9), -1)
    taken[np.lexsort((random[len(group) :], -remainder))[: min(missing, room.sum())]] += 1
    is_cut = rank_in_class(group, random[: len(group)]) < taken[group]
    return np.flatnonzero(~is_cut), np.flatnonzero(is_cut)


def without_copies(rows: Mapping[str, np.ndarray], content: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """The `rows` of each split, without training and validation images whose `content` (n,) a later split has too.

    Warns of those that are left out, by their `ids`.
    """
    kept: dict[str, np.ndarray] = {}
    for part in reversed([*rows]):
        seen = np.concatenate([np.empty(0, np.int64), *kept.values()])
        is_copy = np.isin(content[rows[part]], content[seen])
        if copies := ids[rows[part][is_copy]].tolist():
            others = " or ".join(other for other, found in kept.items() if len(found))
            shown = first_of(copies, 3)
            warn(f"data.{part}: {len(copies)} images are left out, as {others} has copies of them: {shown}")
        kept[part] = rows[part][~is_copy]
    return {part: kept[part] for part in rows}


def groups(examples: Sequence[Example]) -> np.ndarray:
    """The group of each example, int64 (n,)."""
    return np.array([example.group for example in examples], np.int64)
