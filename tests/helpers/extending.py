"""Folders of extensions, and a process that forgets what a test has loaded from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cifar.config import extensions, search_path
from cifar.runtime.paths import CONF
from cifar.scaffold import command as scaffold


def write(folder: Path, kind: str = "model", name: str = "mine") -> Path:
    """A folder of extensions with a new part."""
    for path, text in scaffold.files(kind, name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@contextmanager
def forgotten() -> Iterator[None]:
    """Inside the `with`, nothing is loaded; what is loaded there is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for registry in extensions._registries():
            registry.registered()
            patch.setattr(registry, "_builders", dict(registry._builders))
            patch.setattr(registry, "_records", {})
        patch.setattr(extensions, "_named", None)
        patch.setattr(search_path, "_folders", [CONF])
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] in (extensions.PACKAGE, "installed_parts")]:
        del sys.modules[name]
