"""Code shared by all contenders: the same images, and turns in which only one process trains."""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

import numpy as np

BATCH, EVALUATION_BATCH = 128, 256
VAL_FRACTION = 0.1

_began: float | None = None


def turn(*_) -> None:
    """Report the duration of the last epoch and stop this process until its next turn; called before each epoch."""
    global _began
    if "TURNS" not in os.environ:  # run by hand: no turns
        return
    if _began is not None:
        os.write(int(os.environ["TURNS"]), f"{time.perf_counter() - _began}\n".encode())
    os.kill(0, signal.SIGSTOP)  # with its threads and child processes
    _began = time.perf_counter()


def parser() -> argparse.ArgumentParser:
    """Parse the command line of a script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help=".npz of x_train, y_train, x_test, y_test")
    parser.add_argument("--limit", type=int, help="so many images, validation included; all by default")
    parser.add_argument("--epochs", type=int, default=10**6)
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision")
    return parser


def torch_parser(batch: int) -> argparse.ArgumentParser:
    """Parse the command line of a PyTorch script, with its default `batch`."""
    own = parser()
    own.add_argument("--batch", type=int, default=batch)
    own.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    own.add_argument("--compile", action="store_true", help="by torch.compile")
    return own


def report_memory(device: str) -> None:
    """Print PyTorch's peak memory on a GPU."""
    if device == "cuda":
        import torch

        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def read(path: Path, limit: int | None) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (images, labels) for training and for validation: uint8 (n, 32, 32, 3) and int64 (n,)."""
    with np.load(path) as stored:
        images, labels = stored["x_train"][:limit], stored["y_train"][:limit]
    cut = len(images) - round(len(images) * VAL_FRACTION)
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])
