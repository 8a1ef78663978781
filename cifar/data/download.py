"""Published archives, downloaded once into a cache folder and checked against their SHA-256 at every use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from cifar.errors import InputError
from cifar.files import atomic
from cifar.lazy import Lazy
from cifar.untrusted import LIMIT

client, request = Lazy("http.client"), Lazy("urllib.request")


def cached(url: str, sha256: str) -> Path:
    """The file at `url`, in the cache folder, downloaded if it is not there.

    Raises `InputError` where its SHA-256 is not `sha256` and where it cannot be downloaded.
    """
    target = cache_folder() / url.rsplit("/", 1)[-1]
    try:
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        _download(url, sha256, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be read ({error}); accepted: the file of {url}") from None
    else:
        if found != sha256:
            raise InputError(f"{target}: its SHA-256 is {found}, not the published {sha256}; delete it to download it "
                             f"again, or name it by data.path to use it as it is")
    return target


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cifar`, or `~/.cache/cifar`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cifar"


def _download(url: str, sha256: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(target) as temporary:
            with temporary.open("wb") as file:
                found = _fetch(url, file)
            if found != sha256:
                raise InputError(f"{url}: the SHA-256 of what came is {found}, not the published {sha256}; try again, "
                                 f"or put the right file at {target}, or set data.path")
    except (OSError, client.HTTPException) as error:
        raise InputError(f"{url}: cannot be downloaded ({error or type(error).__name__}); put the file at {target}, or "
                         f"set data.path to a copy of the data") from None


def _fetch(url: str, file: BinaryIO) -> str:
    """Write what is at `url` to `file`, at most a byte more than `LIMIT`; the SHA-256 of what was written."""
    digest = hashlib.sha256()
    done = 0
    with request.urlopen(url, timeout=30) as response, contextlib.closing(_Progress(url, response)) as progress:
        while done <= LIMIT and (chunk := response.read(2**18)):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress.show(done)
    return digest.hexdigest()


class _Progress:
    """A bar on stderr: one line that moves on a terminal, a line each quarter of the way where it is piped."""

    def __init__(self, url: str, response: Any):
        size = response.headers.get("Content-Length", "")
        self._name = url.rsplit("/", 1)[-1]
        self._total = int(size) if size.isdigit() else 0
        self._terminal = sys.stderr.isatty()
        self._shown = -1

    def show(self, done: int) -> None:
        percent = min(100, 100 * done // self._total) if self._total else 0
        step = percent if self._terminal else percent // 25
        if step == self._shown:
            return
        self._shown = step
        size = f"{percent:3} % of {self._total / 1e6:.0f} MB" if self._total else "(size unknown)"
        line = f"{self._name} [{'#' * (percent // 5):<20}] {size}"
        print(f"\r{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._terminal:
            print(file=sys.stderr)
