"""Baselines of detection: the objects of scenes as image files for classification, and constant predictions.

    python benchmarks/cutouts.py DIR [OVERRIDES…]

The scenes are those of `data=scenes OVERRIDES…` with seed 0. Each of their boxes is written to DIR, resized to 32×32,
as train/CLASS/*.png and test/CLASS/*.png, for `data=folder data.path=DIR data.size=32`. Prints the metrics of
predicting the mean box with the most frequent class on the test scenes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

ROOT = Path(__file__).parents[1]
SIZE = (32, 32)

sys.path.insert(0, str(ROOT))
from cifar.config.registry import DATASETS  # noqa: E402
from cifar.metrics import detection  # noqa: E402


def write(split, class_names, folder: Path) -> None:
    for name in class_names:
        (folder / name).mkdir(parents=True)
    for image, place in np.argwhere(split.targets["classes"] >= 0):
        left, top, right, bottom = split.targets["boxes"][image, place].astype(int)
        cut = Image.fromarray(split.images[image, top:bottom, left:right]).resize(SIZE, Image.Resampling.BILINEAR)
        cut.save(folder / class_names[split.targets["classes"][image, place]] / f"{image:05}_{place}.png")


def main(folder: str, *overrides: str) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = OmegaConf.to_container(compose("config", ["data=scenes", *overrides]).data, resolve=True)
    data = DATASETS.build(settings, seed=0)
    for part, split in (("train", data.train), ("test", data.test)):
        write(split, data.class_names, Path(folder) / part)
    there = data.train.targets["classes"] >= 0
    box = data.train.targets["boxes"][there].mean(axis=0)
    frequent = np.bincount(data.train.targets["classes"][there]).argmax()
    guesses = {"boxes": np.tile(box, (len(data.test), 1, 1)), "classes": np.full((len(data.test), 1), frequent),
               "scores": np.ones((len(data.test), 1))}  # fmt: skip
    metrics = detection.evaluate(detection.results(guesses), detection.truth(data.test, data.class_names)).metrics
    print(
        f"mean box {np.round(box, 1)}, class {data.class_names[frequent]}: map50 {metrics['map50']:.4f}, "
        f"map {metrics['map']:.4f}"
    )
    if data.test.targets["classes"].shape[1] == 1:
        true = data.test.targets["boxes"][:, 0]
        ious = detection.pairwise_iou(true, np.array(box)[None], False)
        right = (data.test.targets["classes"] == frequent).mean()
        print(f"of one object: mean IoU {ious.mean():.4f}, accuracy {right:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
