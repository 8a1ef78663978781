"""Which trials of a study end early: Optuna's pruners. A step is an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cifar.config.registry import PRUNERS
from cifar.config.schema import NonNegativeFloat, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Factor = Annotated[int, Field(ge=2)]


@PRUNERS.register
def none() -> BasePruner:
    """Every trial runs to its end."""
    import optuna

    return optuna.pruners.NopPruner()


@PRUNERS.register
def median(*, n_startup_trials: NonNegativeInt, n_warmup_steps: NonNegativeInt) -> BasePruner:
    """Ends a trial whose best epoch so far is worse than the median of what the others had at that epoch."""
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials, n_warmup_steps)


@PRUNERS.register
def hyperband(epochs: int, *, min_resource: PositiveInt, reduction_factor: Factor) -> BasePruner:
    """Successive halving with several budgets (Li et al. 2018, https://jmlr.org/papers/v18/16-558.html)."""
    import optuna

    return optuna.pruners.HyperbandPruner(min(min_resource, epochs), epochs, reduction_factor)


@PRUNERS.register
def patient(*, patience: NonNegativeInt, min_delta: NonNegativeFloat, n_startup_trials: NonNegativeInt) -> BasePruner:
    """Like `median`, but only where the last `patience` epochs have brought no improvement."""
    import optuna

    return optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials), patience, min_delta)
