"""The state of a training on disk.

A state is one `.npz` and a manifest with its SHA-256, which is written last; both are written atomically. The last two
states are kept, so that a damaged one falls back to the one before.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cifar.files import atomic
from cifar.runtime.errors import TrainingError, warn

KEPT = 2
NAME = re.compile(r"\d{6,}-\d{8}")
"""The stem of both files of a state: its epoch and step."""


@dataclass
class State:
    """A checkpoint that continues at step `step` of epoch `epoch`, both from 0.

    `arrays` is by name; `values` is what JSON can hold.
    """

    epoch: int = 0
    step: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def save(state: State, folder: Path) -> None:
    """Write `state` to `folder` and drop all but the last two; raises `TrainingError` where the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    content = pack(state)
    manifest = {"epoch": state.epoch, "step": state.step, "sha256": hashlib.sha256(content).hexdigest()}
    path = folder / f"{state.epoch:06}-{state.step:08}.npz"
    _write(path, content)
    _write(path.with_suffix(".json"), json.dumps(manifest).encode())
    kept = [manifest.stem for manifest in _manifests(folder)[-KEPT:]]
    for old in folder.iterdir():
        if NAME.fullmatch(old.stem) and old.suffix in (".json", ".npz") and old.stem not in kept:
            old.unlink()


def load(folder: Path) -> State:
    """The newest state in `folder` that is whole, the very beginning where there is none.

    A state that is damaged is passed over with one warning.
    """
    damaged = []
    for manifest in reversed(_manifests(folder)):
        try:
            content = manifest.with_suffix(".npz").read_bytes()
            if hashlib.sha256(content).hexdigest() != json.loads(manifest.read_bytes())["sha256"]:
                raise ValueError("its SHA-256 is not that of the manifest")
            state = unpack(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            damaged.append(f"{manifest.with_suffix('.npz').name}: {error}")
            continue
        break
    else:
        state = State()
    if damaged:
        place = f"epoch {state.epoch + 1}, step {state.step + 1}"
        warn(f"damaged state in {folder} ({'; '.join(damaged)}); going on from {place}")
    return state


def pack(state: State) -> bytes:
    """`state` as the bytes of an `.npz`."""
    header = json.dumps({"epoch": state.epoch, "step": state.step, "values": state.values}).encode()
    buffer = io.BytesIO()
    arrays: Any = {f"array/{name}": array for name, array in state.arrays.items()}
    np.savez(buffer, header=np.frombuffer(header, np.uint8), **arrays)
    return buffer.getvalue()


def unpack(content: bytes) -> State:
    """The state that `pack` has made `content` of; raises `ValueError` or `KeyError` for anything else."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
        arrays = {name.removeprefix("array/"): stored[name] for name in stored.files if name != "header"}
    return State(header["epoch"], header["step"], arrays, header["values"])


def _manifests(folder: Path) -> list[Path]:
    """Those of the states in `folder`, the oldest first; other files are left alone."""
    return sorted(path for path in folder.glob("*.json") if NAME.fullmatch(path.stem))


def _write(path: Path, content: bytes) -> None:
    try:
        atomic.write(path, content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(
            f"{path}: the disk is full, {len(content):,} bytes are wanted; the earlier states are kept"
        ) from None
