"""Synthetic scenes for detection and segmentation, composed of the images of another data set."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from cifar.config.builders import BuilderSettings
from cifar.config.registry import DATASETS
from cifar.config.schema import PositiveInt, UnitInterval
from cifar.data.scenes.canvas import Canvas, Layout
from cifar.data.scenes.counter_rng import CounterRNG
from cifar.data.scenes.cutouts import SHAPE_NUMBERS, resized, shapes
from cifar.data.scenes.textures import textured
from cifar.data.splits import numbered
from cifar.interfaces import Dataset, Split, aligned_empty
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import np

BLOCK = 2**20
"""Number of pixels of the scenes that are composed at once."""
DECOYS = 2
"""Shapes per scene that are filled with a texture only, so that an outline alone does not indicate an object."""
POSITIONS = 8
"""Positions tried for an object that leave enough of the others visible."""
SMALLEST = 4
"""Minimum of an object's longer side in pixels."""

Scale = Annotated[float, Field(gt=0, le=1)]
Objects = Annotated[int, Field(ge=1, le=254)]


def _settings(source: Any) -> Any:
    if isinstance(source, str):
        raise ValueError(f"be its settings; choose a data set by data@data.source={source}")
    return source


Source = Annotated[BuilderSettings, DATASETS, BeforeValidator(_settings)]


@DATASETS.register
def scenes(
    seed: int,
    *,
    source: Source,
    size: PositiveInt,
    objects: Objects,
    min_scale: Scale,
    max_scale: Scale,
    min_visible: UnitInterval,
    num_train: PositiveInt,
    num_val: PositiveInt,
    num_test: PositiveInt,
    limit: PositiveInt | None = None,
) -> Dataset:
    """Scenes (size, size, channels): textures with 1 to `objects` cut-out images of the data set `source`.

    `source` has the settings of a data set for classification; the objects of a split come from its split of the same
    name. A split has `num_train`, `num_val` or `num_test` scenes, or `limit` if that is less. The longer side of an
    object is `min_scale` to `max_scale` of `size`. Later objects are in front of earlier ones and leave at least
    `min_visible` of the pixels of each visible; an object without such a position is omitted. Boxes and mask cover
    visible pixels, as in COCO (Lin et al., 2014, https://arxiv.org/abs/1405.0312). A scene depends on the seed, its
    number and the source's split only; test scenes are the same for every seed. Raises `InputError` if `source` has no
    labels or more than 254 classes, and for impossible scales.
    """
    if min_scale > max_scale:
        raise InputError(f"data.min_scale={min_scale}: is greater than data.max_scale={max_scale}")
    if min_scale * size < SMALLEST:
        raise InputError(
            f"data.min_scale={min_scale}: objects of less than {SMALLEST} pixels; accepted with "
            f"data.size={size}: at least {SMALLEST / size:.4g}"
        )
    origin = _source(source, seed)
    layout = Layout(size, objects, min_scale * size, max_scale * size, min_visible)
    train, val, test = (count if limit is None else min(count, limit) for count in (num_train, num_val, num_test))
    return Dataset(
        f"{origin.name}_scenes",
        replace(compose(origin.train, layout, train, (seed, 0)), ids=numbered("train", train)),
        replace(compose(origin.val, layout, val, (seed, 1)), ids=numbered("val", val)),
        replace(compose(origin.test, layout, test, (0, 2)), ids=numbered("test", test)),
        origin.class_names,
    )


def _source(settings: BuilderSettings, seed: int) -> Dataset:
    try:
        dataset = settings.build(seed=seed)
    except InputError as error:
        raise InputError(f"data.source: {error}") from None
    if "label" not in dataset.train.targets:
        raise InputError(
            f"data.source.name={settings.name}: its images have no labels; accepted: a data set for classification"
        )
    if len(dataset.class_names) > 254:
        raise InputError(
            f"data.source: {len(dataset.class_names)} classes; accepted: at most 254, as masks have 8 bits"
        )
    return dataset


