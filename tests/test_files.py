"""What this program may write and delete, and that it touches nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import python

from cifar import environment
from cifar.files import atomic


class TestAtomic:
    def test_a_file_is_written_and_replaced_and_nothing_else_is_left(self, tmp_path):
        path = tmp_path / "page.html"
        for content in (b"first", b"second", b""):
            atomic.write(path, content)
            assert path.read_bytes() == content
            assert list(tmp_path.iterdir()) == [path]

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
        atomic.write(tmp_path / "link", b"content")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "folder" / "file").read_bytes() == b"content"

    def test_permissions_are_those_of_any_new_file(self, tmp_path):
        atomic.write(tmp_path / "atomic", b"")
        (tmp_path / "plain").write_bytes(b"")
        assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.mark.parametrize("failing", ["fsync", "replace"])
    def test_a_write_that_fails_leaves_the_earlier_file(self, tmp_path, monkeypatch, failing):
        path = tmp_path / "file"
        atomic.write(path, b"earlier")

        def fail(*_):
            raise OSError("no")

        monkeypatch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="no"):
            atomic.write(path, b"later")
        assert path.read_bytes() == b"earlier"
        assert list(tmp_path.iterdir()) == [path]

    def test_what_a_sigkill_left_is_removed_by_the_next_process_that_writes_there(self, tmp_path):
        script = f"""
import os, pathlib
from cifar.files import atomic
folder = pathlib.Path({str(tmp_path)!r})
temporary_folder = atomic.temporary_path(folder)
(temporary_folder / "variables").mkdir(parents=True)
with atomic.replacing(folder / "file.txt") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""
        assert python("-c", script).code == -9
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2
        assert all(atomic.NAME.fullmatch(path.name) for path in left)
        atomic.write(tmp_path / "other.txt", b"")
        assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]

    def test_only_what_was_left_is_removed(self, tmp_path):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        alive, dead = environment.process(process.pid), f"{environment.this_process()}9"
        names = [
            f"{atomic.PREFIX},{alive.replace(' ', ',')},01234567.txt",
            f"{atomic.PREFIX},elsewhere,1,2,01234567.txt",
            f"{atomic.PREFIX},notes",
            ".partial",
            "thesis.txt.partial",
        ]
        gone = tmp_path / f"{atomic.PREFIX},{dead.replace(' ', ',')},01234567.txt"
        for path in (gone, *(tmp_path / name for name in names)):
            path.write_text("")
        atomic.write(tmp_path / "file", b"")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "file"])
        process.communicate(b"\n")
