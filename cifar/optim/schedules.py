"""Learning-rate schedules; each builder returns a function from the peak learning rate to Keras's `learning_rate`.

Lengths are shares of the training or numbers of epochs, so that a schedule works for any batch size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cifar.config.registry import SCHEDULES
from cifar.config.schema import NonNegativeFloat, PositiveFloat, Rate, Share, UnitInterval
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras

if TYPE_CHECKING:
    Schedule = Callable[[float], "float | keras.optimizers.schedules.LearningRateSchedule"]


@SCHEDULES.register
def constant() -> Schedule:
    """A constant rate; required by the callback `reduce_lr`."""
    return lambda lr: lr


@SCHEDULES.register
def cosine(steps_per_epoch: int, epochs: int, *, warmup_epochs: NonNegativeFloat, final: UnitInterval) -> Schedule:
    """Linear warmup, then cosine decay to `final` of the peak (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    if warmup_epochs >= epochs:
        raise InputError(
            f"schedule.warmup_epochs={warmup_epochs:g}: should be less than the number of epochs, {epochs}"
        )
    warmup = round(warmup_epochs * steps_per_epoch)
    rest = max(1, epochs * steps_per_epoch - warmup)
    return lambda lr: keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else lr, rest, alpha=final, warmup_target=lr if warmup else None, warmup_steps=warmup
    )


@SCHEDULES.register
def linear_warmup_decay(
    steps_per_epoch: int, epochs: int, *, warmup_fraction: Rate, initial: UnitInterval, final: UnitInterval
) -> Schedule:
    """Linear warmup to the peak, then linear decay (Jordan 2024, arXiv:2404.00498)."""
    steps = epochs * steps_per_epoch
    warmup = round(warmup_fraction * steps)

    def schedule(lr):
        class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                step = keras.ops.cast(step, "float32")
                up = initial + (1 - initial) * step / max(1, warmup)
                down = 1 - (1 - final) * (step - warmup) / max(1, steps - warmup)
                return lr * keras.ops.where(step < warmup, up, keras.ops.maximum(down, final))

        return LinearWarmupDecay()

    return schedule


@SCHEDULES.register
def multistep(steps_per_epoch: int, epochs: int, *, milestones: list[Share], factor: PositiveFloat) -> Schedule:
    """Multiply the rate by `factor` after each milestone, a share of the training."""
    if sorted(set(milestones)) != milestones:
        raise InputError(f"schedule.milestones={milestones}: should be increasing")
    boundaries = [round(share * epochs * steps_per_epoch) for share in milestones]
    return lambda lr: keras.optimizers.schedules.PiecewiseConstantDecay(
        boundaries, [lr * factor**n for n in range(len(boundaries) + 1)]
    )


@SCHEDULES.register
def exponential(steps_per_epoch: int, *, decay_rate: UnitInterval) -> Schedule:
    """Multiply the rate by `decay_rate` per epoch, continuously."""
    return lambda lr: keras.optimizers.schedules.ExponentialDecay(lr, steps_per_epoch, decay_rate)


@SCHEDULES.register
def lr_range(steps_per_epoch: int, epochs: int, *, initial: PositiveFloat, final: PositiveFloat) -> Schedule:
    """Rise exponentially from `initial` to `final` times the rate: a range test (Smith 2017, arXiv:1506.01186)."""
    if initial >= final:
        raise InputError(f"schedule.initial={initial:g}: should be less than schedule.final={final:g}")
    steps = epochs * steps_per_epoch
    return lambda lr: keras.optimizers.schedules.ExponentialDecay(initial * lr, steps, final / initial)


@SCHEDULES.register
def onecycle(
    steps_per_epoch: int, epochs: int, *, warmup_fraction: Share, initial: UnitInterval, final: UnitInterval
) -> Schedule:
    """Linear warmup to the peak, then cosine decay (Smith and Topin 2018, arXiv:1708.07120)."""
    steps = epochs * steps_per_epoch
    warmup = max(1, round(warmup_fraction * steps))
    return lambda lr: keras.optimizers.schedules.CosineDecay(
        initial * lr, max(1, steps - warmup), alpha=final, warmup_target=lr, warmup_steps=warmup
    )
