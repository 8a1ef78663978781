"""Optimizers: each builder takes a schedule, a function from the peak learning rate to what Keras accepts as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.lazy import keras
from cifar.registry import OPTIMIZERS
from cifar.schema import NonNegativeFloat, PositiveFloat, Rate

if TYPE_CHECKING:
    from cifar.schedules import Schedule


@OPTIMIZERS.register
def adam(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Kingma and Ba 2015, arXiv 1412.6980."""
    return keras.optimizers.Adam(schedule(lr), weight_decay=weight_decay or None, global_clipnorm=clip_norm)


@OPTIMIZERS.register
def adamw(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Loshchilov and Hutter 2019, arXiv 1711.05101."""
    return keras.optimizers.AdamW(schedule(lr), weight_decay=weight_decay, global_clipnorm=clip_norm)


@OPTIMIZERS.register
def nadam(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Dozat 2016, Incorporating Nesterov momentum into Adam."""
    return keras.optimizers.Nadam(schedule(lr), weight_decay=weight_decay or None, global_clipnorm=clip_norm)


@OPTIMIZERS.register
def rmsprop(
    schedule: Schedule,
    *,
    lr: PositiveFloat,
    momentum: Rate,
    weight_decay: NonNegativeFloat,
    clip_norm: PositiveFloat | None,
) -> keras.Optimizer:
    """Tieleman and Hinton 2012, Coursera lecture 6.5."""
    return keras.optimizers.RMSprop(
        schedule(lr), momentum=momentum, weight_decay=weight_decay or None, global_clipnorm=clip_norm
    )


@OPTIMIZERS.register
def sgd(
    schedule: Schedule,
    *,
    lr: PositiveFloat,
    momentum: Rate,
    nesterov: bool,
    weight_decay: NonNegativeFloat,
    clip_norm: PositiveFloat | None,
) -> keras.Optimizer:
    """Stochastic gradient descent with (Nesterov's) momentum: Sutskever et al. 2013."""
    return keras.optimizers.SGD(
        schedule(lr),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay or None,
        global_clipnorm=clip_norm,
    )
