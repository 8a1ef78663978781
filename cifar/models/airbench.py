"""The network of airbench94: Jordan 2024, arXiv:2404.00498."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt, Rate
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import keras, np

WHITENED_IMAGES = 2000
"""Number of training images from which the covariance of patches is estimated."""


@MODELS.register
def airbench(
    image_shape: tuple[int, int, int],
    train_images: np.ndarray,
    *,
    widths: Annotated[list[PositiveInt], Field(min_length=1)],
    whitening_size: PositiveInt,
    whitening_padding: Literal["same", "valid"],
    norm_momentum: Rate,
) -> keras.Model:
    """A frozen whitening convolution, then groups of two convolutions initialized to the identity and a pooling.

    Takes uint8 images `(batch, height, width, channels)`; group n returns the feature map "Pn", of stride 2ⁿ and with
    `widths[n - 1]` channels. The published network has `whitening_padding: valid`, which costs each map a row and a
    column. Normalization and whitening are computed from `train_images` (n, height, width, channels).
    Raises `InputError` if the image is too small for the number of poolings.
    """
    from cifar.nn import layers

    margin = whitening_size - 1 if whitening_padding == "valid" else 0
    most = max(0, min(image_shape[:2]) - margin).bit_length() - 1
    if len(widths) > most:
        raise InputError(
            f"model.widths={widths}: should have at most {most} entries for images of {image_shape[0]}×{image_shape[1]}"
        )
    sample = train_images[:WHITENED_IMAGES].astype("float32")
    mean, variance = sample.mean((0, 1, 2)), np.maximum(sample.var((0, 1, 2)), 1.0)
    image = keras.Input(image_shape, dtype="uint8", name="image")
    normalization = keras.layers.Normalization(dtype="float32")
    x = normalization(image)
    normalization.adapt_mean.assign(mean)  # stored as weights, so that the model can be rebuilt without the images
    normalization.adapt_variance.assign(variance)
    normalization.finalize_state()
    filters = whitening_filters((sample - mean) / np.sqrt(variance), whitening_size)
    whitening = layers.Conv2D(filters.shape[-1], whitening_size, padding=whitening_padding, name="whitening")
    x = whitening(x)
    whitening.kernel.assign(filters)
    whitening.kernel.trainable = False
    x = layers.Activation("gelu")(x)
    features = {}
    for n, width in enumerate(widths, start=1):
        x = _convolution(x, width)
        x = layers.MaxPooling2D()(x)
        x = _normalized(x, norm_momentum)
        x = _convolution(x, width)
        x = _normalized(x, norm_momentum)
        features[f"P{n}"] = x
    return keras.Model(image, features, name="airbench")


def whitening_filters(images: np.ndarray, size: int, epsilon: float = 5e-4) -> np.ndarray:
    """Return filters that decorrelate patches of `images` (n, height, width, channels), and their negatives.

    Returns float32 (size, size, channels, 2·size²·channels): the eigenvectors of the patches' second moment, each
    divided by the root of its eigenvalue plus `epsilon`.
    """
    _, height, width, channels = images.shape
    height, width = height - size + 1, width - size + 1
    offsets = [(row, column) for row in range(size) for column in range(size)]
    patches = np.concatenate([images[:, y : y + height, x : x + width] for y, x in offsets], axis=-1)
    patches = patches.reshape(-1, size * size * channels)
    eigenvalues, eigenvectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = eigenvectors / np.sqrt(np.maximum(eigenvalues, 0) + epsilon)
    return np.concatenate([filters, -filters], axis=1).reshape(size, size, channels, -1).astype("float32")


def _convolution(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """3×3 convolution without bias; its first filters, one per input channel, are initialized to the identity."""
    from cifar.nn import layers

    convolution = layers.Conv2D(
        width,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
    )
    channels, x = x.shape[-1], convolution(x)
    kernel, passed = keras.ops.convert_to_numpy(convolution.kernel).copy(), np.arange(min(channels, width))
    kernel[..., passed] = 0
    kernel[1, 1, passed, passed] = 1
    convolution.kernel.assign(kernel)
    return x


def _normalized(x: keras.KerasTensor, momentum: float) -> keras.KerasTensor:
    from cifar.nn import layers

    x = layers.BatchNormalization(momentum=momentum, epsilon=1.1e-5, scale=False)(x)
    return layers.Activation("gelu")(x)
