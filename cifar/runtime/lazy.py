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
from contextlib import ExitStack, contextmanager
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


def load_tensorflow(backend: str = "tensorflow", with_wrappers: bool = False) -> None:
    """Import TensorFlow, which makes the batches, and Keras, without TensorFlow's notes on its start-up.

    `backend` is what Keras computes with, on the GPUs if there are any. Keras's wrappers for scikit-learn, which no
    command uses, are there on request: for them it imports scikit-learn, which takes 0.6 CPU seconds.
    """
    os.environ["KERAS_BACKEND"] = backend
    if "tensorflow" in sys.modules:
        return
    hidden = [
        *(["jax"] if backend == "tensorflow" else []),
        *([] if with_wrappers or "sklearn" in sys.modules else ["sklearn"]),
    ]
    with status("loading TensorFlow"), silenced(2), ExitStack() as stack:
        for module in hidden:
            stack.enter_context(_hidden(module))
        load("tensorflow")  # which imports Keras
    if backend != "tensorflow":
        tf.config.set_visible_devices([], "GPU")


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Inside the `with`, `module` is not to be imported.

    TensorFlow 2.21 imports JAX wherever it is installed, since its converter for phones takes JAX's functions too:
    106 MiB and 0.3 of 3.4 CPU seconds.
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
