"""Where a run happened: code, versions, machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar.lazy import Lazy

metadata = Lazy("importlib.metadata")

ROOT = Path(__file__).resolve().parent.parent
"""The folder of `run.py`, where `mlflow.db` and `mlruns/` are."""
CODE = ("run.py", "cifar", "conf", "hydra_plugins")
"""The files and folders that decide a run; a new file elsewhere does not."""


@dataclass(frozen=True)
class Code:
    """The commit that is checked out, `None` outside a repository, and what the files differ from it in.

    `diff` is for `git apply`: of the files that git knows, and of new ones among `CODE`. It is empty if none differs.
    """

    commit: str | None
    diff: str

    @property
    def changes(self) -> str:
        """SHA-256, in hexadecimal, of `diff`; empty without one."""
        return hashlib.sha256(self.diff.encode()).hexdigest() if self.diff else ""


def describe() -> dict[str, Any]:
    """Versions, processor, cores and memory."""
    names = ("tensorflow", "jax", "keras", "numpy", "mlflow", "hydra-core", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "system": platform.platform(),
        "host": platform.node(),
        "cpu": _processor(),
        "cores": len(cores()),
    }


def version(library: str) -> str:
    """The version of a library: of its package, or where that has another name (`tensorflow-cpu`) of the module itself.

    `not installed` where there is neither.
    """
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return getattr(sys.modules.get(library), "__version__", "not installed")


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 by instructions of its own (AVX512-BF16 or AMX)."""
    return any(line.startswith("flags") and {"avx512_bf16", "amx_bf16"} & {*line.split()} for line in _cpuinfo())


def cores() -> set[int]:
    """The processor's cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def keep_to(process: int, cores: Collection[int]) -> None:
    """Let a process that has just begun use these `cores` alone, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process, cores)


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def process(pid: int) -> str:
    """Host, process id and start time: what `is_gone` knows a process of this machine by."""
    return f"{platform.node()} {pid} {_start_time(pid)}"


def this_process() -> str:
    """This process, as `is_gone` knows it."""
    return process(os.getpid())


def is_gone(process: str) -> bool:
    """Whether a process of this machine, as `process` told it, has ended; of another machine one cannot know."""
    host, _, rest = process.partition(" ")
    pid, _, start = rest.partition(" ")
    return host == platform.node() and pid.isdigit() and _start_time(int(pid)) != start


def code() -> Code:
    """The code that this process has loaded, as git knows it."""
    commit = _git("rev-parse", "HEAD").strip() or None
    return Code(commit, _diff() if commit else "")


def _diff() -> str:
    """What `Code.diff` says."""
    new = _git("ls-files", "-z", "--others", "--exclude-standard", "--", *CODE).split("\0")[:-1]
    # Whatever the user has set for `git diff`.
    told = ("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames",
            "--no-relative", "--src-prefix=a/", "--dst-prefix=b/", "--", ".")
    if not new:
        return _git(*told)
    with tempfile.TemporaryDirectory() as folder:
        # In a copy of the index, new files can be added without a trace.
        index = Path(folder) / "index"
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(ROOT / _git("rev-parse", "--git-path", "index").rstrip("\n"), index)
        _git("add", "--intent-to-add", "--", *new, index=index)
        return _git(*told, index=index)


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


def _git(*arguments: str, index: Path | None = None) -> str:
    """What git prints, with another `index` than the repository's; nothing where it fails or is not there."""
    variables = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def _processor() -> str:
    models = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
