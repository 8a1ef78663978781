"""Plain convolutional networks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cifar.errors import InputError
from cifar.lazy import keras, layers
from cifar.registry import MODELS
from cifar.schema import PositiveInt, Rate


@MODELS.register
def cnn3(
    image_shape: tuple[int, int, int],
    *,
    filters: Annotated[list[PositiveInt], Field(min_length=1)],
    kernel_size: PositiveInt,
    dropout: Rate,
) -> keras.Model:
    """Blocks of convolution, ReLU, batch normalization, max pooling and dropout, as many as `filters` has entries.

    Takes uint8 images `(batch, height, width, channels)`; block n gives the feature map "Pn", of stride 2ⁿ and with
    `filters[n - 1]` channels. Raises `InputError` where the image is too small to be halved so often.
    """
    height, width, _ = image_shape
    most = min(height, width).bit_length() - 1
    if len(filters) > most:
        raise InputError(f"model.filters={filters}: should have at most {most} entries for images of {height}×{width}")
    image = keras.Input(image_shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    features = {}
    for n, channels in enumerate(filters, start=1):
        x = layers.Conv2D(channels, kernel_size, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout)(x)
        features[f"P{n}"] = x
    return keras.Model(image, features, name="cnn3")
