"""Test-time augmentation: what a model says of several views of an image, in one answer."""

from __future__ import annotations

import keras
from keras import ops

from cifar.config.settings import Views


def averaged(model: keras.Model, views: Views) -> keras.Model:
    """`model`, from images to probabilities (n, classes), as one that looks at each image in several views.

    These are the image and its mirror image (`flip`), with half of the weight; and both of them moved by a pixel up and
    left, and down and right, with the other half (`flip_shift`: Jordan 2024, arXiv 2404.00498). The logarithms of
    their probabilities are averaged, which is to average logits.
    """
    if views == "none":
        return model
    image = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="image")
    weighted = [(1.0, image)]
    if views == "flip_shift":
        height, width, _ = image.shape[1:]
        padded = ops.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
        weighted = [(0.5, image), *((0.25, padded[:, at : at + height, at : at + width]) for at in (0, 2))]
    logarithms = [
        weight / 2 * ops.log(ops.maximum(model(view), 1e-30))
        for weight, moved in weighted
        for view in (moved, ops.flip(moved, axis=2))
    ]
    return keras.Model(image, ops.softmax(sum(logarithms[1:], start=logarithms[0])), name=model.name)
