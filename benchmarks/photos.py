"""Time and memory until photos are ready for a training, compared with plain scripts of Keras and torchvision.

    python benchmarks/photos.py make DIR [--large 500] [--small 20000]
    python benchmarks/photos.py time DIR/large [--size 224] [--rounds 3] [--contenders first,second,keras,torchvision]
                                     [--torch PYTHON] [--earlier FOLDER]
    python benchmarks/photos.py sweep DIR/small [--size 224]
    python benchmarks/photos.py limit DIR/small --size 320 [--gigabytes 2]

`time`: each contender is a process of its own; a round gives each one turn in random order. `first` decodes the photos,
`second` finds them decoded; both then read all of them once in the order of an epoch. The others decode in each epoch,
which is what they are measured for. `earlier` is this project's commit dd9afeb in FOLDER, which decodes into memory.
Measured are wall and CPU seconds (user and system), and PSS: a page that n processes share counts 1/n for each.
`--torch` names an interpreter that has torch and torchvision.

`sweep` runs 4 jobs, two at a time, on photos that are decoded. `limit` trains some steps with the photos mapped, in a
process that may have so many gigabytes of anonymous memory (RLIMIT_DATA), and with them in memory, without a limit.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
CLASSES = 4
BATCH = 128
SCENES = 8
KINDS = {"large": (3000, 4000), "small": (192, 256)}
"""(height, width) of the photos."""

OURS = """
from cifar.config.compose import resolve
from hydra import compose, initialize_config_dir
from cifar.augmentation import Augmentation
from cifar.training import experiment, pipeline
from types import SimpleNamespace
with initialize_config_dir({conf!r}, version_base="1.3"):
    settings = resolve(compose("config", ["data=folder", "data.path={path}", "data.size={size}"]))
dataset = experiment.load(settings)
dataset.fingerprint
stop("ready")
task = SimpleNamespace(targets=("label",), encode=lambda targets: targets["label"])
common = {{"seed": 0, "batch_size": {batch}, "epochs": 1}}
for split in (dataset.train, dataset.test):
    for images, labels in pipeline.training_batches(split, task, Augmentation({{}}), **common):
        images.numpy().sum()
stop("epoch")
"""
EARLIER = """
import sys
sys.path.insert(0, {earlier!r})
from cifar.registry import DATASETS
settings = {{"name": "folder", "path": {path!r}, "size": {size}, "val_fraction": 0.1, "limit": None}}
dataset = DATASETS.build(settings, seed=0)
dataset.fingerprint
stop("ready")
for split in (dataset.train, dataset.test):
    for first in range(0, len(split.images), {batch}):
        split.images[first : first + {batch}].sum()
stop("epoch")
"""
KERAS = """
import keras
stop("ready")
for part in ("train", "test"):
    for images, labels in keras.utils.image_dataset_from_directory(
        {path!r} + "/" + part, image_size=({size}, {size}), batch_size={batch}, crop_to_aspect_ratio=True, seed=0
    ):
        images.numpy().sum()
stop("epoch")
"""
TORCHVISION = """
import torch, torchvision
from torchvision import transforms
prepared = transforms.Compose([transforms.Resize({size}), transforms.CenterCrop({size}), transforms.ToTensor()])
stop("ready")
for part in ("train", "test"):
    data = torchvision.datasets.ImageFolder({path!r} + "/" + part, prepared)
    for images, labels in torch.utils.data.DataLoader(data, {batch}, shuffle=True, num_workers={cores}):
        images.sum()
stop("epoch")
"""
STEPS = """
if {limit}:
    resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit}))
import numpy as np
from dataclasses import replace
from cifar.config.compose import resolve
from hydra import compose, initialize_config_dir
from cifar.files.rows import ImageRows
from cifar.interfaces import Split, aligned_empty
from cifar.runtime.lazy import load_tensorflow
from cifar.training import experiment, trainer
with initialize_config_dir({conf!r}, version_base="1.3"):
    settings = resolve(compose("config", [
        "data=folder", "data.path={path}", "data.size={size}", "augmentation=none", "batch_size=64",
        "model.filters=[4]", "model.classifier.units=[]", "model.classifier.pooling=average", "epochs=1",
    ]))
