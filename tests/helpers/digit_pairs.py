"""Photos of two of scikit-learn's digits side by side, with a table of both labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_pairs(folder: Path, count: int) -> Path:
    """Write `count` photos of 16×16 pixels, and `labels.csv` with labels such as `3;7`; return the folder."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    drawn = np.random.default_rng(0).integers(0, len(labels), (count, 2))
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "labels"])
        for number, pair in enumerate(drawn):
            canvas = np.zeros((16, 16), np.uint8)
            canvas[4:12] = np.concatenate([pixels[k] for k in pair], axis=1)
            name = f"photos/{number:04}.png"
            (folder / "photos").mkdir(exist_ok=True)
            Image.fromarray(canvas).save(folder / name)
            table.writerow([name, ";".join(map(str, sorted(set(labels[pair]))))])
    return folder
