"""The optimizer Muon."""

from __future__ import annotations

import math
from collections.abc import Collection

import keras
from keras import ops


class Muon(keras.optimizers.Optimizer):
    """Muon, orthogonalized momentum: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.

    A kernel, as a matrix with a column per output, is scaled to the norm √outputs and updated by the nearest orthogonal
    matrix to its Nesterov momentum, times the learning rate. Other variables (biases, parameters of normalization, the
    layers named by `head`) are updated by Nesterov momentum with their own learning rates, and decay.

    `keras.optimizers.Muon` is for dense layers: it trains convolutions by AdamW, and scales updates differently.
    """

    def __init__(
        self,
        learning_rate,
        *,
        momentum: float,
        ns_steps: int,
        head: Collection[str],
        head_lr: float,
        bias_lr: float,
        bias_momentum: float,
        decay: float,
        **options,
    ):
        """`head_lr` and `bias_lr` are multiples of the learning rate; `decay` is the decoupled weight decay, multiplied
        by the learning rate; `ns_steps` is the number of iterations of `orthogonal`."""
        super().__init__(learning_rate, **options)
        self._momentum, self._ns_steps, self._decay = momentum, ns_steps, decay
        self._head, self._head_lr, self._bias_lr, self._bias_momentum = head, head_lr, bias_lr, bias_momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._momenta = self.add_optimizer_variables(variables, "momentum")
            self._of_head = [variable.path.split("/")[-2:][0] in self._head for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, in_head = self._momenta[index], self._of_head[index]
        orthogonalize = len(variable.shape) > 1 and not in_head
        beta = self._momentum if orthogonalize else self._bias_momentum
        self.assign(momentum, beta * momentum + gradient)
        update = gradient + beta * momentum
        if orthogonalize:
            outputs = variable.shape[-1]
            scaled = variable * (math.sqrt(outputs) / _norm(variable))
            step = orthogonal(ops.reshape(update, (-1, outputs)), self._ns_steps)
            self.assign(variable, scaled - learning_rate * ops.reshape(step, variable.shape))
        else:
            share = self._head_lr if in_head else self._bias_lr
            self.assign(variable, variable * (1 - self._decay * learning_rate) - learning_rate * share * update)


def orthogonal(matrix, ns_steps: int):
    """Approximate the orthogonal matrix nearest to `matrix` (rows, columns) by `ns_steps` Newton-Schulz iterations.

    Computed in bfloat16; singular values are 0.7 to 1.2 after 5 iterations.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    x = ops.cast(matrix if wide else ops.transpose(matrix), "float32")
    x = ops.cast(x / (_norm(x) + 1e-7), "bfloat16")
    for _ in range(ns_steps):
        square = ops.matmul(x, ops.transpose(x))
        x = 3.4445 * x + ops.matmul(-4.775 * square + 2.0315 * ops.matmul(square, square), x)
    return ops.cast(x if wide else ops.transpose(x), matrix.dtype)


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))
