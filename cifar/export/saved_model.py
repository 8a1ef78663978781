"""TensorFlow's SavedModel, for TensorFlow Serving: the folder of an export is a version of the model.

`serving_default` takes `image`, uint8 of the run's shape; `serving_bytes` takes `image_bytes`, PNG or JPEG files of any
size. `class_names` takes nothing and returns the names of the classes: OpenVINO compiles no signature with texts.
"""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cifar.export import graph
from cifar.export.source import Source, Written, batches
from cifar.images.photos import GAP, Preparation

BATCH = 128
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
"""First bytes of the files."""
REDUCTIONS = (1, 2, 4, 8)
"""The parts of its size at which a JPEG can be decoded."""
GRAY = (19595, 38470, 7471)
"""Weights of red, green and blue in gray, in 65536ths: ITU-R BT.601 with Pillow's rounding."""


def write(source: Source, folder: Path) -> list[Written]:
    archive = keras.export.ExportArchive()  # without `track`, which would write each variable twice
    preparation, task = source.experiment.preparation, source.experiment.task

    def answer(image):
        return source.named(image, training=False)

    def answer_bytes(image_bytes):
        return answer(tf.map_fn(lambda file: decoded(file, preparation), image_bytes,
                                fn_output_signature=tf.TensorSpec(preparation.shape, tf.uint8)))  # fmt: skip

    def class_names():
        return {"class_names": tf.constant(task.class_names)}

    archive.add_endpoint("serving_default", answer, [graph.image(source.named)])
    archive.add_endpoint("serving_bytes", answer_bytes, [tf.TensorSpec((None,), tf.string, name="image_bytes")])
    archive.add_endpoint("class_names", class_names, [])
    archive.write_out(folder, verbose=False)
    files = ["saved_model.pb", "fingerprint.pb", *(f"variables/{path.name}" for path in folder.glob("variables/*"))]
    signature = tf.saved_model.load(folder).signatures["serving_default"]

    def predict(images):
        outputs = signature(image=tf.constant(images))
        return {name: outputs[name].numpy() for name in source.named.output}

    return [Written("savedmodel", files, lambda images: batches(predict, images, BATCH), tolerance=1e-5)]


def decoded(file: tf.Tensor, preparation: Preparation) -> tf.Tensor:
    """Decode `file`, a scalar of PNG or JPEG bytes, to the model's uint8 image.

    It is prepared like in `cifar.images.photos`. Values may differ by 1 due to rounding, and EXIF orientation is
    ignored. Raises TensorFlow's errors for other bytes.
    """
    height, width, channels = preparation.shape
    is_jpeg, is_png = (tf.strings.substr(file, 0, len(start)) == start for start in (JPEG, PNG))
    tf.debugging.Assert(tf.logical_or(is_jpeg, is_png), ["image_bytes: should be PNG or JPEG files"])
    pixels, size = tf.cond(
        is_jpeg,
        lambda: _decoded_jpeg(file, preparation),
        lambda: _with_size(tf.io.decode_png(file, channels=3)),
    )
    if channels == 1:
        weighted = tf.reduce_sum(tf.cast(pixels, tf.int32) * GRAY, axis=-1, keepdims=True)
        pixels = tf.cast((weighted + 2**15) // 2**16, tf.uint8)
    target, own = np.array([height, width], "float64"), tf.cast(tf.shape(pixels)[:2], tf.float64)
    fitted = _scales(size, preparation) * tf.cast(size, tf.float64)
    first = (target - fitted) / 2
    if preparation.resize == "letterbox":
        fitted = tf.round(fitted)
        first = tf.floor((target - fitted) / 2)
    scale, first, fitted = (tf.cast(values, tf.float32) for values in (fitted / own, first, fitted))
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=[height, width],
        scale=scale,
        translation=first,
        kernel_type="triangle",
        antialias=True,
    )[0]
    rows, columns = (tf.range(length, dtype=tf.float32) + 0.5 for length in (height, width))
    within = ((rows > first[0]) & (rows < first[0] + fitted[0]))[:, None] & (
        (columns > first[1]) & (columns < first[1] + fitted[1])
    )
    rounded = tf.cast(tf.clip_by_value(tf.floor(resized + 0.5), 0, 255), tf.uint8)
    return tf.where(within[..., None], rounded, tf.zeros((), tf.uint8))


def _decoded_jpeg(file: tf.Tensor, preparation: Preparation) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels of a JPEG, decoded at a part of its size as `Preparation.drafts` says, and its whole (height, width).

    The part is that of Pillow's `draft`.
    """

    def at(reduction: int) -> tf.Tensor:
        return tf.io.decode_jpeg(file, channels=3, ratio=reduction, dct_method="INTEGER_ACCURATE")  # like Pillow

    size = tf.io.extract_jpeg_shape(file)[:2]
    if not preparation.drafts:
        return at(1), size
    scale = tf.reduce_max(_scales(size, preparation))
    wanted = tf.cast(tf.math.ceil(GAP * scale * tf.cast(size, tf.float64)), tf.int32)
    most = tf.reduce_min(size // wanted)
    chosen = sum(tf.cast(most >= reduction, tf.int32) for reduction in REDUCTIONS[1:])
    return tf.switch_case(chosen, [functools.partial(at, reduction) for reduction in REDUCTIONS]), size


def _scales(size: tf.Tensor, preparation: Preparation) -> tf.Tensor:
    """The `Placement.scale` of a photo of this (height, width): float64 (2,)."""
    size = tf.cast(size, tf.float64)
    ratios = np.array(preparation.shape[:2], "float64") / size
    if preparation.resize == "crop":
        return tf.fill([2], tf.reduce_max(ratios))
    if preparation.resize == "letterbox":
        return tf.maximum(tf.constant(1, tf.float64), tf.round(tf.reduce_min(ratios) * size)) / size
    return ratios


def _with_size(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return pixels, tf.shape(pixels)[:2]
