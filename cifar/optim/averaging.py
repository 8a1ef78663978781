"""Averages of a model's weights, which are evaluated and saved in place of the weights that are trained.

Each builder gives an optimizer that keeps, beside its own variables, an average of each variable it trains; so they are
updated in the graph of the step, on all devices, and are part of the training's state. What is not trained, such as
the statistics of batch normalization, is not averaged.
"""

from __future__ import annotations

from cifar.config.registry import AVERAGING
from cifar.config.schema import PositiveInt, Share
from cifar.runtime.lazy import keras


@AVERAGING.register
def none(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The trained weights as they are."""
    return optimizer


@AVERAGING.register
def ema(optimizer: keras.Optimizer, *, decay: Share) -> keras.Optimizer:
    """Exponential moving average: each step, an average keeps `decay` of itself (Polyak & Juditsky 1992).

    At first it keeps less, (1 + step) / (10 + step), so that the initial weights are soon forgotten; `use_ema` of
    Keras's optimizers keeps the same share from the first step on.
    """
    from cifar.optim.averaging_optimizers import ExponentialMovingAverage

    return ExponentialMovingAverage(optimizer, decay)


@AVERAGING.register
def lookahead(optimizer: keras.Optimizer, *, sync_period: PositiveInt, slow_step_size: Share) -> keras.Optimizer:
    """Every `sync_period` steps, slow weights move by `slow_step_size` towards the trained ones, which are set to them.

    Zhang et al. 2019, arXiv:1907.08610.
    """
    from cifar.optim.averaging_optimizers import Lookahead

    return Lookahead(optimizer, sync_period, slow_step_size)


def swap(model: keras.Model) -> None:
    """Exchange the trained weights of `model` and their averages, if it has some."""
    optimizer = model.optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    averages = getattr(optimizer, "averages", None)
    for weight, average in zip(averages.weights, averages.values, strict=True) if averages else ():
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(average)
        average.assign(value)
