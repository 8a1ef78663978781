"""Training speed of the recipe `experiment=speedrun94`, compared with its author's PyTorch script.

    python benchmarks/speedrun.py [--data PATH/cifar-10-batches-py] [--images 10000] [--rounds 7]

Measured in turns, like in `benchmarks/training.py`, with batches of 2,000 images.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from training import PEERS, VAL_SHARE, measure, spread, write_images

OURS, TORCH = "ours, mixed_bfloat16", "PyTorch, bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder cifar-10-batches-py; random images by default")
    parser.add_argument("--images", type=int, default=10_000, help="of an epoch, a tenth of them for validation")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no contender is left behind
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images.npz"
        write_images(options.data, images)
        ours = [
            "experiment=speedrun94", "epochs=1000000", "precision=mixed_bfloat16", f"data.path={images}",
            f"data.limit={options.images}", f"data.val_fraction={VAL_SHARE}", f"tracking.uri=sqlite:///{folder}/mlflow.db",
        ]  # fmt: skip
        seconds = measure(
            {
                OURS: [str(PEERS / "ours.py"), *ours],
                TORCH: [str(PEERS / "pytorch_airbench.py"), "--data", str(images), "--limit", str(options.images),
                        "--bfloat16"],
            },
            options.rounds, False, folder,
        )  # fmt: skip
    trained = options.images * (1 - VAL_SHARE)
    print(f"{'images/s':24}{'median':>9}{'least':>9}{'most':>9}   ours is × as fast")
    for name, times in seconds.items():
        print(f"{name:24}{spread(trained / times, ',.0f')}   {spread(times / seconds[OURS], '.2f')}")


if __name__ == "__main__":
    main()
