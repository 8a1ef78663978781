"""The classifier of images that a model is known for, on its feature maps."""

from __future__ import annotations

from cifar.config.builders import ClassifierSettings
from cifar.nn import blocks, graph
from cifar.runtime.lazy import keras


def with_classifier(
    backbone: keras.Model, classes: int, settings: ClassifierSettings, activation: str = "softmax"
) -> keras.Model:
    """Return `backbone` with a classifier on its deepest feature map: probabilities (n, classes) by `activation`."""
    x = backbone.output[graph.deepest(backbone.output)]
    pool = {
        "flatten": keras.layers.Flatten,
        "average": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }
    x = pool[settings.pooling]()(x)
    for units in settings.units:
        x = keras.layers.Dense(units, activation="relu")(x)
        x = blocks.dropout(settings.dropout)(x)
    if settings.scale != 1:
        x = keras.layers.Rescaling(settings.scale, dtype="float32")(x)
    dense = keras.layers.Dense(
        classes, activation=activation, use_bias=settings.bias, dtype="float32", name="probabilities"
    )
    return keras.Model(backbone.input, dense(x), name=f"{backbone.name}_classifier")
