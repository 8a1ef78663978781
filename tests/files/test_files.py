"""What this program may write and delete, and that it touches nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar.files import atomic, ownership
from cifar.runtime import processes
from cifar.runtime.errors import InputError
from cifar.tasks.classification import Classification
from helpers.processes import error_line, run_python
from helpers.runs import sqlite


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
        assert run_python("-c", script).code == -9
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2
        assert all(atomic.NAME.fullmatch(path.name) for path in left)
        atomic.write(tmp_path / "other.txt", b"")
        assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]

    def test_only_what_was_left_is_removed(self, tmp_path):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        alive, dead = processes.process(process.pid), f"{processes.this_process()}9"
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


class TestOwnership:
    @pytest.mark.parametrize("content", [b"", b"years of work", b"x" * 5000 + ownership.MARK.encode()])
    def test_a_file_without_the_mark_is_not_overwritten(self, tmp_path, content):
        path = tmp_path / "thesis.html"
        path.write_bytes(content)
        for call in (lambda: ownership.check(path), lambda: ownership.write(path, ownership.MARK.encode())):
            with pytest.raises(InputError, match=r"thesis\.html: is another program's file"):
                call()
        assert path.read_bytes() == content

    def test_what_is_no_file_is_not_overwritten(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing" / "file", Path("/dev/null")):
            with pytest.raises(InputError):
                ownership.check(path)

    def test_a_link_to_a_file_without_the_mark_is_not_followed(self, tmp_path):
        (tmp_path / "thesis").write_text("years of work")
        (tmp_path / "page.html").symlink_to("thesis")
        with pytest.raises(InputError):
            ownership.write(tmp_path / "page.html", ownership.MARK.encode())
        assert (tmp_path / "thesis").read_text() == "years of work"

    def test_a_folder_is_deleted_if_it_was_made_here_alone(self, tmp_path):
        theirs, ours = tmp_path / "theirs", tmp_path / "new" / "ours"
        theirs.mkdir()
        for folder in (theirs, ours):
            ownership.make_folder(folder)
            (folder / "file").write_text("")
            ownership.remove_folder(folder)
        assert [path.name for path in theirs.iterdir()] == ["file"]
        assert not ours.exists()

    def test_a_file_in_the_place_of_a_folder_is_an_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileExistsError):
            ownership.make_folder(tmp_path / "file")

    def test_a_link_to_an_own_folder_is_not_followed(self, tmp_path):
        ownership.make_folder(tmp_path / "ours")
        (tmp_path / "link").symlink_to("ours")
        ownership.remove_folder(tmp_path / "link")
        assert (tmp_path / "ours").is_dir()


class TestPredict:
    """`predict` with a task that speaks of places in an image, for which classification stands in."""

    @pytest.fixture
    def predict(self, command, quickstart, tmp_path, monkeypatch):
        monkeypatch.setattr(Classification, "is_dense", True)
        path = tmp_path / "photo.png"
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
        return lambda: command(quickstart.uri, "predict", quickstart.id, path)

    def test_its_own_files_are_overwritten(self, predict, tmp_path):
        for _ in range(2):
            done = predict()
            assert (done.code, done.stderr) == (0, "")
        written = [tmp_path / "photo.png.predicted.json", tmp_path / "photo.png.predicted.png"]
        assert sorted(tmp_path.iterdir()) == [tmp_path / "photo.png", *written]
        assert all(ownership.is_own(path) for path in written)
        told, kept = json.loads(done.stdout), json.loads(written[0].read_text())
        assert {**told, "generator": ownership.MARK} == kept
        assert Image.open(written[1]).size == (30, 20)

    @pytest.mark.parametrize("name", ["photo.png.predicted.png", "photo.png.predicted.json"])
    def test_other_files_are_refused_before_the_model_loads(self, predict, tmp_path, monkeypatch, name):
        loaded = "not refused before it loads"
        monkeypatch.setattr("cifar.prediction.recorded.load_tensorflow", lambda _: pytest.fail(loaded))
        (tmp_path / name).write_text("drawn by hand")
        assert error_line(predict()).startswith(f"{tmp_path / name}: is another program's file")
        assert (tmp_path / name).read_text() == "drawn by hand"
        assert len(list(tmp_path.iterdir())) == 2


def test_compare_refuses_a_file_that_is_no_page_of_its_own_before_all_else(command, tmp_path):
    path = tmp_path / "thesis.html"
    path.write_text("<html>years of work")
    line = error_line(command(sqlite(tmp_path / "new"), "compare", "abcd", "--html", path))
    assert line.startswith(f"--html {path}: is another program's file")
    assert path.read_text() == "<html>years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.html"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hydra.run.dir=folder", "hydra.run.dir=folder: is not supported"),
        ("hydra.output_subdir=conf", "hydra.output_subdir=conf: is not supported"),
        ("hydra/job_logging=default", "hydra.job_logging: a log file is not supported"),
    ],
)
def test_hydra_writes_no_folders_and_files_of_its_own(mistake, override, line):
    assert mistake(override).startswith(line)
    assert mistake("--multirun", "seed=1,2", override).startswith(line)


def test_hydras_own_launcher_is_refused(mistake):
    line = mistake("--multirun", "seed=1,2", "hydra/launcher=basic", "hydra.sweep.dir=folder")
    assert line == "hydra/launcher=basic: should be process, ray or submitit"
    line = mistake("--multirun", "seed=1,2", "hydra/launcher=basic", "hydra/sweeper=basic", "hydra.sweep.dir=folder")
    assert line.startswith("hydra/sweeper=basic: ")
