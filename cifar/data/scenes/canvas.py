"""Layout of scenes, and composition of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

from cifar.runtime.lazy import np


@dataclass(frozen=True)
class Layout:
    """Settings of a scene's layout; lengths in pixels."""

    size: int
    objects: int
    smallest: float
    largest: float
    min_visible: float

    @property
    def patch(self) -> int:
        """Side of the square that any object fits into."""
        return int(np.ceil(self.largest)) + 2

    def sides(self, share: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
        """Height and width of objects, float32 (*shape, 2); `share` (*shape) interpolates from smallest to largest."""
        height, width = image_shape[:2]
        longer = self.smallest + share * (self.largest - self.smallest)
        return longer[..., None] * np.array([height, width], np.float32) / max(height, width)

    def corners(self, share: np.ndarray, sides: np.ndarray) -> np.ndarray:
        """Top and left of patches, int64; an object of `sides`, centered in its patch, is within the scene."""
        first = np.ceil((sides - self.patch) / 2)
        last = np.floor(self.size - (sides + self.patch) / 2)
        return (first + np.floor(share * (last - first + 1))).astype(np.int64)


class Canvas:
    """Scenes being composed: backgrounds with a border that patches may extend into."""

    def __init__(self, background: np.ndarray, border: int, layout: Layout):
        count, channels, size, _ = background.shape
        self._border, self._patch, self._min_visible = border, layout.patch, layout.min_visible
        self._inner = slice(border, border + size)
        self._pixels = np.zeros((count, channels, size + 2 * border, size + 2 * border), np.float32)
        self._pixels[:, :, self._inner, self._inner] = background
        self._objects = np.zeros((count, *self._pixels.shape[2:]), np.uint8)
        self._whole = np.zeros((count, layout.objects + 1), np.int64)
        self._visible = np.zeros((count, layout.objects + 1), np.int64)

    def blend(self, row: int, corner: np.ndarray, colors: np.ndarray, cover: np.ndarray) -> None:
        """Blend `colors` (channels, patch, patch) over the scene by the coverage `cover` (patch, patch)."""
        pixels = self._pixels[row, :, *self._window(corner)]
        pixels += cover * (colors - pixels)

    def place(self, row: int, corner: np.ndarray, inside: np.ndarray, number: int) -> bool:
        """Assign the pixels `inside` to an object and return True, unless it would hide too much of another one."""
        window = self._objects[row, *self._window(corner)]
        whole, visible = self._whole[row], self._visible[row]
        area = np.count_nonzero(inside)
        remaining = visible - np.bincount(window[inside], minlength=len(visible))
        if not area or (remaining[1:] < self._min_visible * whole[1:]).any():
            return False
        remaining[number] = whole[number] = area
        visible[:] = remaining
        window[inside] = number
        return True

    def images(self) -> np.ndarray:
        """uint8 (n, size, size, channels)."""
        inner = self._pixels[:, :, self._inner, self._inner]
        return np.rint(inner).astype(np.uint8).transpose(0, 2, 3, 1)

    def instances(self) -> np.ndarray:
        return self._objects[:, self._inner, self._inner]

    def _window(self, corner: np.ndarray) -> tuple[slice, slice]:
        top, left = (int(pixel) + self._border for pixel in corner)
        return slice(top, top + self._patch), slice(left, left + self._patch)
