"""Optimizers that wrap another one and keep an average of each trained variable."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None

Rule = Callable[[Any, Any], Any]
"""(variable, other) -> new value of the variable."""


@dataclass
class Averages:
    """The trained weights and their averages, set when the optimizer is built.

    Kept in a record, since Keras would track a list of variables in an optimizer's attribute.
    """

    weights: list[keras.Variable] = field(default_factory=list)
    values: list[keras.Variable] = field(default_factory=list)


class Averaging(keras.optimizers.Optimizer):
    """An optimizer that applies `inner_optimizer` and then updates the averages in each step.

    The averages are the last variables of the inner optimizer; the wrapper has no other variables.
    """

    def __init__(self, inner_optimizer: keras.Optimizer):
        super().__init__(learning_rate=0.0)
        self.inner_optimizer, self.averages = inner_optimizer, Averages()

    def update(self, step: Any) -> None:
        """Update the averages after `step`, counted from 1."""
        raise NotImplementedError

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.inner_optimizer.build(variables)
        for variable in variables:
            initial = functools.partial(_value, variable)
            self.averages.weights.append(variable)
            self.averages.values.append(self.inner_optimizer.add_variable_from_reference(variable, "average", initial))

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        self.inner_optimizer.apply(grads, trainable_variables)
        self.update(self.iterations)

    @property
    def variables(self):
        return self.inner_optimizer.variables

    @property
    def iterations(self):
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        self.inner_optimizer.learning_rate = learning_rate

    def scale_loss(self, loss):
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list):
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self):
        return {"inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects)
        return cls(**{**config, "inner_optimizer": inner})


@keras.saving.register_keras_serializable("cifar")
class ExponentialMovingAverage(Averaging):
    """Exponential moving average; the decay is at most (1 + step) / (10 + step)."""

    def __init__(self, inner_optimizer: keras.Optimizer, decay: float):
        super().__init__(inner_optimizer)
        self.decay = decay

    def update(self, step):
        step = ops.cast(step, "float32")
        step_size = 1 - ops.minimum(self.decay, (1 + step) / (10 + step))
        _assign(
            self.averages.values,
            lambda average, weight: average + step_size * (weight - average),
            self.averages.weights,
        )

    def get_config(self):
        return {**super().get_config(), "decay": self.decay}


@keras.saving.register_keras_serializable("cifar")
class Lookahead(Averaging):
    """Lookahead: see `cifar.optim.averaging.lookahead`."""

    def __init__(self, inner_optimizer: keras.Optimizer, sync_period: int, slow_step_size: float):
        super().__init__(inner_optimizer)
        self.sync_period, self.slow_step_size = sync_period, slow_step_size

    def update(self, step):
        due = ops.equal(step % self.sync_period, 0)
        way = ops.cast(due, "float32") * self.slow_step_size
        _assign(self.averages.values, lambda slow, fast: slow + way * (fast - slow), self.averages.weights)
        _assign(self.averages.weights, lambda fast, slow: ops.where(due, slow, fast), self.averages.values)

    def get_config(self):
        return {**super().get_config(), "sync_period": self.sync_period, "slow_step_size": self.slow_step_size}


def _value(variable: keras.Variable, shape: Any, dtype: Any) -> Any:
    """Initializer that returns the value of `variable`."""
    return ops.copy(variable.value)


def _assign(variables: list[keras.Variable], rule: Rule, others: list[keras.Variable]) -> None:
    """Assign to each of the `variables` the result of `rule` for it and its counterpart in `others`."""
    if tf is None:
        for variable, other in zip(variables, others, strict=True):
            variable.assign(rule(variable.value, other.value))
        return

    def update(strategy):
        # Mirrored variables accept assignments only in the cross-replica context.
        for variable, other in zip(variables, others, strict=True):
            strategy.extended.update(
                variable.value, lambda local, counterpart: local.assign(rule(local, counterpart)), (other.value,)
            )

    tf.distribute.get_replica_context().merge_call(update)
