"""The settings of a confirmation, and their checks; `confirmation` has what they do."""

from __future__ import annotations

from collections.abc import Sequence

from cifar.config.schema import NonNegativeInt, PositiveInt, Strict
from cifar.runtime.errors import InputError


class Options(Strict):
    """What the YAML of a sweeper states: the number of best settings to train again, and of seeds for each."""

    confirm: NonNegativeInt = 0
    confirm_seeds: PositiveInt = 3

    def check(self, objectives: Sequence[str]) -> None:
        """Raises `InputError` where a sweep with these objectives has no best setting to confirm."""
        if self.confirm and (len(objectives) > 1 or not objectives[0].startswith("val/")):
            raise InputError(
                f"hydra.sweeper.confirm={self.confirm}: confirms by one validation metric, not by "
                f"{', '.join(objectives)}"
            )
