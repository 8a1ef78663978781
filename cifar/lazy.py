"""Heavy libraries that load at their first use.

Builders are checked against their signatures before anything is built. Modules of builders therefore take `keras` and
`tf` from here, so that a mistyped setting is answered before TensorFlow has begun to load.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any


class Lazy:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)

    def __reduce__(self) -> tuple[type[Lazy], tuple[str]]:
        return Lazy, (self._module,)


if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cifar import layers
else:
    keras = Lazy("keras")
    tf = Lazy("tensorflow")
    layers = Lazy("cifar.layers")


def load_tensorflow() -> None:
    """Import TensorFlow without the notes on its own start-up that 2.21 prints whatever its log level is."""
    if "tensorflow" in sys.modules:
        return
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


__all__ = ["Lazy", "keras", "layers", "load_tensorflow", "tf"]
