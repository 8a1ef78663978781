"""A short description of each image, in which an image and its shifted, cropped or recolored copies are near.

Histograms of the directions of gradients in overlapping cells, as in HOG (Dalal and Triggs, 2005) and in GIST, which
finds near duplicates among photos (Douze et al., 2009); whitened, and compared by their cosine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CELLS, DIRECTIONS = 4, 8
"""Cells on a side, and directions of gradients; the bins of both overlap."""
DIMENSIONS = 64
"""Of a whitened descriptor, in large data sets."""
SIMILAR = 0.6
"""Cosine of two descriptors from which on the images are compared by their pixels."""
MOST = 16
"""Similar images that are compared with one image at most."""
ROWS = 2000
"""Images whose similarities are computed at once."""


def described(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return descriptors float32 (n, d) of images and of their mirror images, of unit length.

    `gray` is uint8 (n, side, side).
    """
    found = np.concatenate([_histograms(gray[first : first + ROWS]) for first in range(0, len(gray), ROWS)])
    mirrored = found[:, :, ::-1][..., (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS]
    plain, mirrored = (array.reshape(len(gray), -1) for array in (found, mirrored))
    mean = (plain.mean(axis=0) + mirrored.mean(axis=0)) / 2
    moments = sum((array - mean).T @ (array - mean) for array in (plain, mirrored)) / (2 * len(gray))
    values, vectors = np.linalg.eigh(moments)
    kept = max(1, min(DIMENSIONS, len(gray) // 8))  # of few images, the small moments are noise
    basis = vectors[:, -kept:] / np.sqrt(np.maximum(values[-kept:], 1e-6 * values[-1]) + 1e-12)
    return _unit((plain - mean) @ basis), _unit((mirrored - mean) @ basis)


def similar_pairs(plain: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Return pairs of images with similar descriptors: int64 (m, 3).

    A row has two numbers of images, the smaller one first, and 1 where the first image is to be mirrored, else 0.
    """
    found = [pairs for flipped, queries in enumerate((plain, mirrored)) for pairs in _similar(queries, plain, flipped)]
    return np.concatenate([*found, np.zeros((0, 3), np.int64)])


def _similar(queries: np.ndarray, plain: np.ndarray, flipped: int) -> Iterator[np.ndarray]:
    for first in range(0, len(queries), ROWS):
        similarity = queries[first : first + ROWS] @ plain[first:].T  # of each pair once
        similarity[np.tril_indices(len(similarity))] = -1
        rows, columns = np.nonzero(similarity > SIMILAR)
        order = np.lexsort((-similarity[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        starts = np.searchsorted(rows, np.arange(len(similarity)))
        near = np.arange(len(rows)) - starts[rows] < MOST
        yield np.stack([rows[near] + first, columns[near] + first, np.full(near.sum(), flipped)], axis=1)


def _histograms(gray: np.ndarray) -> np.ndarray:
    """Return float32 (n, `CELLS`, `CELLS`, `DIRECTIONS`), of unit length."""
    images, side = gray.astype(np.float32), gray.shape[1]
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, 1:-1] = images[:, 2:] - images[:, :-2]
    right[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    place = (np.arange(side) + 0.5) / side * CELLS - 0.5
    share = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(CELLS)))
    cells = np.einsum("yi,xj->yxij", share, share).reshape(side * side, -1).astype(np.float32)
    bins = []
    for angle in 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS:
        strength = np.maximum(right * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle)), 0)
        bins.append(strength.reshape(len(gray), -1) @ cells)
    return _unit(np.sqrt(np.stack(bins, axis=-1)).reshape(len(gray), -1)).reshape(-1, CELLS, CELLS, DIRECTIONS)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)).astype(np.float32)
