"""Cutting splits from examples, in proportion to their groups."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.data.photos.listing import Example
from cifar.data.splits import proportional_split, subset
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np


def limited(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    """At most `limit` of the examples, the same share of each group."""
    return [examples[k] for k in subset(_groups(examples), limit)]


def split_off(
    examples: Sequence[Example], fraction: float, seed: int, setting: str
) -> tuple[list[Example], list[Example]]:
    """Split off `fraction` of each group; raises `InputError` naming `setting` if a part is empty."""
    rest, taken = proportional_split(_groups(examples), fraction, seed)
    if not len(rest) or not len(taken):
        raise InputError(
            f"{setting}={fraction}: splits {len(examples)} images into {len(rest)} and {len(taken)}; "
            f"accepted: at least one image in both parts"
        )
    return [examples[k] for k in rest], [examples[k] for k in taken]


def _groups(examples: Sequence[Example]) -> np.ndarray:
    return np.array([example.group for example in examples], np.int64)
