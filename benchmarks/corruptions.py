"""Cost of the common corruptions: processor time of each kind, mean over the severities.

    python benchmarks/corruptions.py --data DIR/cifar-10-batches-py [--images 1000]

The images are the first test images, in batches of 128 as in `python -m cifar evaluate RUN --corruptions`. The
last line is what all 75 variants of 10,000 images take.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cifar.data.cifar import cifar10_test  # noqa: E402
from cifar.data.corruptions import KINDS, SEVERITIES, corrupt  # noqa: E402

BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    images = cifar10_test(arguments.data).images[: arguments.images]
    for kind in KINDS:  # matrices and modules are made at the first use
        corrupt(images[:1], kind, SEVERITIES)
    total = 0.0
    for kind in KINDS:
        start = time.process_time()
        for severity in range(1, SEVERITIES + 1):
            for first in range(0, len(images), BATCH):
                corrupt(images[first : first + BATCH], kind, severity, first)
        spent = time.process_time() - start
        total += spent
        print(f"{kind:<18} {1e6 * spent / SEVERITIES / len(images):6.0f} µs an image")
    print(f"all, 10,000 images {total * 10_000 / len(images):6.0f} s")


if __name__ == "__main__":
    main()
