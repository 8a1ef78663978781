"""Heavy libraries that load at their first use.

Builders are checked against their signatures before anything is built. Modules of builders therefore take `keras` and
`tf` from here, so that a mistyped setting is answered before TensorFlow has begun to load.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cifar.runtime.quiet import silenced
from cifar.runtime.status import status


class Lazy:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(load(self._module), name)

    def __reduce__(self) -> tuple[type[Lazy], tuple[str]]:
        return Lazy, (self._module,)


if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
else:
    keras = Lazy("keras")
    np = Lazy("numpy")
    tf = Lazy("tensorflow")


def load(module: str) -> ModuleType:
    """Import `module` without the search for garbage, which saves 0.6 of 3.7 CPU seconds for TensorFlow and Keras.

    What a library makes when it is imported stays, so that the collector need not look at it afterwards either.
    """
    if module in sys.modules or not gc.isenabled():
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def load_tensorflow(backend: str = "tensorflow") -> None:
    """Import TensorFlow, which makes the batches, without the notes on its start-up that 2.21 prints at any log level.

    `backend` is what Keras computes with when it is loaded afterwards, on the GPUs if there are any.
    """
    os.environ["KERAS_BACKEND"] = backend
    if "tensorflow" in sys.modules:
        return
    with status("loading TensorFlow"), silenced(2), _hidden("jax") if backend == "tensorflow" else nullcontext():
        load("tensorflow")
    if backend != "tensorflow":
        tf.config.set_visible_devices([], "GPU")


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Inside the `with`, `module` is not to be imported: TensorFlow 2.21 does so wherever JAX is installed.

    Its converter for phones, which takes JAX's functions too, is the reason: 106 MiB and 0.3 of 3.4 CPU seconds.
    """
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before:
            sys.modules[module] = before


__all__ = ["Lazy", "keras", "load", "load_tensorflow", "np", "tf"]
