"""Arithmetic with the same bits on every processor, so that a seed gives scenes with the same fingerprint.

Single float operations are exact everywhere, and so are sums of products of integers of few bits. Sines and roots
differ in the last bit between libraries, and sums of fractions depend on the order of summation.
"""

from __future__ import annotations

import functools

from cifar.runtime.lazy import np

STEPS = 2**14
"""Angles per turn in the table of sines."""


def sine(turns: np.ndarray) -> np.ndarray:
    """Sine of `turns` (1 is a full circle), float32, from a table of `STEPS` values of 16 bits each."""
    return np.take(_sines(), np.floor(turns * np.float32(STEPS)).astype(np.int32) & (STEPS - 1))


def cosine(turns: np.ndarray) -> np.ndarray:
    return sine(turns + np.float32(0.25))


def length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)


def shares(weights: np.ndarray, bits: int) -> np.ndarray:
    """Normalize `weights` to multiples of 2**-`bits` that add up to 1 along the last axis: float32."""
    whole = np.float32(2**bits)
    parts = np.rint(weights * (whole / weights.sum(axis=-1, keepdims=True)))
    largest = parts.argmax(axis=-1, keepdims=True)
    rest = whole - parts.sum(axis=-1, keepdims=True)
    np.put_along_axis(parts, largest, np.take_along_axis(parts, largest, axis=-1) + rest, axis=-1)
    return parts / whole


@functools.cache
def _sines() -> np.ndarray:
    return (np.rint(np.sin(np.arange(STEPS) * (2 * np.pi / STEPS)) * 2**16) / 2**16).astype(np.float32)
