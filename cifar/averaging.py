"""Averages of a model's weights, which are evaluated and saved in place of the weights that are trained.

Each builder gives an optimizer that keeps, beside its own variables, an average of each variable it trains; so they are
updated in the graph of the step, on all devices, and are part of the training's state. What is not trained, such as
the statistics of batch normalization, is not averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cifar.lazy import keras, tf
from cifar.registry import AVERAGING
from cifar.schema import PositiveInt, Share

if TYPE_CHECKING:
    Rule = Callable[[Any, Any], Any]
    """(variable, other) -> new value of the variable."""


@AVERAGING.register
def none(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The trained weights as they are."""
    return optimizer


@AVERAGING.register
def ema(optimizer: keras.Optimizer, *, decay: Share) -> keras.Optimizer:
    """Exponential moving average: each step, an average keeps `decay` of itself (Polyak & Juditsky 1992).

    At first it keeps less, (1 + step) / (10 + step), so that the initial weights are soon forgotten.
    """

    def update(step):
        step = keras.ops.cast(step, "float32")
        gone = 1 - keras.ops.minimum(decay, (1 + step) / (10 + step))
        _update(optimizer, optimizer.averages, lambda average, weight: average + gone * (weight - average),
                optimizer.averaged)  # fmt: skip

    return _averaged(optimizer, update)


@AVERAGING.register
def lookahead(optimizer: keras.Optimizer, *, steps: PositiveInt, rate: Share) -> keras.Optimizer:
    """Every `steps` steps, slow weights go `rate` of the way to the trained ones, which go on from there.

    Zhang et al. 2019, arXiv:1907.08610.
    """

    def update(step):
        due = keras.ops.equal(step % steps, 0)
        way = keras.ops.cast(due, "float32") * rate
        _update(optimizer, optimizer.averages, lambda slow, fast: slow + way * (fast - slow), optimizer.averaged)
        _update(optimizer, optimizer.averaged, lambda fast, slow: keras.ops.where(due, slow, fast), optimizer.averages)

    return _averaged(optimizer, update)


def swap(model: keras.Model) -> None:
    """Exchange the trained weights of `model` and their averages, if it has some."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    for weight, average in zip(*(getattr(optimizer, name, ()) for name in ("averaged", "averages")), strict=True):
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(average)
        average.assign(value)


def _averaged(optimizer: keras.Optimizer, update: Callable[[Any], None]) -> keras.Optimizer:
    """`optimizer` with `averages` of the variables `averaged`; `update(step)`, from 1, follows each step."""
    build, apply = optimizer.build, optimizer.apply

    def build_both(variables):
        if optimizer.built:
            return
        build(variables)
        optimizer.averaged = list(variables)
        initial = [lambda shape, dtype, variable=variable: keras.ops.copy(variable) for variable in variables]
        optimizer.averages = [optimizer.add_variable_from_reference(variable, "average", value)
                              for variable, value in zip(variables, initial, strict=True)]  # fmt: skip

    def apply_both(grads, trainable_variables=None):
        apply(grads, trainable_variables)
        update(optimizer.iterations)

    optimizer.build, optimizer.apply = build_both, apply_both
    return optimizer


def _update(optimizer: keras.Optimizer, variables: Iterable[Any], rule: Rule, others: Iterable[Any]) -> None:
    """Give each of the `variables` the value that `rule` makes of it and its like among the `others`."""
    if keras.backend.backend() != "tensorflow":
        for variable, other in zip(variables, others, strict=True):
            variable.assign(rule(variable, other))
        return

    def update(strategy):
        # Mirrored variables take assignments only outside of the replicas' own code.
        for variable, other in zip(variables, others, strict=True):
            strategy.extended.update(variable.value, lambda own, like: own.assign(rule(own, like)), (other.value,))

    tf.__internal__.distribute.interim.maybe_merge_call(update, tf.distribute.get_strategy())
