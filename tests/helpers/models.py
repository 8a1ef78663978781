"""A small version of each model."""

from __future__ import annotations

import functools

import keras
import numpy as np

from cifar.config.builders import ModelSettings
from cifar.config.compose import resolve
from helpers.runs import composed

SMALL = {
    "airbench": ["model.widths=[8,12]"],
    "all_conv": ["model.filters=8", "model.input_dropout=0", "model.dropout=0"],
    "cct": ["model.embed_dim=16", "model.mlp_dim=16"],
    "cnn": ["model.blocks=[{filters:8,pool:max},{filters:8,repeat:2,normalization:none,activation:gelu,pool:average}]"],
    "cnn3": ["model.filters=[8,8]", "model.dropout=0", "model.classifier.units=[]"],
    "convmixer": ["model.width=16", "model.depth=2"],
    "from_run": ["model.run=abc", "model.freeze=none",
                 "model.model={name:cnn3,filters:[8,8],kernel_size:3,dropout:0.0}",
                 "model.classifier={pooling:flatten,units:[],dropout:0.0}"],
    "mobilenet": ["model.width=0.125"],
    "preact_resnet": ["model.depth=8", "model.filters=[8,8,16]", "model.attention=se", "model.stochastic_depth=0.1"],
    "pretrained": ["model.network=MobileNet", "model.weights=none", "model.size=32", "model.freeze=none",
                   "model.classifier.dropout=0"],
    "resnet": ["model.depth=8", "model.filters=[8,12,16]", "model.attention=cbam", "model.stochastic_depth=0.1"],
    "vgg": ["model.depth=11", "model.filters=[8,8,16,16,16]", "model.classifier.units=[]"],
    "wide_resnet": ["model.depth=10", "model.width=1", "model.dropout=0.1"],
}  # fmt: skip
"""What makes a model cheap and, for the most part, without dropout."""


@functools.cache
def model_settings(*overrides: str) -> ModelSettings:
    """The composed settings of a model."""
    return resolve(composed("data=digits", *overrides)).model


def backbone(*overrides: str, shape: tuple[int, int, int] = (16, 16, 1)) -> keras.Model:
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), dtype="uint8")
    return model_settings(*overrides).build(image_shape=shape, train_images=images, start=None)


def small(name: str) -> list[str]:
    """The overrides that choose a small model of this name."""
    return [f"model={name}", *SMALL.get(name, [])]
