"""The download of CIFAR: it happens once, and leaves nothing where it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import resource
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from cifar.config.registry import DATASETS
from cifar.data import cifar, download
from cifar.runtime.errors import InputError
from helpers.data_files import build, write_archive


class Site(http.server.BaseHTTPRequestHandler):
    """Answers every request with `content`, of which `sent` bytes come; `on_half` is called after half of them."""

    content, sent = b"", None
    on_half: Callable[[], None] = staticmethod(lambda: None)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.on_half()
        with contextlib.suppress(OSError):  # of a client that has gone
            self.wfile.write(self.content[half : self.sent])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[type[Site]]:
    """A server on the loopback that stands for the published one; the cache is a folder of its own."""
    archive = write_archive(tmp_path / "site", cifar.CIFAR10)
    own = type("OwnSite", (Site,), {"content": archive.read_bytes()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), own) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        own.stop = staticmethod(lambda: (server.shutdown(), server.server_close()))
        version = dataclasses.replace(cifar.CIFAR10, url=f"http://127.0.0.1:{server.server_port}/{archive.name}",
                                      sha256=hashlib.sha256(own.content).hexdigest())  # fmt: skip
        monkeypatch.setattr(cifar, "CIFAR10", version)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield own
        own.stop()


def load(**settings):
    return DATASETS.build({"name": "cifar10", "path": None, "val_fraction": 0.25, "limit": None, **settings}, seed=0)


def cached_files() -> list[str]:
    return sorted(path.name for path in download.cache_folder().glob("*"))


def refused_download() -> str:
    """The line that a download is refused with, which leaves nothing in the cache."""
    with pytest.raises(InputError) as caught:
        load()
    assert cached_files() == []
    message = str(caught.value)
    assert message.startswith(f"{cifar.CIFAR10.url}: cannot be downloaded (") and "\n" not in message
    assert str(download.cache_folder() / "cifar-10-python.tar.gz") in message and "data.path" in message
    return message


def test_download_happens_once(site, tmp_path, capfd):
    expected = build("cifar10", tmp_path / "site" / "cifar-10-python.tar.gz").fingerprint
    assert load().fingerprint == expected
    (line,) = capfd.readouterr().err.splitlines()
    assert cifar.CIFAR10.url in line
    site.stop()
    assert load().fingerprint == expected
    assert cached_files() == ["cifar-10-python.tar.gz"]
    assert capfd.readouterr().err == ""


def test_download_with_wrong_hash_leaves_nothing(site):
    wrong = site.content[:-1] + b"x"
    site.content = wrong
    assert hashlib.sha256(wrong).hexdigest() in refused_download()


def test_cached_file_with_wrong_hash_is_not_overwritten(site):
    load()
    cached = download.cache_folder() / "cifar-10-python.tar.gz"
    cached.write_bytes(b"another file")
    with pytest.raises(InputError, match=f"not the published {cifar.CIFAR10.sha256}; delete it to download it again"):
        load()
    assert cached.read_bytes() == b"another file"


def test_download_offline_says_what_to_do(site):
    site.stop()
    assert "refused" in refused_download()


def test_truncated_download_leaves_nothing(site):
    site.sent = -1
    assert "1 more expected" in refused_download()


def test_download_without_space_leaves_nothing(site):
    bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, bounds[1]))
    try:
        assert "File too large" in refused_download()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)


def test_download_has_a_limit(site, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", len(site.content) - 1)
    assert f"more than {len(site.content) - 1} bytes" in refused_download()


def test_interrupted_download_leaves_nothing(site):
    site.on_half = staticmethod(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        load()
    assert cached_files() == []


def test_unusable_cache_folder(site, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    refused_download()
