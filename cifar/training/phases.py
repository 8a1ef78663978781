"""The phases of a training: first with the layers that the model leaves trainable, then with more of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar.runtime.errors import InputError, closest

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Phase:
    """A part of the training with an optimizer of its own.

    With `unfreeze`, the layers from `unfreeze_from` on learn, all where that is `None`; else those that the model says.
    """

    epochs: int
    lr: float
    unfreeze: bool = False
    unfreeze_from: str | None = None

    def first_layer(self, model: keras.Model) -> int:
        """The number of the first layer that learns; raises `InputError` where there is none."""
        if self.unfreeze_from is None:
            return 0
        names = [layer.name for layer in model.layers]
        if self.unfreeze_from not in names:
            raise InputError(
                f"finetune.unfreeze_from={self.unfreeze_from}: no layer of the model; "
                f"{closest(self.unfreeze_from, names)}dry_run=true lists them"
            )
        first = names.index(self.unfreeze_from)
        if not any(layer.weights for layer in model.layers[first:]):
            raise InputError(f"finetune.unfreeze_from={self.unfreeze_from}: no layer from there on has weights")
        return first

    def unfreeze_layers(self, model: keras.Model, like: keras.Model) -> None:
        """Make the layers of `model` from the first of this phase on trainable where those of `like` are."""
        first = self.first_layer(model)
        for number, (layer, own) in enumerate(zip(model.layers, like.layers, strict=True)):
            layer.trainable = number >= first and own.trainable
            for variable, other in zip(layer.variables, own.variables, strict=True):
                variable.trainable = layer.trainable and other.trainable
