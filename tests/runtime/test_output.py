"""Output in any encoding, to readers that go away, and on narrow terminals; and the lines in which commands end."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar.runtime import errors
from cifar.runtime.errors import ExitCodes, InputError
from cifar.runtime.paths import ROOT
from helpers.processes import clean_environment, run_python
from helpers.runs import record, sqlite
from helpers.terminals import Terminal

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The variables of a terminal that shows nothing but ASCII."""


def ended(error: BaseException) -> int:
    """The exit code of a command that `error` ends."""
    with pytest.raises(SystemExit) as end, ExitCodes():
        raise error
    return end.value.code


class TestLastLine:
    """Of a command that an error ends."""

    def test_of_the_machine_has_no_traceback(self, capsys):
        assert ended(PermissionError(13, "Permission denied", "/a")) == 1
        assert capsys.readouterr().err == "failed: /a: Permission denied\n"

    @pytest.mark.parametrize("kind", ["ResourceExhaustedError", "XlaRuntimeError"])
    def test_out_of_memory_in_a_library(self, kind, capsys):
        error = type(kind, (RuntimeError,), {})("{{node x}} RESOURCE_EXHAUSTED: 12 bytes\n\t [[a graph]]")
        assert ended(error) == 1
        assert capsys.readouterr().err == (
            "failed: out of memory: RESOURCE_EXHAUSTED: 12 bytes; accumulate_steps=2, a smaller batch_size, "
            "model or data.limit needs less\n"
        )

    def test_mistake_in_code_comes_after_its_traceback(self, capsys):
        error = KeyError("x")
        error.add_note("run abc has the traceback as traceback.txt")
        assert ended(error) == 1
        first, *_, last = capsys.readouterr().err.splitlines()
        assert first.startswith("Traceback")
        assert last == "failed: KeyError: 'x'; run abc has the traceback as traceback.txt"

    def test_traceback_that_is_asked_for_comes_before(self, capsys, monkeypatch):
        monkeypatch.setattr(errors, "DEBUG", True)
        assert ended(InputError("no such thing")) == 2
        first, *_, last = capsys.readouterr().err.splitlines()
        assert first.startswith("Traceback")
        assert last == "error: no such thing"

    def test_begins_on_a_fresh_line_of_a_terminal(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert ended(KeyboardInterrupt()) == 130
        assert terminal.getvalue() == "\r\x1b[Kinterrupted\n"


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams_are_not_given_to_the_next_file(closed, tmp_path):
    script = """
import subprocess, sys
from cifar.runtime import output
output.prepare()
with open(sys.argv[1], "w") as file:
    file.write(f"{file.fileno()}")
print("to stdout")
print("to stderr", file=sys.stderr)
assert sys.stdin.read() == ""
assert subprocess.run(["sh", "-c", "echo a; echo b >&2"]).returncode == 0
"""
    redirections = " ".join(f"{number}<&-" for number in closed)
    path = tmp_path / "file"
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", script, path], cwd=ROOT,
                          env=clean_environment(), stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert done.returncode == 0
    assert int(path.read_text()) > 2


def test_commands_in_ascii(tmp_path):
    uri = sqlite(tmp_path)
    record(uri, "größer\udce9", "data.limit=60")
    done = run_python("-m", "cifar", "--tracking-uri", uri, "runs", **ASCII)
    assert (done.code, done.stderr) == (0, "")
    assert r"gr??er\xe9" in done.stdout
    assert run_python("-m", "cifar", "compare", "--help", PYTHONIOENCODING="ascii:strict").code == 0


def test_reading_command_whose_reader_has_gone_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "cifar", "--help"], cwd=ROOT, env=clean_environment(), stdout=writer,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_reading_command_whose_output_is_full():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "cifar", "--help"], cwd=ROOT, env=clean_environment(), stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "failed: [Errno 28] No space left on device\n")


@pytest.mark.slow
def test_training_that_nobody_reads_in_ascii_on_files_that_are_not_utf8(tmp_path, command):
    folder, classes = tmp_path / "d\udce9 ü", ["caf\udce9", "plain", "über"]
    for part, number in (("train", 6), ("test", 3)):
        for label, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for index in range(number):
                gray = 20 * index + 7 * label + 3 * (part == "test")  # no image is a copy of another
                image = Image.fromarray(np.full((8, 8, 3), gray, np.uint8))
                image.save(folder / part / name / f"\udce8{index}.png")
    uri = sqlite(tmp_path)
    arguments = ["data=folder", f"data.path='{folder}'", "data.size=8", "model.filters=[4]",
                 "model.classifier.units=[]", "augmentation=none", "epochs=1", "batch_size=4",
                 f"tracking.name='{folder.name}'", f"tracking.uri={uri}"]  # fmt: skip
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", *arguments],
        cwd=tmp_path,
        env={**clean_environment(), **ASCII},
        stdout=writer,
        stderr=writer,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    client = mlflow.MlflowClient(uri)
    (run,) = (run for found in client.search_experiments() for run in client.search_runs([found.experiment_id]))
    assert (run.info.status, run.info.run_name) == ("FINISHED", r"d\xe9 ü")
    assert run.data.params["data.path"] == str(tmp_path / r"d\xe9 ü")
    predictions = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/predictions.csv")
    assert {row["label"] for row in csv.DictReader(predictions.splitlines())} == {r"caf\xe9", "plain", "über"}

    evaluated = command(uri, "evaluate", run.info.run_id[:8])
    assert evaluated.code == 0
    assert r"caf\xe9" in evaluated.stdout
    page = tmp_path / "\udce9.html"
    compared = command(uri, "compare", run.info.run_id, record(uri, "\udce9", "data.limit=60"), "--html", page)
    assert (compared.code, page.exists()) == (0, True), compared
