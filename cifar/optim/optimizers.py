"""Optimizers; each builder takes a schedule, a function from the peak learning rate to Keras's `learning_rate`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from cifar.config.registry import OPTIMIZERS
from cifar.config.schema import NonNegativeFloat, PositiveFloat, PositiveInt, Rate
from cifar.runtime.lazy import keras

if TYPE_CHECKING:
    from cifar.optim.schedules import Schedule


@OPTIMIZERS.register
def adam(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980)."""
    return keras.optimizers.Adam(schedule(lr), weight_decay=weight_decay or None, global_clipnorm=clip_norm)


@OPTIMIZERS.register
def adamw(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return keras.optimizers.AdamW(schedule(lr), weight_decay=weight_decay, global_clipnorm=clip_norm)


@OPTIMIZERS.register
def muon(
    schedule: Schedule,
    head: Collection[str],
    *,
    lr: PositiveFloat,
    momentum: Rate,
    ns_steps: PositiveInt,
    head_lr: PositiveFloat,
    bias_lr: PositiveFloat,
    bias_momentum: Rate,
    weight_decay: NonNegativeFloat,
    clip_norm: PositiveFloat | None,
) -> keras.Optimizer:
    """Muon: orthogonalized momentum (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    `head` names the last layers.
    """
    from cifar.optim import muon as muons

    return muons.Muon(
        schedule(lr),
        momentum=momentum,
        ns_steps=ns_steps,
        head=head,
        head_lr=head_lr / lr,
        bias_lr=bias_lr / lr,
        bias_momentum=bias_momentum,
        decay=weight_decay,
        global_clipnorm=clip_norm,
    )


@OPTIMIZERS.register
def nadam(
    schedule: Schedule, *, lr: PositiveFloat, weight_decay: NonNegativeFloat, clip_norm: PositiveFloat | None
) -> keras.Optimizer:
    """Adam with Nesterov momentum (Dozat 2016)."""
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
    """RMSprop (Tieleman and Hinton 2012, Coursera lecture 6.5)."""
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
    """Stochastic gradient descent with (Nesterov's) momentum (Sutskever et al. 2013)."""
    return keras.optimizers.SGD(
        schedule(lr),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay or None,
        global_clipnorm=clip_norm,
    )
