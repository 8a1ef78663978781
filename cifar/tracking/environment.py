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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar.runtime.lazy import Lazy
from cifar.runtime.machine import _processor, cores, gpu_models
from cifar.runtime.paths import IS_INSTALLED, ROOT

if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = Lazy("importlib.metadata")

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
    """Versions, processor, cores, and models of GPUs."""
    names = ("tensorflow", "jax", "keras", "numpy", "mlflow", "hydra-core", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "system": platform.platform(),
        "host": platform.node(),
        "cpu": _processor(),
        "cores": len(cores()),
        "gpu": ", ".join(gpu_models()),
    }


def version(library: str) -> str:
    """The version of a library: of its package, or where that has another name (`tensorflow-cpu`) of the module itself.

    `not installed` where there is neither.
    """
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(library), "__version__", "not installed"))


def code() -> Code:
    """The code that this process has loaded, as git knows it."""
    # A repository around an installed package is another project's.
    commit = None if IS_INSTALLED else _git("rev-parse", "HEAD").strip() or None
    return Code(commit, _diff() if commit else "")


def changed_modules(commit: str) -> list[str] | None:
    """The Python files of `CODE` that differ between `commit` and the commit checked out; `None` if it is unknown."""
    if not _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return None
    return _git("diff", "--name-only", commit, "HEAD", "--", *(f"{name}*.py" for name in CODE)).splitlines()


def _diff() -> str:
    """What `Code.diff` says."""
    new = _git("ls-files", "-z", "--others", "--exclude-standard", "--", *CODE).split("\0")[:-1]
    # Whatever the user has set for `git diff`.
    arguments = (
        "diff",
        "HEAD",
        "--binary",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-renames",
        "--no-relative",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "--",
        ".",
    )
    if not new:
        return _git(*arguments)
    with tempfile.TemporaryDirectory() as folder:
        # In a copy of the index, new files can be added without a trace.
        index = Path(folder) / "index"
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(ROOT / _git("rev-parse", "--git-path", "index").rstrip("\n"), index)
        _git("add", "--intent-to-add", "--", *new, index=index)
        return _git(*arguments, index=index)


def _git(*arguments: str, index: Path | None = None) -> str:
    """What git prints, with another `index` than the repository's; nothing where it fails or is not there."""
    variables = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
