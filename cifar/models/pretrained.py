"""Backbones with pretrained weights: networks of `keras.applications`, and finished runs."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from cifar.config.builders import ModelSettings
from cifar.config.registry import MODELS
from cifar.config.schema import PositiveInt
from cifar.files.safe_io import refusing
from cifar.nn import graph
from cifar.runtime.errors import InputError, did_you_mean
from cifar.runtime.lazy import Lazy, keras, np
from cifar.runtime.quiet import silenced

applications = Lazy("keras.applications")

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue, as shares of 255."""
TIMEOUT = 30
"""Timeout of the server in seconds."""

Start = Callable[[str], Path]
"""Finds the weights of a finished run by its id. None instead: the weights are loaded later, by other code."""


@functools.cache
def networks() -> dict[str, str]:
    """Return the networks of the installed Keras with their modules in `keras.applications`; Keras is not imported."""
    keras_package = importlib.util.find_spec("keras")
    assert keras_package and keras_package.origin
    source = Path(keras_package.origin).parent / "applications" / "__init__.py"
    return {
        alias.name: node.module.rpartition(".")[2]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.name[0].isupper()
    }


def _is_network(name: str) -> str:
    if name not in networks():
        raise ValueError(f"be a network of keras.applications; {did_you_mean(name, networks())}")
    return name


def _is_source(weights: str) -> str:
    if weights not in ("imagenet", "none") and not weights.endswith(".h5"):
        raise ValueError("be imagenet, none, or the path of an .h5 file")
    return weights


def _is_amount(frozen: Any) -> str | int:
    amount = int(frozen) if isinstance(frozen, str) and frozen.isdecimal() else frozen
    if amount not in ("all", "none") and (not isinstance(amount, int) or isinstance(amount, bool) or amount < 0):
        raise ValueError("be all, none, or a number of layers")
    return amount


Network = Annotated[str, AfterValidator(_is_network)]
Weights = Annotated[str, AfterValidator(_is_source)]
Freeze = Annotated[Any, AfterValidator(_is_amount)]
"""Frozen layers: `all`, `none`, or a number of layers counted from the input."""


@MODELS.register
def pretrained(
    image_shape: tuple[int, int, int],
    start: Start | None,
    *,
    network: Network,
    weights: Weights,
    size: PositiveInt | None,
    freeze: Freeze,
) -> keras.Model:
    """A network of `keras.applications` without its classifier, with its preprocessing.

    Takes uint8 images `(batch, height, width, channels)` of 1 or 3 channels. Square ones are resized to `size` pixels
    unless it is None; "Pn" is the last map whose stride is nearest to 2ⁿ, relative to the resized image. `weights` are
    Keras's for ImageNet, a file that Keras saved for the network without its classifier, or none. Frozen batch
    normalization runs in inference mode. Raises `InputError` for images too small for the network, and if the weights
    are unavailable or do not fit.
    """
    height, width, channels = image_shape
    shape = (size or height, size or width, 3)
    if channels not in (1, 3):
        raise InputError(f"model.network={network}: takes images of 1 or 3 channels, not {channels}")
    if size and height != width:
        raise InputError(f"model.size={size}: images of {height}×{width} are not square; accepted: null")
    image = keras.Input(image_shape, dtype="uint8", name="image")
    x = keras.ops.cast(image, "float32")
    if shape[:2] != image_shape[:2]:
        # Not the layer `Resizing`: after it, batch normalization trains when a model is called without `training`.
        x = keras.ops.image.resize(x, shape[:2])
    if channels == 1:
        x = keras.ops.repeat(x, 3, axis=-1)
    module = getattr(applications, networks()[network])
    x = module.preprocess_input(x)
    if networks()[network] == "efficientnet":
        # Keras keeps these in a layer whose weights have an effect only when they are loaded from a file.
        scale = [1 / deviation for deviation in IMAGENET_DEVIATION]
        offset = [-255 * mean * one for mean, one in zip(IMAGENET_MEAN, scale, strict=True)]
        x = keras.layers.Rescaling(scale, offset, dtype="float32")(x)
    with _too_small(network, shape):
        built = _build(network, shape, input_tensor=x)
    if start and weights != "none":
        _copy(_with_weights(network, shape, weights), built)
    backbone = keras.Model(image, _pyramid(built, shape[0]), name=network.lower())
    _freeze(backbone, freeze)
    return backbone


