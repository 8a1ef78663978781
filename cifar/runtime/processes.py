"""Processes of this machine, as records name them."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

FORKED = "CIFAR_FORKED"
"""The variable of a process that has begun as a fork of one which had loaded TensorFlow."""


def process(pid: int) -> str:
    """Host, process id and start time: what `is_gone` knows a process of this machine by."""
    return f"{platform.node()} {pid} {_start_time(pid)}"


def this_process() -> str:
    """This process, as `is_gone` knows it."""
    return process(os.getpid())


def is_here(process: str) -> bool:
    """True if the process that `process` describes is of this machine."""
    return process.partition(" ")[0] == platform.node()


def is_gone(process: str) -> bool:
    """True if the process that `process` describes ran on this machine and has ended."""
    pid, _, start = process.partition(" ")[2].partition(" ")
    return is_here(process) and pid.isdigit() and not (start and _start_time(int(pid)) == start)


def start_unforked() -> None:
    """Execute the command of this process in its place, where it is a fork whose libraries do not suit; else nothing.

    `FORKED` is in the environment of such a process.
    """
    if os.environ.pop(FORKED, None):
        sys.stdout.flush()
        os.execv(sys.orig_argv[0], sys.orig_argv)


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
