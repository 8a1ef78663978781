"""How the next trial of a study is chosen: Optuna's samplers.

A sampler is built for each trial, from the sweep's seed and the trial's number. So a resumed sweep draws what it would
have drawn without the interruption, and two sweeps that share a study do not draw the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from cifar.config.registry import SAMPLERS
from cifar.config.schema import NonNegativeInt, Seed

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

PopulationSize = Annotated[int, Field(ge=2)]


@SAMPLERS.register
def tpe(trial: int, *, seed: Seed, n_startup_trials: NonNegativeInt) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011, https://papers.nips.cc/paper/4443); the first at random.

    Trials that run count as bad ones, so that jobs that run side by side differ.
    """
    import optuna

    return optuna.samplers.TPESampler(seed=_seed(seed, trial), n_startup_trials=n_startup_trials)


@SAMPLERS.register
def cmaes(trial: int, *, seed: Seed, n_startup_trials: NonNegativeInt) -> BaseSampler:
    """Covariance matrix adaptation (Hansen 2016, arXiv:1604.00772) of all numbers; choices are drawn at random."""
    import optuna

    own = _seed(seed, trial)
    return optuna.samplers.CmaEsSampler(
        seed=own,
        n_startup_trials=n_startup_trials,
        independent_sampler=optuna.samplers.RandomSampler(own),
        warn_independent_sampling=False,
    )


@SAMPLERS.register
def random(trial: int, *, seed: Seed) -> BaseSampler:
    """Each value at random, whatever came before."""
    import optuna

    return optuna.samplers.RandomSampler(_seed(seed, trial))


@SAMPLERS.register
def grid(values: Mapping[str, Sequence[str | int | float]], *, seed: Seed) -> BaseSampler:
    """All combinations of the `values` of each setting, in an order that the seed decides."""
    import optuna

    class Grid(optuna.samplers.GridSampler):
        def after_trial(self, study, trial, state, values):
            pass  # would stop the loop of `Study.optimize`, which there is none of

    return Grid(values, seed)


@SAMPLERS.register
def qmc(*, seed: Seed, kind: Literal["sobol", "halton"]) -> BaseSampler:
    """A scrambled sequence that fills the space evenly (quasi-Monte Carlo)."""
    import optuna

    return optuna.samplers.QMCSampler(qmc_type=kind, scramble=True, seed=seed, warn_independent_sampling=False)


@SAMPLERS.register
def nsgaii(trial: int, *, seed: Seed, population_size: PopulationSize) -> BaseSampler:
    """Genetic search for several objectives at once, NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017)."""
    import optuna

    return optuna.samplers.NSGAIISampler(seed=_seed(seed, trial), population_size=population_size)


def _seed(seed: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