@MODELS.register
def from_run(
    image_shape: tuple[int, int, int],
    train_images: np.ndarray,
    start: Start | None,
    *,
    run: str,
    model: Annotated[ModelSettings | None, MODELS],
    freeze: Freeze,
) -> keras.Model:
    """The backbone of a finished run with its weights; `model` has the settings of the run's model.

    Raises `InputError` if the weights do not fit, for example a position embedding for another image size.
    """
    assert model  # read from the run
    backbone = model.build(image_shape=image_shape, train_images=train_images, start=None)
    if start:
        weights = start(run)
        deepest = graph.deepest(backbone.output)
        shape = "×".join(map(str, image_shape))
        accepted = f"weights of {model.name} for images of {shape}"
        with refusing(f"model.run={run}: {weights.name}", accepted), silenced(2):
            # The file has the backbone's layers first, in the order of the path to the map that the head uses.
            keras.Model(backbone.input, backbone.output[deepest]).load_weights(weights)
    _freeze(backbone, freeze)
    return backbone


def _build(network: str, shape: tuple[int, int, int], **more: Any) -> keras.Model:
    with silenced(2):  # Keras warns of image sizes other than ImageNet's
        return getattr(applications, network)(**{"include_top": False, "weights": None, "input_shape": shape} | more)


@contextmanager
def _too_small(network: str, shape: tuple[int, int, int]) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        least = re.search(r"at least (\d+)", str(error))
        accepted = f"takes {least[1]}×{least[1]} pixels or more" if least else "cannot take them"
        raise InputError(f"model.size: images of {shape[0]}×{shape[1]}: {network} {accepted}; set model.size") from None


def _with_weights(network: str, shape: tuple[int, int, int], weights: str) -> keras.Model:
    """Build the network alone, with weights from a file or of ImageNet."""
    if weights != "imagenet":
        path = Path(weights).expanduser()
        with refusing(path, f"weights of {network} without its classifier, as Keras saves them"), silenced(2):
            model = _build(network, shape)
            model.load_weights(path)
            return model
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        return _build(network, shape, weights="imagenet")
    except Exception as error:  # Keras raises no more specific type if a download fails
        reason = " ".join(str(error).split())
        url = re.search(r"https?://\S+(?=: )", reason)
        if not url:
            raise InputError(f"model.weights=imagenet: {network}: {reason[:200]}") from None
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        place = home / "models" / url[0].rpartition("/")[2]
        raise InputError(f"model.weights=imagenet: {url[0]} cannot be downloaded; put that file at {place}") from None
    finally:
        socket.setdefaulttimeout(before)


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of the network alone to `target`; see `pretrained` for those of a `Normalization`."""

    def layers_of(model: keras.Model) -> list[keras.Layer]:
        return [x for x in model.layers if x.weights and not isinstance(x, keras.layers.Normalization)]

    for source_layer, target_layer in zip(layers_of(source), layers_of(target), strict=True):
        target_layer.set_weights(source_layer.get_weights())


def _pyramid(network: keras.Model, size: int) -> dict[str, keras.KerasTensor]:
    """Return the last map of each stride, rounded to a power of two, of a network for images of `size` pixels."""
    maps, least = {}, network.output.shape[1]
    margins = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D)
    for layer in network.layers:
        # Smaller outputs than the last map are the channel weights of squeeze-and-excitation.
        if len(layer.output.shape) == 4 and layer.output.shape[1] >= least and not isinstance(layer, margins):
            maps[round(np.log2(size / layer.output.shape[1]))] = layer.output
    return {f"P{level}": maps[level] for level in sorted(maps) if level > 0}


def _freeze(backbone: keras.Model, amount: str | int) -> None:
    count = len(backbone.layers)
    if isinstance(amount, int) and amount > count:
        raise InputError(f"model.freeze={amount}: {backbone.name} has {count} layers")
    frozen = amount if isinstance(amount, int) else {"all": count, "none": 0}[amount]
    for layer in backbone.layers[:frozen]:
        layer.trainable = False
