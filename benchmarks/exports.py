"""Speed of each file of an export in its own runtime, without this project's code.

    python benchmarks/exports.py DIR/1 [--rounds 5]

Each file has its own process. A round predicts one image, 200 times, and batches of 128, ten times (TFLite files take
one image at a time); rounds alternate between files. Columns: milliseconds for one image (median, 99th percentile) and
images per second in batches, medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 128
KINDS = ("saved_model.pb", "model.onnx", "model.tflite", "model_int8.tflite", "model.keras")


def answering(path: Path) -> Callable[[np.ndarray], object]:
    """Return a function that predicts a batch of images with the file at `path`."""
    if path.suffix == ".pb":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path.parent))
        return lambda images: loaded.signatures["serving_default"](image=tf.constant(images))
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"image": images})
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        answer = Interpreter(str(path), num_threads=2).get_signature_runner()
        return lambda images: [answer(image=image[None]) for image in images]
    import keras

    return keras.saving.load_model(path).predict_on_batch


def serve(path: Path) -> None:
    """For each input line, print a line with the seconds of single images and of batches."""
    shape = json.loads((path.parent / "model.json").read_text())["input"]["shape"][1:]
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *shape), np.uint8)
    answer = answering(path)
    for _ in range(3):
        answer(images[:1]), answer(images)
    print("ready", flush=True)
    for _ in sys.stdin:
        taken = {"one": [seconds(answer, images[:1]) for _ in range(200)],
                 "batch": [seconds(answer, images) for _ in range(10)]}  # fmt: skip
        print(json.dumps(taken), flush=True)


def seconds(answer: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    start = time.perf_counter()
    answer(images)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.folder)
    processes, rounds = {}, {}
    for name in KINDS:
        command = [sys.executable, __file__, str(arguments.folder / name), "--serve"]
        processes[name] = subprocess.Popen(command, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL)  # fmt: skip
        processes[name].stdout.readline()
        rounds[name] = []
    for _ in range(arguments.rounds):
        for name, process in processes.items():
            process.stdin.write("\n")
            rounds[name].append(json.loads(process.stdout.readline()))
    print(f"{'':20}{'ms, one':>10}{'p99':>10}{'images/s':>12}")
    for name, process in processes.items():
        process.communicate()
        one = np.array([taken["one"] for taken in rounds[name]]) * 1000
        batch = np.median([np.median(taken["batch"]) for taken in rounds[name]])
        median, high = np.median(np.median(one, axis=1)), np.median(np.percentile(one, 99, axis=1))
        print(f"{name:20}{median:10.3f}{high:10.3f}{BATCH / batch:12,.0f}")
    return None


if __name__ == "__main__":
    main()