dataset = experiment.load(settings)
base = dataset.train.images.base
print(f"{{base.nbytes / 1e9:.2f}} GB of {{len(base):,}} images, held={held}, limit={limit}")
stop("ready")
if {held}:
    array = aligned_empty(base.size).reshape(base.shape)
    for first in range(0, len(base), 1000):
        array[first : first + 1000] = base[first : first + 1000]
    train = dataset.train
    dataset = replace(dataset, train=replace(train, images=ImageRows(array, train.images.rows)))
load_tensorflow("tensorflow")
prepared = experiment.Experiment.prepare(settings, dataset)
model = prepared.compiled_model()
batches = prepared.training_batches(0, 0, 1)
model.fit(batches.take(5), epochs=1, verbose=0)
stop("warm")
model.fit(batches.skip(5).take(40), epochs=1, verbose=0)
stop("40 steps of 64")
print("weights", trainer.weights_sha256(model))
"""
CONTENDERS = {"first": OURS, "second": OURS, "earlier": EARLIER, "keras": KERAS, "torchvision": TORCHVISION}
MEASURED = """
import json, os, resource, time
def cpu():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def stop(name):
    memory = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    found = {key: int(memory[key].split()[0]) / 1024 for key in ("Rss", "Pss", "Pss_Anon")}
    print(json.dumps({"name": name, "seconds": time.monotonic() - began, "cpu": cpu(), **found}), flush=True)
began = time.monotonic()
"""


def make(folder: Path, counts: dict[str, int]) -> None:
    """Write photos with structure, as JPEG of quality 90: a fifth of them for the test."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for kind, count in counts.items():
            list(pool.map(_photo, [folder / kind] * count, [kind] * count, range(count), chunksize=16))


