"""Write CIFAR-10 as image files in two halves by class: DIR/first with 25,000 training images, DIR/second with 1,000.

python benchmarks/halves.py DATA DIR
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from cifar.config.registry import DATASETS

data = DATASETS.build({"name": "cifar10", "path": sys.argv[1], "val_fraction": 0.1, "limit": None}, seed=0)
images = np.concatenate([data.train.images, data.val.images])
labels = np.concatenate([data.train.targets["label"], data.val.targets["label"]])
test = data.test.images, data.test.targets["label"]
for half, classes, count in (("first", range(5), 5000), ("second", range(5, 10), 200)):
    for part, (x, y), most in (("train", (images, labels), count), ("test", test, 1000)):
        for label in classes:
            folder = Path(sys.argv[2]) / half / part / data.class_names[label]
            folder.mkdir(parents=True)
            for number, row in enumerate(np.flatnonzero(y == label)[:most]):
                Image.fromarray(x[row]).save(folder / f"{number:04}.png")
