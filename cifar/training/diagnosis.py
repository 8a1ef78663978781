"""Signs that a training went wrong although it ended well, from the metrics of its epochs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

LEAST_EPOCHS = 5
"""A training of fewer epochs is not expected to have learned much."""
GAP = 2.0
"""Ratio of the losses on validation and training images above which the two part."""


def findings(epochs: Mapping[str, Sequence[float]], kept_epoch: int | None) -> list[str]:
    """Return a line for each sign: `epochs` has the metrics of all epochs by name, `kept_epoch` counts from 1."""
    if len(epochs["lr"]) < LEAST_EPOCHS:
        return []
    found = []
    if kept_epoch == 1:
        found.append(
            f"the best of {len(epochs['lr'])} epochs is the first: the model got worse while it trained; see its "
            "learning_curves, and try a lower optimizer.lr"
        )
    if _parts(epochs):
        found.append(
            f"val/loss is more than {GAP:g} times train/loss from the first epoch on: the validation images may differ "
            "from the training images"
        )
    if _only_rose(epochs["lr"]):
        found.append("the learning rate only rose: the training ended before the peak of its schedule")
    return found


def _parts(epochs: Mapping[str, Sequence[float]]) -> bool:
    pairs = zip(epochs["train/loss"], epochs["val/loss"], strict=True)
    return all(validation > GAP * training > 0 for training, validation in pairs)


def _only_rose(rates: Sequence[float]) -> bool:
    return all(later > earlier for earlier, later in itertools.pairwise(rates))
