"""TensorFlow's SavedModel, for TensorFlow Serving: the folder of an export is a version of the model.

`serving_default` takes `image`, uint8 of the run's shape; `serving_bytes` takes `image_bytes`, PNG or JPEG files of any
size. `class_names` takes nothing and returns the names of the classes: OpenVINO compiles no signature with texts.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cifar.export import graph
from cifar.export.source import Source, Written, batches

BATCH = 128
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
"""First bytes of the files."""
GRAY = (19595, 38470, 7471)
"""Weights of red, green and blue in gray, in 65536ths: ITU-R BT.601 with Pillow's rounding."""


def write(source: Source, folder: Path) -> list[Written]:
    archive = keras.export.ExportArchive()  # without `track`, which would write each variable twice
    shape, task = source.experiment.dataset.image_shape, source.experiment.task

    def answer(image):
        return source.named(image, training=False)

    def answer_bytes(image_bytes):
        return answer(tf.map_fn(lambda file: decoded(file, shape, task.is_dense), image_bytes,
                                fn_output_signature=tf.TensorSpec(shape, tf.uint8)))  # fmt: skip

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


def decoded(file: tf.Tensor, shape: tuple[int, int, int], whole: bool) -> tf.Tensor:
    """Decode `file`, a scalar of PNG or JPEG bytes, to uint8 of `shape` (height, width, channels).

    The image is resized like in `cifar.images`: center-cropped, or letterboxed if `whole`. Values may differ by 1 due
    to rounding, and EXIF orientation is ignored. Raises TensorFlow's errors for other bytes.
    """
    height, width, channels = shape
    is_jpeg, is_png = (tf.strings.substr(file, 0, len(start)) == start for start in (JPEG, PNG))
    tf.debugging.Assert(tf.logical_or(is_jpeg, is_png), ["image_bytes: should be PNG or JPEG files"])
    pixels = tf.cond(
        is_jpeg,
        lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),  # like Pillow
        lambda: tf.io.decode_png(file, channels=3),
    )
    if channels == 1:
        weighted = tf.reduce_sum(tf.cast(pixels, tf.int32) * GRAY, axis=-1, keepdims=True)
        pixels = tf.cast((weighted + 2**15) // 2**16, tf.uint8)
    target, size = np.array([height, width], "float32"), tf.cast(tf.shape(pixels)[:2], tf.float32)
    if whole:
        fitted = tf.maximum(1.0, tf.round(tf.reduce_min(target / size) * size))
        first = tf.floor((target - fitted) / 2)
    else:
        fitted = tf.reduce_max(target / size) * size
        first = (target - fitted) / 2
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=[height, width],
        scale=fitted / size,
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
