"""The machine: processor, cores, GPUs."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Collection
from pathlib import Path

M_ARENA_MAX = -8
"""The number of an option in glibc's `malloc.h`."""


def has_fast_bfloat16() -> bool:
    """True if this processor trains faster in bfloat16: one with AMX, or AMD's with AVX512-BF16.

    Against float32, `cnn3` takes 0.77 of the time on AMD's Zen 5, and 1.35 on Intel's Emerald Rapids without AMX.
    """
    found = {key.strip(): set(value.split()) for key, _, value in (line.partition(":") for line in _cpuinfo())}
    flags = found.get("flags", set())
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in found.get("vendor_id", set()))


def cores() -> set[int]:
    """The processor's cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def keep_to(process: int, cores: Collection[int]) -> None:
    """Let a process that has just begun use these `cores` alone, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process, cores)


def limit_arenas(count: int) -> None:
    """Let all threads of this process share so many arenas of glibc's `malloc`, where it is the C library.

    By default there are eight for each core, and what is freed in one of them is of no use to the threads of others.
    """
    import ctypes

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, count)


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def gpu_models() -> list[str]:
    """The models of this machine's NVIDIA GPUs; none if this process may not use any."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")) if gpus() else []
    lines = [line for path in files for line in path.read_text().splitlines() if line.startswith("Model:")]
    return [line.partition(":")[2].strip() for line in lines]


def _processor() -> str:
    models = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
