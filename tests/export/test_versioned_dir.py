"""Numbered folders of exports."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cifar.export import versioned_dir
from cifar.files import atomic
from cifar.runtime.errors import InputError
from cifar.runtime.paths import ROOT
from helpers.processes import clean_environment


class TestPlace:
    def test_each_export_has_the_next_number(self, tmp_path):
        (tmp_path / "9").mkdir()
        (tmp_path / "10").mkdir()
        (tmp_path / "notes").touch()
        for number in ("11", "12"):
            with versioned_dir.partial(tmp_path) as folder:
                (folder / "file").write_text(number)
                assert versioned_dir.publish(folder, tmp_path) == tmp_path / number
        assert (tmp_path / "11" / "file").read_text() == "11"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "12", "9", "notes"]

    def test_number_that_another_takes_meanwhile(self, tmp_path, monkeypatch):
        with versioned_dir.partial(tmp_path) as folder:
            (folder / "file").touch()
            listed = list(tmp_path.iterdir())
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "other").touch()
            answers = iter([listed, [*listed, tmp_path / "1"]])
            monkeypatch.setattr(Path, "iterdir", lambda _: next(answers))
            assert versioned_dir.publish(folder, tmp_path) == tmp_path / "2"
        assert (tmp_path / "1" / "other").exists() and not (tmp_path / "1" / "file").exists()

    def test_nothing_is_left_after_an_error(self, tmp_path):
        for name in (".", "new/models"):
            with pytest.raises(KeyError), versioned_dir.partial(tmp_path / name) as folder:
                (folder / "file").touch()
                raise KeyError
            assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("left", [(), ("1/model.json",), ("1/model.json", "README"), (".gitkeep",)])
    def test_folders_that_are_for_exports(self, tmp_path, left):
        for name in left:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        versioned_dir.check(tmp_path)
        versioned_dir.check(tmp_path / "new" / "models")

    @pytest.mark.parametrize("name", ["thesis.txt", "1/cat.png", "saved_model.pb"])
    def test_folders_that_are_not(self, tmp_path, name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=r"contains other files, such as (thesis\.txt|1|saved_model\.pb); accept"):
            versioned_dir.check(tmp_path)

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_has_a_number_after_a_kill(self, tmp_path, signum):
        script = (
            "import sys, time, pathlib\nfrom cifar.export import versioned_dir\nfrom cifar.runtime import interrupts\n"
            "with interrupts.handled(), versioned_dir.partial(pathlib.Path(sys.argv[1])) as folder:\n"
            "    (folder / 'saved_model.pb').touch()\n    print('written', flush=True)\n    time.sleep(60)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, env=clean_environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signum)
        process.communicate(timeout=60)
        left = list(tmp_path.iterdir())
        assert not left if signum == signal.SIGTERM else left[0].name.startswith(atomic.PREFIX)
        place = tmp_path / "made meanwhile"  # before, its parent was the nearest folder
        place.mkdir()
        with versioned_dir.partial(place) as folder:
            assert list(tmp_path.iterdir()) == [place] and list(place.iterdir()) == [folder]
