"""Averages of a model's weights, which are evaluated and saved in place of the weights that are trained.

Each builder gives an optimizer that keeps, beside its own variables, an average of each variable it trains; so they are
updated in the graph of the step, on all devices, and are part of the training's state. What is not trained, such as
the statistics of batch normalization, is not averaged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cifar.config.registry import AVERAGING
from cifar.config.schema import PositiveInt, Share
from cifar.runtime.lazy import keras, tf

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

    At first it keeps less, (1 + step) / (10 + step), so that the initial weights are soon forgotten; `use_ema` of
    Keras's optimizers keeps the same share from the first step on.
    """

    def update(averages, step):
        step = keras.ops.cast(step, "float32")
        gone = 1 - keras.ops.minimum(decay, (1 + step) / (10 + step))
        _update(averages.values, lambda average, weight: average + gone * (weight - average), averages.weights)

    return _averaged(optimizer, update)


@AVERAGING.register
def lookahead(optimizer: keras.Optimizer, *, steps: PositiveInt, rate: Share) -> keras.Optimizer:
    """Every `steps` steps, slow weights go `rate` of the way to the trained ones, which go on from there.

    Zhang et al. 2019, arXiv:1907.08610.
    """

    def update(averages, step):
        due = keras.ops.equal(step % steps, 0)
        way = keras.ops.cast(due, "float32") * rate
        _update(averages.values, lambda slow, fast: slow + way * (fast - slow), averages.weights)
        _update(averages.weights, lambda fast, slow: keras.ops.where(due, slow, fast), averages.values)

    return _averaged(optimizer, update)


@dataclass
class Averages:
    """The weights that an optimizer trains and the averages of each, known once it is built.

    A record, since Keras takes variables in a list that an optimizer has as its attribute for its own.
    """

    weights: list[keras.Variable] = field(default_factory=list)
    values: list[keras.Variable] = field(default_factory=list)


def swap(model: keras.Model) -> None:
    """Exchange the trained weights of `model` and their averages, if it has some."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    averages = getattr(optimizer, "averages", Averages())
    for weight, average in zip(averages.weights, averages.values, strict=True):
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(average)
        average.assign(value)


def _averaged(optimizer: keras.Optimizer, update: Callable[[Averages, Any], None]) -> keras.Optimizer:
    """`optimizer` with `averages`; `update(averages, step)`, from step 1, follows each step."""
    build, apply, averages = optimizer.build, optimizer.apply, Averages()

    def build_both(variables):
        if optimizer.built:
            return
        build(variables)
        for variable in variables:
            initial = functools.partial(_value, variable)
            averages.weights.append(variable)
            averages.values.append(optimizer.add_variable_from_reference(variable, "average", initial))

    def apply_both(grads, trainable_variables=None):
        apply(grads, trainable_variables)
        update(averages, optimizer.iterations)

    optimizer.build, optimizer.apply, optimizer.averages = build_both, apply_both, averages
    return optimizer


def _value(variable: keras.Variable, shape: Any, dtype: Any) -> Any:
    """The value of `variable`, as an initializer gives it."""
    return keras.ops.copy(variable.value)


def _update(variables: list[keras.Variable], rule: Rule, others: list[keras.Variable]) -> None:
    """Give each of the `variables` the value that `rule` makes of it and its like among the `others`."""
    if keras.backend.backend() != "tensorflow":
        for variable, other in zip(variables, others, strict=True):
            variable.assign(rule(variable.value, other.value))
        return

    def update(strategy):
        # Mirrored variables take assignments only outside of the replicas' own code.
        for variable, other in zip(variables, others, strict=True):
            strategy.extended.update(variable.value, lambda own, like: own.assign(rule(own, like)), (other.value,))

    tf.__internal__.distribute.interim.maybe_merge_call(update, tf.distribute.get_strategy())
