"""A config-driven experiment framework for image classification, detection and segmentation on Keras 3.

import cifar

run = cifar.run("model=cnn3", "data=digits", epochs=5)
run.metrics, run.history, run.model
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifar.api import Comparison, Picture, Run, Runs, compare, load, run, runs
    from cifar.runtime.errors import InputError, TrainingError

__version__ = "0.2.0"
__all__ = ["Comparison", "InputError", "Picture", "Run", "Runs", "TrainingError", "compare", "load", "run", "runs"]

# TensorFlow's notes on its own start-up; its errors still raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow and MLflow would look for Keras 2.
os.environ.pop("TF_USE_LEGACY_KERAS", None)
# Pydantic looks for plugins in every package that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def __getattr__(name: str) -> Any:
    """The names of the Python interface, which load at their first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Error"):
        from cifar.runtime import errors

        return getattr(errors, name)
    from cifar import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
