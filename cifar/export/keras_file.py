"""The format `.keras`, with layers of Keras only, so that `keras.saving.load_model` can load it in safe mode."""

from __future__ import annotations

from pathlib import Path

import keras

from cifar.export.source import Source, Written

NAME = "model.keras"


def write(source: Source, folder: Path) -> list[Written]:
    source.model.save(folder / NAME)
    loaded = keras.saving.load_model(folder / NAME)

    def predict(images):
        return source.by_name(loaded.predict(images, verbose=0))

    return [Written("keras", [NAME], predict, tolerance=1e-5)]
