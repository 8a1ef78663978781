"""Random numbers for the rows of a batch, independent of the batch's size."""

from __future__ import annotations

from cifar.runtime.lazy import np


class CounterRNG:
    """Uniform random numbers for the rows `first` to `first + count - 1` of the stream `key` (integers).

    Each call returns new numbers; calls are numbered. A row's numbers depend on key, number of the call and row only,
    and are the same on every machine and version of NumPy, as raw PCG64 numbers are.
    """

    def __init__(self, key: tuple[int, ...], first: int, count: int):
        self._key, self._first, self._count = key, first, count
        self._calls = 0

    def __call__(self, *shape: int) -> np.ndarray:
        """float32 (count, *shape) in [0, 1)."""
        raw = self._raw(int(np.prod(shape)))
        return ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)).reshape(self._count, *shape)

    def between(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float32 (count, *shape) in [low, high)."""
        return np.float32(low) + self(*shape) * np.float32(high - low)

    def below(self, limit: int, *shape: int) -> np.ndarray:
        """int64 (count, *shape), 0 to `limit` - 1."""
        return (self._raw(int(np.prod(shape))) % np.uint64(limit)).astype(np.int64).reshape(self._count, *shape)

    def bytes(self, number: int) -> np.ndarray:
        """uint8 (count, number)."""
        raw = self._raw(-(-number // 8)).astype("<u8", copy=False)
        return raw.view(np.uint8).reshape(self._count, -1)[:, :number]

    def _raw(self, each: int) -> np.ndarray:
        self._calls += 1
        generator = np.random.PCG64([*self._key, self._calls]).advance(self._first * each)
        return generator.random_raw(self._count * each)