@functools.cache
def _scene(kind: str, number: int) -> np.ndarray:
    """Two scales of smooth noise, and fine noise as of a sensor."""
    from PIL import Image

    draw, (height, width) = np.random.default_rng(number), KINDS[kind]
    coarse, fine = (
        Image.fromarray(draw.integers(0, 256, (n, n, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        for n in (6, 48)
    )
    grain = np.tile(draw.integers(-12, 13, (height // 4, width // 4, 3)), (4, 4, 1))
    return (np.asarray(Image.blend(coarse, fine, 0.35)) + grain).clip(0, 255).astype(np.uint8)


def _photo(folder: Path, kind: str, number: int) -> None:
    """Write a part of a scene: each photo is another."""
    from PIL import Image

    scene, label = _scene(kind, number % SCENES), number % CLASSES
    part = "test" if number // CLASSES % 5 == 4 else "train"
    pixels = np.roll(scene, (number * 7 % scene.shape[0], number * 13 % scene.shape[1]), (0, 1))
    y, x = len(pixels) // 2, pixels.shape[1] // 2
    # No photo is a copy, of its center neither, to which others are cut.
    pixels[y : y + 16, x : x + 16] = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
    pixels[: len(pixels) // 3, : pixels.shape[1] // CLASSES * (label + 1)] //= 2
    file = folder / part / f"class{label}" / f"{number:05}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, quality=90)


def compare(arguments: argparse.Namespace) -> None:
    """Print the time and memory of each contender until its data are ready, and of an epoch."""
    path, photos = arguments.path.resolve(), len([*arguments.path.rglob("*.jpg")])
    names = arguments.contenders.split(",")
    values = {"conf": str(ROOT / "conf"), "path": str(path), "size": arguments.size, "batch": BATCH,
              "earlier": str(arguments.earlier), "cores": len(os.sched_getaffinity(0))}  # fmt: skip
    found: dict[str, list[list[dict]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as kept:
        if "second" in names:
            _turn("second", values, arguments, Path(kept))
        for _ in range(arguments.rounds):
            for name in random.sample(names, len(names)):
                with tempfile.TemporaryDirectory() as empty:
                    found[name].append(_turn(name, values, arguments, Path(kept if name == "second" else empty)))
    print(f"{photos:,} photos, size {arguments.size}; medians of {arguments.rounds} (least to most)")
    for name, turns in found.items():
        for number, stage in enumerate(("ready", "epoch")):
            parts = [_columns([turn[number] for turn in turns])]
            if number:
                rates = sorted(photos / (turn[1]["cpu"] - turn[0]["cpu"]) for turn in turns)
                parts.append(f"photos of an epoch per CPU second {np.median(rates):,.0f}")
            print(f"{name:12} {stage:6} {'; '.join(parts)}")


def _turn(name: str, values: dict, arguments: argparse.Namespace, cache: Path) -> list[dict]:
    python = arguments.torch if name == "torchvision" else sys.executable
    home = arguments.earlier if name == "earlier" else ROOT
    variables = {**os.environ, "XDG_CACHE_HOME": str(cache), "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(home)}
    done = subprocess.run([python, "-c", MEASURED + CONTENDERS[name].format(**values)], cwd=home, env=variables,
                          stdout=subprocess.PIPE, text=True, check=True)  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _columns(stages: list[dict]) -> str:
    texts = []
    for key, unit in (
        ("seconds", "s"),
        ("cpu", "CPU s"),
        ("Rss", "MiB RSS"),
        ("Pss", "MiB PSS"),
        ("Pss_Anon", "MiB anon"),
    ):
        own = [stage[key] for stage in stages]
        texts.append(f"{np.median(own):,.1f} ({min(own):,.1f} to {max(own):,.1f}) {unit}")
    return ", ".join(texts)


def training(arguments: argparse.Namespace, *settings: str) -> list[str]:
    """The command of a small training on the photos."""
    return [sys.executable, str(ROOT / "run.py"), "data=folder", f"data.path={arguments.path.resolve()}",
            f"data.size={arguments.size}", "epochs=1", "callbacks=[checkpoint]", "augmentation=none",
            "model.filters=[4]", "model.classifier.units=[]", "model.classifier.pooling=average",
            *settings]  # fmt: skip


def sweep(arguments: argparse.Namespace) -> None:
    """Print the memory of the jobs of a sweep, and the seconds that each takes until its first step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        command = training(arguments, store, "evaluate.test=false")
        subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, check=True)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("images.npy")}
        began = time.monotonic()
        process = subprocess.Popen([*command, "--multirun", "seed=1,2,3,4", "hydra.launcher.n_jobs=2"], cwd=folder,
                                   env=variables, stdout=subprocess.DEVNULL)  # fmt: skip
        most: dict[int, dict[str, float]] = {}
        together = 0.0
        while process.poll() is None:
            now = {pid: memory for pid in _descendants(process.pid) if (memory := _memory(pid))}
            for pid, memory in now.items():
                most[pid] = max(most.get(pid, memory), memory, key=lambda one: one["Pss"])
            together = max(together, sum(memory["Pss"] for memory in now.values()))
            time.sleep(0.2)
        assert process.returncode == 0
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("images.npy")} == before, "decoded again"
        print(
            f"4 jobs in 2 slots: {time.monotonic() - began:.1f} s, nothing decoded; "
            f"all processes {together:,.0f} MiB PSS"
        )
        for memory in sorted(most.values(), key=lambda one: -one["Pss"])[:4]:
            print("a job at its most: " + ", ".join(f"{value:,.0f} MiB {key}" for key, value in memory.items()))


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _descendants(int(child))


def _memory(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return {}
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {name: sizes[name] for name in ("Rss", "Pss", "Pss_Anon", "Pss_File")}


def limit(arguments: argparse.Namespace) -> None:
    """Print CPU time and weights of some steps with the photos mapped, under a limit, and with them in memory."""
    bound = int(arguments.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(dir=arguments.path.parent) as cache:
        variables = {**os.environ, "XDG_CACHE_HOME": cache, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)}
        values = {"conf": str(ROOT / "conf"), "path": str(arguments.path.resolve()), "size": arguments.size}
        for held in (False, True):
            script = MEASURED + STEPS.format(**values, limit=None if held else bound, held=held)
            subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=variables, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "time", "sweep", "limit"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--large", type=int, default=500)
    parser.add_argument("--small", type=int, default=20000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", default="first,second,keras")
    parser.add_argument("--torch", default=sys.executable)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2)
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.path, {"large": arguments.large, "small": arguments.small})
    else:
        {"time": compare, "sweep": sweep, "limit": limit}[arguments.what](arguments)


if __name__ == "__main__":
    main()
