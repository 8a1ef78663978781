"""Heavy libraries that load at their first use.

Builders are checked against their signatures before anything is built. Modules of builders therefore take `keras` and
`tf` from here, so that a mistyped setting is answered before TensorFlow has begun to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cifar import layers
else:

    class _Lazy:
        def __init__(self, module: str):
            self._module = module

        def __getattr__(self, name: str):
            return getattr(importlib.import_module(self._module), name)

    keras = _Lazy("keras")
    tf = _Lazy("tensorflow")
    layers = _Lazy("cifar.layers")

__all__ = ["keras", "layers", "tf"]
