"""Download of published archives into a cache folder, verified by SHA-256 at every use."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from cifar.files import atomic
from cifar.files.safe_io import LIMIT
from cifar.runtime.errors import InputError
from cifar.runtime.lazy import Lazy

pooch = Lazy("pooch")


def cached(url: str, sha256: str) -> Path:
    """Return the cached file of `url`, downloading it if it is missing.

    Raises `InputError` if no file with this SHA-256 can be downloaded, or if the cached file has another SHA-256: it is
    then a file of the user's, since only verified files are written.
    """
    target = cache_folder() / url.rsplit("/", 1)[-1]
    try:
        if not target.exists():
            _download(url, sha256, target)
        actual = pooch.file_hash(target)
    except (OSError, ValueError) as error:  # no space, no network (exceptions of `requests`), another SHA-256
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{url}: cannot be downloaded ({reason}); put the file with SHA-256 {sha256} at {target}, or "
            f"set data.path to a copy of the data"
        ) from None
    if actual != sha256:
        raise InputError(
            f"{target}: its SHA-256 is {actual}, not the published {sha256}; delete it to download it "
            "again, or set data.path to it to use it anyway"
        )
    return target


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/cifar` or `~/.cache/cifar`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cifar"


def _download(url: str, sha256: str, target: Path) -> None:
    """Download a file to `target`, with a progress bar on a terminal; raises `OSError` and `ValueError`.

    `pooch.retrieve` is not used, as it leaves a temporary file after a SIGKILL.
    """
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**18, timeout=30)
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"downloading {url} to {target}", file=sys.stderr, flush=True)
    with atomic.replacing(target) as temporary:
        with _Bounded(io.FileIO(temporary, "w")) as file:
            fetch(url, file, None)
        if (actual := pooch.file_hash(temporary)) != sha256:
            raise ValueError(f"the SHA-256 of the downloaded file is {actual}")


class _Bounded(io.BufferedWriter):
    """A file of at most `LIMIT` bytes, so that a server cannot fill the disk."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > LIMIT:
            raise OSError(errno.EFBIG, f"more than {LIMIT} bytes")
        return super().write(data)
