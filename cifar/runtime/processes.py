"""Processes of this machine, as records name them."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from cifar.runtime.lazy import Lazy

metadata = Lazy("importlib.metadata")


def process(pid: int) -> str:
    """Host, process id and start time: what `is_gone` knows a process of this machine by."""
    return f"{platform.node()} {pid} {_start_time(pid)}"


def this_process() -> str:
    """This process, as `is_gone` knows it."""
    return process(os.getpid())


def is_gone(process: str) -> bool:
    """True if the process that `process` describes ran on this machine and has ended."""
    host, _, rest = process.partition(" ")
    pid, _, start = rest.partition(" ")
    return host == platform.node() and pid.isdigit() and _start_time(int(pid)) != start


def _start_time(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is none (or, without /proc, "?")."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        return "?"
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
