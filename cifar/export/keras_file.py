"""The format `.keras`, with layers and operations of Keras alone, for `keras.saving.load_model` in safe mode."""

from __future__ import annotations

from pathlib import Path

import keras

from cifar.export.source import Source, Written

NAME = "model.keras"


def write(source: Source, folder: Path) -> list[Written]:
    model = source.named if source.is_decoded else source.model
    model.save(folder / NAME)
    loaded = keras.saving.load_model(folder / NAME)

    def predict(images):
        outputs = loaded.predict(images, verbose=0)
        return outputs if source.is_decoded else dict.fromkeys(source.named.output, outputs)

    return [Written("keras", [NAME], predict, tolerance=1e-5)]
