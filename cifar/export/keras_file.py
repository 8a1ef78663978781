"""Keras's own file. It names layers of Keras alone, so that `keras.saving.load_model` takes it in its safe mode."""

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
