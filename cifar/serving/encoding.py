"""JSON of arrays, in parts that let other threads run in between: the standard encoder does not, for seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

PART = 2**12
"""Numbers that are encoded at once: about 3 ms."""


def array(values: np.ndarray) -> str:
    """Encode an array as nested lists; raises `ValueError` for numbers that are not finite."""
    if values.size <= PART:
        return json.dumps(values.tolist(), allow_nan=False, separators=(",", ":"))
    if values.ndim == 1:
        return f"[{','.join(array(values[first : first + PART])[1:-1] for first in range(0, len(values), PART))}]"
    return f"[{','.join(map(array, values))}]"


def columns(outputs: Mapping[str, np.ndarray]) -> str:
    """Encode outputs of images by name; a single output without its name, as TensorFlow Serving does."""
    if len(outputs) == 1:
        return array(next(iter(outputs.values())))
    return f"{{{','.join(f'{json.dumps(name)}:{array(values)}' for name, values in outputs.items())}}}"


def rows(outputs: Mapping[str, np.ndarray]) -> str:
    """Encode the outputs of each image."""
    count = len(next(iter(outputs.values())))
    return f"[{','.join(columns({name: values[n] for name, values in outputs.items()}) for n in range(count))}]"
