"""`python -m cifar` on finished runs: its answers, and one line for what it cannot read."""

from __future__ import annotations

import json
import sys

import mlflow
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar import __main__, __version__
from cifar.config.compose import read
from cifar.config.registry import DATASETS
from cifar.images.io import encode_png, read_image
from cifar.runtime.errors import InputError
from cifar.training import trainer
from cifar.training.experiment import Experiment
from helpers.pictures import bomb
from helpers.processes import error_line, run_python
from helpers.runs import TINY


@pytest.fixture
def command(command, quickstart):
    """command(*arguments): `python -m cifar ARGUMENTS…` on the store of the quickstart."""
    return lambda *arguments: command(quickstart.uri, *arguments)


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    gray = Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8))
    return gray.convert(mode)


class TestPredict:
    def test_own_test_images_as_in_the_table(self, command, quickstart, tmp_path):
        table = mlflow.artifacts.load_text(
            mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).info.artifact_uri + "/tables/predictions.csv"
        )
        rows = [line.split(",") for line in table.splitlines()[1:6]]
        data = {"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}
        paths = [tmp_path / f"{number}.png" for number in range(5)]
        for path, image in zip(paths, DATASETS.build(data, seed=0).test.images, strict=False):
            Image.fromarray(image[:, :, 0]).save(path)
        done = command("predict", quickstart.id, *paths)
        assert (done.code, done.stderr) == (0, "")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [answer["image"] for answer in answers] == [str(path) for path in paths]
        for answer, row in zip(answers, rows, strict=True):
            assert answer["answer"][0]["class"] == row[2]
            assert answer["answer"][0]["probability"] == pytest.approx(float(row[4]), abs=1e-5)

    def test_images_of_any_size_and_mode(self, command, quickstart, tmp_path):
        paths = []
        for mode, size, name in [
            ("L", (1, 1), "dot.png"), ("1", (9, 5), "bits.png"), ("P", (33, 7), "palette.png"),
            ("LA", (8, 8), "la.png"), ("RGB", (640, 17), "wide.jpg"), ("RGBA", (7, 301), "tall.png"),
            ("CMYK", (20, 20), "print.jpg"),
        ]:  # fmt: skip
            paths.append(tmp_path / name)
            picture("L" if mode == "LA" else mode, size).convert(mode).save(paths[-1])
        done = command("predict", quickstart.id, *paths)
        assert (done.code, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert len(lines) == len(paths)
        for line in lines:
            probabilities = [entry["probability"] for entry in json.loads(line)["answer"]]
            assert len(probabilities) == 5
            assert probabilities == sorted(probabilities, reverse=True)
            assert 0.5 <= sum(probabilities) <= 1.00001

    def test_unknown_run(self, command, tmp_path):
        picture("L", (8, 8)).save(tmp_path / "good.png")
        assert error_line(command("predict", "0" * 32, tmp_path / "good.png")).startswith(f"run {'0' * 32}: ")

    @pytest.mark.parametrize(
        "kind", ["missing", "folder", "empty", "text", "truncated", "16-bit", "gif", "bomb", "cut header", "bad CRC"]
    )
    def test_file_that_is_no_such_image(self, command, quickstart, tmp_path, kind):
        path = tmp_path / "image.png"
        good = tmp_path / "good.png"
        picture("L", (64, 64)).save(good)
        content = {
            "empty": b"",
            "text": b"hello",
            "truncated": good.read_bytes()[:2000],
            "cut header": good.read_bytes()[:20],
            "bad CRC": good.read_bytes()[:50] + b"\0\0\0\0" + good.read_bytes()[54:],
            "bomb": bomb(),
        }
        if kind in content:
            path.write_bytes(content[kind])
        elif kind == "folder":
            path.mkdir()
        elif kind == "16-bit":
            Image.fromarray(np.zeros((8, 8), np.uint16)).save(path)
        elif kind == "gif":
            picture("L", (8, 8)).save(path, format="GIF")
        line = error_line(command("predict", quickstart.id, good, path))
        assert line.startswith(f"{path}: cannot be read (")
        assert "accepted: a PNG or JPEG image of 8 bits a channel" in line

    @pytest.mark.parametrize("shape", [(8, 8, 1), (5, 9, 3)])
    def test_png_holds_the_image_to_the_bit(self, tmp_path, shape):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        (tmp_path / "image.png").write_bytes(encode_png(image))
        np.testing.assert_array_equal(read_image(tmp_path / "image.png", shape), image)

    @given(st.binary(max_size=200), st.integers(0, 60))
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_bytes_are_an_image_or_refused(self, tmp_path, noise, keep):
        good = tmp_path / "good.png"
        picture("L", (8, 8)).save(good)
        path = tmp_path / "any.png"
        path.write_bytes(good.read_bytes()[:keep] + noise)
        try:
            image = read_image(path, (4, 5, 3))
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert (image.shape, image.dtype) == ((4, 5, 3), np.uint8)


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
            ("evalute RUN", "evalute: did you mean 'evaluate'? known: audit, compare, evaluate, "),
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
