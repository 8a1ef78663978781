"""The files of CIFAR-10-C, of which `data.corruption` and `data.severity` choose all or some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cifar.config.builders import BuilderSettings
from cifar.config.settings import Settings
from cifar.data.corruptions import KINDS, SEVERITIES, Kind
from cifar.interfaces import Dataset


@dataclass(frozen=True)
class Published:
    """Published corrupted images, of which only one part is in memory at a time."""

    data: BuilderSettings
    parts: Sequence[tuple[Kind, int]]

    @classmethod
    def of(cls, settings: Settings) -> Published | None:
        """The parts that the settings choose; None for other data, and for a single part, which is a data set."""
        data = settings.data
        if data.name != "cifar10_c" or (data.corruption and data.severity):
            return None
        kinds = [data.corruption] if data.corruption else KINDS
        severities = [data.severity] if data.severity else range(1, SEVERITIES + 1)
        return cls(data, [(kind, severity) for kind in kinds for severity in severities])

    def part(self, kind: Kind, severity: int) -> Dataset:
        """One kind at one severity; raises `InputError`."""
        dataset: Dataset = self.data.changed(corruption=kind, severity=severity).build()
        return dataset
