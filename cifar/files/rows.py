"""Rows of an array that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cifar.runtime.lazy import np

BLOCK = 1024
"""Images that are read at once."""


class ImageRows:
    """The images at `rows` (n,) of `base`, uint8 (m, height, width, channels), such as a mapped file.

    Behaves like the array `base[rows]` where images are indexed along the first axis, but nothing is copied before. An
    index returns an array. `digests`, uint8 (m, 32), are the SHA-256 of the images of `base`, if they are known.
    """

    def __init__(self, base: np.ndarray, rows: np.ndarray, digests: np.ndarray | None = None):
        self.base, self.rows = base, rows
        self._digests = digests

    dtype = property(lambda self: self.base.dtype)
    ndim = property(lambda self: self.base.ndim)
    shape = property(lambda self: (len(self.rows), *self.base.shape[1:]))
    nbytes = property(lambda self: len(self) * self.base[:1].nbytes)

    def take(self, index: np.ndarray) -> ImageRows:
        """The rows at `index`, which are not read."""
        return ImageRows(self.base, self.rows[index], self._digests)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *others = key if isinstance(key, tuple) else (key,)
        found = self.base[self.rows[first]]
        if not others:
            return found
        return found[tuple(others)] if found.ndim < self.ndim else found[(slice(None), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def identity(self) -> Iterator[np.ndarray]:
        """Arrays that identify the images: their digests, or where they are not known the images in blocks."""
        if self._digests is not None:
            yield self._digests[self.rows]
            return
        for first in range(0, len(self), BLOCK):
            yield np.ascontiguousarray(self[first : first + BLOCK])

    @staticmethod
    def joined(first: ImageRows, second: ImageRows) -> ImageRows:
        """The rows of both, which are of one array."""
        assert first.base is second.base
        return ImageRows(first.base, np.concatenate([first.rows, second.rows]), first._digests)