def compose(source: Split, layout: Layout, count: int, key: tuple[int, int]) -> Split:
    """Compose `count` scenes of the images of `source`."""
    size, channels = layout.size, source.images.shape[-1]
    images = aligned_empty(count * size * size * channels).reshape(count, size, size, channels)
    targets: dict[str, np.ndarray] = {
        "boxes": np.empty((count, layout.objects, 4), np.float32),
        "classes": np.empty((count, layout.objects), np.int64),
        "crowd": np.zeros((count, layout.objects), bool),
        "mask": np.empty((count, size, size), np.uint8),
    }
    block = max(1, BLOCK // size**2)
    for first in range(0, count, block):
        rows = slice(first, min(first + block, count))
        images[rows], instances, classes = draw_block(source, layout, CounterRNG(key, first, rows.stop - first))
        for name, target in annotate(instances, classes).items():
            targets[name][rows] = target
    return Split(images, targets)


def draw_block(source: Split, layout: Layout, rng: CounterRNG) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compose a block of scenes; return images, the number of the object visible at each pixel, and the classes.

    uint8 (n, size, size, channels), uint8 (n, size, size) from 1 (0 for none), int64 (n, objects) with -1 for none.
    """
    patch, shape = layout.patch, source.images.shape[1:]
    canvas = Canvas(textured(rng, layout.size, shape[-1]), patch // 2, layout)
    for _ in range(DECOYS):
        sides = layout.sides(rng(), shape)
        corners = layout.corners(rng(2), sides)
        colors, cover = textured(rng, patch, shape[-1]), shapes(rng(SHAPE_NUMBERS), sides, patch)
        for row, corner in enumerate(corners):
            canvas.blend(row, corner, colors[row], cover[row])

    sides, corners = _positions(rng, layout, shape)
    chosen, outlines = rng.below(len(source), layout.objects), rng(layout.objects, SHAPE_NUMBERS)
    exists = np.arange(layout.objects) <= rng.below(layout.objects, 1)
    colors = resized(source.images[chosen[exists]], sides[exists], patch)
    cover = shapes(outlines[exists], sides[exists], patch)
    classes = np.where(exists, source.targets["label"][chosen], -1)
    for item, (row, number) in enumerate(np.argwhere(exists)):
        if canvas.place(row, corners[row, number], cover[item] >= 0.5, number + 1):
            canvas.blend(row, corners[row, number], colors[item], cover[item])
    return canvas.images(), canvas.instances(), classes


def _positions(rng: CounterRNG, layout: Layout, image_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Sides and corners of objects, (n, objects, 2); of several positions one that leaves the others visible."""
    sides = layout.sides(rng(layout.objects), image_shape)
    tries = layout.corners(rng(layout.objects, POSITIONS, 2), sides[:, :, None])
    corners = tries[:, :, 0].copy()
    within = (layout.patch - sides) / 2
    for number in range(1, layout.objects):
        first = corners[:, None, :number] + within[:, None, :number]  # upper left corners of the earlier objects
        new = tries[:, number, :, None] + within[:, number, None, None]
        overlap = np.minimum(first + sides[:, None, :number], new + sides[:, number, None, None]) - np.maximum(
            first, new
        )
        hidden = (np.maximum(overlap, 0) / sides[:, None, :number]).prod(axis=3).max(axis=2)
        allowed = hidden <= 1 - layout.min_visible
        best = np.where(allowed.any(axis=1), allowed.argmax(axis=1), hidden.argmin(axis=1))
        corners[:, number] = np.take_along_axis(tries[:, number], best[:, None, None], axis=1)[:, 0]
    return sides, corners


def annotate(instances: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Boxes, classes and mask of the visible part of each object; invisible objects come last, as padding."""
    count, size, _ = instances.shape
    boxes, hidden = np.zeros((*classes.shape, 4), np.float32), np.zeros(classes.shape, bool)
    for number in range(classes.shape[1]):
        seen = instances == number + 1
        for axis, along in enumerate((seen.any(axis=1), seen.any(axis=2))):  # columns, rows
            boxes[:, number, axis] = along.argmax(axis=1)
            boxes[:, number, axis + 2] = size - along[:, ::-1].argmax(axis=1)
        hidden[:, number] = ~along.any(axis=1)
    boxes[hidden] = 0
    classes = np.where(hidden, -1, classes)
    values = np.concatenate([np.zeros((count, 1), np.int64), classes + 1], axis=1).astype(np.uint8)
    mask = np.take_along_axis(values, instances.reshape(count, -1), axis=1).reshape(instances.shape)
    order = np.argsort(hidden, axis=1, kind="stable")
    return {
        "boxes": np.take_along_axis(boxes, order[..., None], axis=1),
        "classes": np.take_along_axis(classes, order, axis=1),
        "mask": mask,
    }
