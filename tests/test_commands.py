"""`python -m cifar` on finished runs: its answers, and one line for what it cannot read."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar import __main__, __version__
from cifar.config.compose import read
from cifar.runtime import paths
from cifar.runtime.errors import InputError
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.processes import error_line, run_python
from helpers.runs import TINY


@pytest.fixture
def command(command, quickstart):
    """command(*arguments): `python -m cifar ARGUMENTS…` on the store of the quickstart."""
    return lambda *arguments: command(quickstart.uri, *arguments)


class TestEvaluate:
    def test_unknown_run(self, command):
        assert error_line(command("evaluate", "0" * 32)).startswith(f"run {'0' * 32}: ")

    def test_run_by_the_beginning_of_its_id(self, command, quickstart):
        done = command("evaluate", quickstart.id[:8])
        assert (done.code, done.stderr) == (0, "")
        metrics = mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).data.metrics
        assert f"test/accuracy {metrics['test/accuracy']:.4f}\n" in done.stdout

    def test_store_that_cannot_be_opened(self, command, tmp_path):
        (tmp_path / "file").write_text("")
        uri = f"sqlite:///{tmp_path}/file/mlflow.db"
        assert error_line(command("--tracking-uri", uri, "evaluate", "x")).startswith("tracking.uri=")

    def test_data_that_is_not_the_runs_any_more(self, compose, tmp_path):
        for number, path in enumerate(tmp_path / "data" / part / name / f"{i}.png" for part in ("train", "test")
                                      for name in ("cat", "dog") for i in range(10)):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
        stated = compose(*TINY[2:], "data=folder", f"data.path={tmp_path / 'data'}", "data.size=8")
        experiment = Experiment.prepare(stated)
        weights = tmp_path / "model.weights.h5"
        experiment.model().save_weights(weights)
        fingerprint = experiment.dataset.fingerprint
        assert trainer.restore(stated, weights, fingerprint)[0].dataset.fingerprint == fingerprint
        Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(tmp_path / "data" / "test" / "cat" / "0.png")
        with pytest.raises(InputError, match=r"^data: the images are not those of the run"):
            trainer.restore(stated, weights, fingerprint)

    @pytest.mark.parametrize("content", [b"", b"not HDF5" * 100])
    def test_weights_that_cannot_be_read(self, compose, tmp_path, content):
        stated = compose(*TINY)
        weights = tmp_path / "model.weights.h5"
        weights.write_bytes(content)
        with pytest.raises(InputError, match=r"model\.weights\.h5: cannot be read [^\n]+$"):
            trainer.restore(stated, weights, Experiment.prepare(stated).dataset.fingerprint)

    def test_settings_that_name_code(self):
        with pytest.raises(InputError, match="_target_"):
            read("model: {_target_: os.system}")


class TestCommandLine:
    def test_help_names_the_commands(self):
        done = run_python("-m", "cifar", "--help")
        assert (done.code, done.stderr) == (0, "")
        assert all(command in done.stdout for command in ("runs", "compare", "ui", "evaluate", "predict", "export"))

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ("", "the following arguments are required: COMMAND; see `python -m cifar --help`"),
            ("evalute RUN", "evalute: did you mean 'evaluate'? known: audit, compare, data, delete, evaluate, "),
            ("--trackng-uri x runs", "--trackng-uri: unknown option; did you mean '--tracking-uri'? known: "),
            ("runs --stat FINISHED", "runs --stat: unknown option; did you mean '--status'? known: "),
            ("runs --status DONE", "runs --status DONE: known: FAILED, FINISHED, KILLED, RUNNING"),
            ("runs --limit 0", "runs --limit 0: should be an integer of at least 1; see `python -m cifar runs --help`"),
            ("runs --limit", "runs --limit: expected one argument; "),
            ("runs extra", "runs extra: one argument too many; "),
            ("predict run", "predict: the following arguments are required: IMAGE; "),
            ("predict run image.png --top", "predict --top: unknown option; "),
            ("evaluate run --tta=flop", "evaluate --tta flop: did you mean 'flip'? known: "),
            ("compare", "compare: one of the arguments RUN --sweep --experiment is required; "),
            ("compare a --sweep b", "compare --sweep: not allowed with argument RUN; "),
            ("ui --port x", "ui --port x: should be an integer from 0 to 65535; "),
            ("audit --seed -1", "audit --seed -1: should be an integer from 0 to 2147483647; "),
            ("reproduce run --tolerance x", "reproduce --tolerance x: should be a number from 0 to 1; "),
        ],
    )
    def test_mistake_is_answered_in_one_line(self, monkeypatch, capfd, arguments, line):
        monkeypatch.setattr(sys, "argv", ["cifar", *arguments.split()])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        assert end.value.code == 2
        out, error = capfd.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert error.startswith(f"error: {line}")

    def test_options_of_all_commands_may_also_follow_the_name(self):
        parse = __main__.argument_parser().parse_args
        assert parse(["--tracking-uri", "a", "runs"]).tracking_uri == "a"
        assert parse(["runs", "--tracking-uri", "b"]).tracking_uri == "b"
        assert parse(["runs"]).tracking_uri is None

    def test_store_may_be_in_a_folder_with_a_percent_sign(self, monkeypatch, capsys):
        monkeypatch.setattr(paths, "STORE", Path("/100%25"))
        with pytest.raises(SystemExit):
            __main__.argument_parser().parse_args(["runs", "--help"])
        assert "/100%25/mlflow.db" in capsys.readouterr().out

    def test_version_is_ours(self, capsys):
        with pytest.raises(SystemExit):
            __main__.argument_parser().parse_args(["--version"])
        assert capsys.readouterr().out == f"cifar {__version__}\n"


@pytest.mark.slow
class TestQuiet:
    """Commands on runs start without the notes that TensorFlow prints when it is imported unsilenced."""

    @pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
    def test_nothing_of_tensorflow_is_printed(self, quickstart, tmp_path, command):
        image = tmp_path / "image.png"
        Image.new("L", (8, 8)).save(image)
        more = {"evaluate": [], "predict": [image], "export": [tmp_path / "exported", "--format", "savedmodel"]}
        done = run_python("-m", "cifar", "--tracking-uri", quickstart.uri, command, quickstart.id, *more[command])
        assert (done.code, done.stderr) == (0, "")
