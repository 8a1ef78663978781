"""Averages of a model's weights, which are evaluated and saved instead of the trained weights.

Each builder returns an optimizer that also keeps an average of each variable it trains: averages are updated in the
graph of the step, on all devices, and are part of the training state. Variables that are not trained, such as the
statistics of batch normalization, are not averaged: the training loop computes these for the averages.
"""

from __future__ import annotations

from cifar.config.registry import AVERAGING
from cifar.config.schema import PositiveInt, Share
from cifar.runtime.lazy import keras


@AVERAGING.register
def none(optimizer: keras.Optimizer) -> keras.Optimizer:
    """No averaging."""
    return optimizer


@AVERAGING.register
def ema(optimizer: keras.Optimizer, *, decay: Share) -> keras.Optimizer:
    """Exponential moving average of the weights with `decay` per step (Polyak & Juditsky 1992).

    The decay is at most (1 + step) / (10 + step), so that the initial weights are soon forgotten; `use_ema` of Keras's
    optimizers has a constant decay.
    """
    from cifar.optim.averaging_optimizers import ExponentialMovingAverage

    return ExponentialMovingAverage(optimizer, decay)


@AVERAGING.register
def lookahead(optimizer: keras.Optimizer, *, sync_period: PositiveInt, slow_step_size: Share) -> keras.Optimizer:
    """Every `sync_period` steps, move slow weights by `slow_step_size` toward the trained ones, and reset these.

    Zhang et al. 2019, arXiv:1907.08610.
    """
    from cifar.optim.averaging_optimizers import Lookahead

    return Lookahead(optimizer, sync_period, slow_step_size)


def swap(model: keras.Model) -> None:
    """Exchange the trained weights of `model` with their averages, if there are any."""
    optimizer = model.optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    averages = getattr(optimizer, "averages", None)
    for weight, average in zip(averages.weights, averages.values, strict=True) if averages else ():
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(average)
        average.assign(value)
