"""The state of a training on disk: whole or not there.

A state is one `.npz` and a manifest with its SHA-256, which is written last; either is written under another name,
flushed to the disk and renamed. The last two states are kept, so that a damaged one falls back to the one before.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cifar.errors import TrainingError, warn

KEPT = 2


@dataclass
class State:
    """What is next, step `step` of epoch `epoch`, both from 0, and all that decides how it goes on.

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
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".npz").unlink(missing_ok=True)


def load(folder: Path) -> State:
    """The newest state in `folder` that is whole, the very beginning where there is none.

    A state that is damaged is passed over with one warning.
    """
    damaged = []
    for manifest in sorted(folder.glob("*.json"), reverse=True):
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
    np.savez(buffer, header=np.frombuffer(header, np.uint8), **{f"array/{k}": v for k, v in state.arrays.items()})
    return buffer.getvalue()


def unpack(content: bytes) -> State:
    """The state that `pack` has made `content` of; raises `ValueError` or `KeyError` for anything else."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
        arrays = {name.removeprefix("array/"): stored[name] for name in stored.files if name != "header"}
    return State(header["epoch"], header["step"], arrays, header["values"])


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(f"{path}: the disk is full, {len(content):,} bytes are wanted; the earlier states are "
                            "kept") from None
