"""Where a photo of any size is in the model's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cifar.interfaces import VOID, Resize
from cifar.runtime.lazy import np


@dataclass(frozen=True)
class Placement:
    """The position of a photo of `size` (height, width) in the model's image of `shape`.

    The photo is resized by `scale`, with its upper left corner at pixel (`left`, `top`), which lies outside of the
    image where the photo is cropped.
    """

    size: tuple[int, int]
    shape: tuple[int, int]
    scale: tuple[float, float]
    """Vertical and horizontal; without `stretch`, they differ slightly because sizes are rounded to whole pixels."""
    left: float
    top: float

    @classmethod
    def of(cls, size: tuple[int, int], shape: tuple[int, ...], resize: Resize) -> Placement:
        """The position of a photo of `size` (height, width) in an image of `shape` (height, width, …)."""
        to = shape[0], shape[1]
        ratios = to[0] / size[0], to[1] / size[1]
        if resize == "stretch":
            return cls(size, to, ratios, 0, 0)
        if resize == "crop":
            scale = max(ratios)
            top, left = ((side - scale * length) / 2 for side, length in zip(to, size, strict=True))
            return cls(size, to, (scale, scale), left, top)
        height, width = (max(1, round(min(ratios) * length)) for length in size)
        scales = height / size[0], width / size[1]
        return cls(size, to, scales, (to[1] - width) // 2, (to[0] - height) // 2)

    @property
    def covered(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the part of the model's image that the photo covers, in pixels."""
        bottom, right = (round(start + length * scale) for start, length, scale in
                         zip((self.top, self.left), self.size, self.scale, strict=True))  # fmt: skip
        return max(int(self.top), 0), max(int(self.left), 0), min(bottom, self.shape[0]), min(right, self.shape[1])

    def of_size(self, size: tuple[int, int]) -> Placement:
        """The same of the photo resized to `size` (height, width)."""
        scale = self.scale[0] * self.size[0] / size[0], self.scale[1] * self.size[1] / size[1]
        return replace(self, size=size, scale=scale)

    def to_photo(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Map boxes and masks of `predictions` from pixels of the model's image to pixels of the photo.

        The mask of what is cropped is 0, the background.
        """
        height, width = self.size
        mapped = dict(predictions)
        if "boxes" in mapped:
            corner, scale = np.array([self.left, self.top] * 2), np.array(self.scale[::-1] * 2)
            mapped["boxes"] = np.clip((mapped["boxes"] - corner) / scale, 0, [width, height] * 2)
        if "mask" in mapped:
            mask = mapped["mask"]
            rows, columns = (np.floor((np.arange(length) + 0.5) * scale + first).astype(int) for length, scale, first in
                             zip(self.size, self.scale, (self.top, self.left), strict=True))  # fmt: skip
            inside = [(at >= 0) & (at < length) for at, length in zip((rows, columns), mask.shape[1:], strict=True)]
            rows, columns = (at.clip(0, length - 1) for at, length in zip((rows, columns), mask.shape[1:], strict=True))
            mapped["mask"] = mask[:, rows[:, None], columns] * (inside[0][:, None] & inside[1])
        return mapped

    def boxes_to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (…, 4) from pixels of the photo to pixels of the model's image."""
        return boxes * np.array(self.scale[::-1] * 2) + np.array([self.left, self.top] * 2)

    def mask_to_image(self, mask: np.ndarray) -> np.ndarray:
        """Map a photo's mask, uint8, to the model's image, by nearest pixel, with `VOID` around it."""
        mapped = np.full(self.shape, VOID, np.uint8)
        top, left, bottom, right = self.covered
        rows, columns = (
            ((np.arange(first, last) + 0.5 - start) / scale).astype(int).clip(max=length - 1)
            for first, last, start, scale, length in zip(
                (top, left), (bottom, right), (self.top, self.left), self.scale, self.size, strict=True
            )
        )
        mapped[top:bottom, left:right] = mask[rows[:, None], columns]
        return mapped
