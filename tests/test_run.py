"""`python run.py` from its command line to what MLflow gives back, and its status however it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import runpy
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar import plots
from cifar.config.compose import read
from cifar.config.settings import flatten
from cifar.runtime.paths import ROOT
from cifar.training import trainer
from helpers.processes import Completed, run_and_signal, run_python, run_warm, slowdown
from helpers.runs import TINY, composed, sqlite

FOLLOWED = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "images_per_second")
TESTED = ("loss", "accuracy", "kappa", "ece", "precision_macro", "recall_macro", "f1_macro",
          "precision_weighted", "recall_weighted", "f1_weighted", "top5_accuracy")  # fmt: skip
PICTURES = ("augmentation", "confident_mistakes", "confusion_matrix", "learning_curves", "per_class", "reliability")


@pytest.fixture(scope="module")
def client(quickstart) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(quickstart.uri)


@pytest.fixture(scope="module")
def finished(quickstart, client):
    return client.get_run(quickstart.id)


@pytest.fixture(scope="module")
def artifact(quickstart):
    """artifact(path): the run's artifact on disk."""
    folder = Path(quickstart.uri.removeprefix("sqlite:///")).parent / "mlruns" / quickstart.id / "artifacts"
    return lambda path: folder / path


class TestQuickstart:
    """The finished run as MLflow gives it back."""

    def test_is_finished_under_the_name_of_its_model_and_command(self, finished, client):
        assert finished.info.status == "FINISHED"
        assert finished.info.run_name == "cnn3 quickstart epochs=3"
        assert client.get_experiment(finished.info.experiment_id).name == "digits"

    def test_every_setting_is_a_parameter(self, finished, artifact):
        settings = read(artifact("config.yaml").read_text())
        assert finished.data.params == {key: str(value) for key, value in flatten(settings).items()}
        assert {"epochs": "3", "optimizer.lr": "0.003", "data.name": "digits"}.items() <= finished.data.params.items()

    @pytest.mark.parametrize("metric", FOLLOWED)
    def test_metric_is_there_for_every_epoch(self, client, quickstart, metric):
        history = client.get_metric_history(quickstart.id, metric)
        assert [point.step for point in history] == [1, 2, 3]
        assert all(np.isfinite(point.value) for point in history)

    def test_best_epoch_is_that_of_the_least_validation_loss(self, client, finished, quickstart):
        losses = [point.value for point in client.get_metric_history(quickstart.id, "val/loss")]
        assert finished.data.metrics["best/epoch"] == 1 + np.argmin(losses)
        assert finished.data.metrics["best/loss"] == min(losses)

    def test_test_metrics_are_there(self, finished):
        names = {name.removeprefix("test/") for name in finished.data.metrics if name.startswith("test/")}
        assert names == set(TESTED)
        assert [value for tag, value in finished.data.tags.items() if tag.startswith("looks.")] == ["1"]

    def test_costs_are_recorded(self, finished, artifact):
        assert finished.data.metrics["model/parameters"] == 111_370
        convolutions = 2 * 9 * (64 * 1 * 32 + 16 * 32 * 64 + 4 * 64 * 128)
        assert finished.data.metrics["model/flops"] == pytest.approx(convolutions + 2 * (128 * 128 + 1280), rel=0.05)
        header, *layers, in_all = artifact("model.txt").read_text().splitlines()
        assert header.split()[:3] == ["layer", "kind", "output"]
        assert [line.split()[0] for line in layers][-1] == "probabilities"
        totals = [float(number.replace(",", "")) for number in in_all.split()[2:]]
        names = ("model/parameters", "model/flops", "model/activation_bytes")
        assert totals == [finished.data.metrics[name] for name in names]

    def test_dataset_is_recorded_with_its_fingerprint(self, finished, artifact):
        settings = read(artifact("config.yaml").read_text())
        dataset = settings.data.build(seed=settings.seed)
        assert finished.data.tags["dataset_fingerprint"] == dataset.fingerprint
        (recorded,) = finished.inputs.dataset_inputs
        assert recorded.dataset.name == "digits"
        assert dataset.fingerprint.startswith(recorded.dataset.digest)

    def test_code_and_machine_are_recorded(self, finished, artifact):
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert finished.data.tags["git_commit"] == commit.stdout.strip()
        assert finished.data.tags["git_dirty"] == str(artifact("git.diff").exists())
        machine = json.loads(artifact("environment.json").read_text())
        assert machine["keras"] == keras.__version__
        assert machine["cores"] == len(os.sched_getaffinity(0))
        assert {"python", "tensorflow", "numpy", "mlflow", "cpu", "system"} <= machine.keys()

    @pytest.mark.parametrize("name", PICTURES)
    def test_picture_is_a_png_with_something_on_it(self, artifact, name):
        with Image.open(artifact(f"pictures/{name}.png")) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 300
            assert picture.convert("L").getextrema()[0] < 128

    def test_pictures_are_no_others(self, artifact):
        assert {path.stem for path in artifact("pictures").iterdir()} == set(PICTURES)

    def test_tables_agree_with_the_metrics(self, finished, artifact):
        rows = predicted(artifact)
        assert [row["index"] for row in rows] == [str(number) for number in range(359)]
        correct = np.mean([row["correct"] == "True" for row in rows])
        assert correct == pytest.approx(finished.data.metrics["test/accuracy"])
        report = json.loads(artifact("tables/classification_report.json").read_text())
        assert report["macro avg"]["f1-score"] == finished.data.metrics["test/f1_macro"]
        assert "macro avg" in artifact("tables/classification_report.txt").read_text()

    def test_nothing_but_artifacts_is_left(self, quickstart):
        store = Path(quickstart.uri.removeprefix("sqlite:///")).parent
        assert {path.name for path in store.iterdir()} == {"mlflow.db", "mlruns"}
        assert [path.name for path in (store / "mlruns" / quickstart.id).iterdir()] == ["artifacts"]

    def test_piped_output_has_one_line_an_epoch(self, quickstart):
        lines = [line for line in quickstart.process.stdout.splitlines() if not line.startswith(" ")]
        assert [line.split("  ")[0] for line in lines[1:4]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
        assert re.fullmatch(r"epoch 3/3  train/loss [\d.]+  val/loss [\d.]+  val/accuracy [\d.]+(  best)?", lines[3])
        assert all(len(line) <= 80 for line in lines[1:-1])
        assert not set("\r\x1b\b") & set(quickstart.process.stdout)
        assert quickstart.process.stderr == ""
        assert re.match(r"test: accuracy  +[\d.]+   loss ", lines[4])
        assert quickstart.id[:8] in lines[-1]

    def test_logged_model_predicts_without_the_project_what_the_weights_do(self, quickstart, artifact, tmp_path):
        script = """
import json, sys
import mlflow
import numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(f"runs:/{sys.argv[2]}/model")
assert "cifar" not in sys.modules
print(json.dumps(model.predict(np.load("images.npy")).tolist()))
"""
        data = read(artifact("config.yaml").read_text()).data
        np.save(tmp_path / "images.npy", data.build(seed=0).test.images)
        done = run_warm("-c", script, quickstart.uri, quickstart.id, cwd=tmp_path)
        assert done.code == 0, done.stderr
        outputs = np.array(json.loads(done.stdout.splitlines()[-1]))
        assert outputs.sum(axis=1) == pytest.approx(1, abs=1e-5)
        rows = predicted(artifact)
        assert outputs.max(axis=1) == pytest.approx([float(row["confidence"]) for row in rows], abs=1e-5)
        assert [str(k) for k in outputs.argmax(axis=1)] == [row["predicted"] for row in rows]

    def test_evaluate_prints_what_is_stored(self, quickstart, finished):
        done = run_warm("-m", "cifar", "--tracking-uri", quickstart.uri, "evaluate", quickstart.id)
        assert (done.code, done.stderr) == (0, "")
        printed = dict(line.split(" ") for line in done.stdout.splitlines() if line.startswith("test/"))
        assert printed == {f"test/{name}": f"{finished.data.metrics[f'test/{name}']:.4f}" for name in TESTED}
        assert "weighted avg" in done.stdout


def predicted(artifact) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(artifact("tables/predictions.csv").read_text())))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return sqlite(tmp_path_factory.mktemp("store"))


@pytest.fixture
def main(store):
    """main(*overrides): `run.py` on composed settings in this process, and the run that it made."""
    run = runpy.run_path(str(ROOT / "run.py"))["main"]

    def recorded(*overrides: str):
        run(composed(f"tracking.uri={store}", *TINY, *overrides))
        return newest(store)

    return recorded


def newest(uri: str):
    client = mlflow.MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name("digits").experiment_id], max_results=1)[0]


class TestReproducibility:
    """The seed and the settings decide the weights."""

    @pytest.fixture
    def weights(self, main, monkeypatch):
        monkeypatch.setattr(trainer, "evaluate", lambda *arguments: None)
        monkeypatch.setattr(trainer, "describe", lambda *arguments: None)
        moved = ("augmentation=[rotation,flip]", "epochs=2")
        return lambda *overrides: main(*moved, *overrides).data.tags["weights_sha256"]

    @pytest.mark.slow
    def test_same_settings_give_the_same_weights(self, weights):
        first = weights("seed=1")
        assert first == weights("seed=1")
        assert first != weights("seed=2")


class TestFailure:
    """FAILED and KILLED, with the reason."""

    def test_exception_in_training(self, main, store, monkeypatch, capfd):
        def broken(*arguments):
            raise ZeroDivisionError("out of the blue")

        monkeypatch.setattr(trainer, "evaluate", broken)
        with pytest.raises(SystemExit) as end:
            main()
        run = newest(store)
        line = f"failed: ZeroDivisionError: out of the blue; run {run.info.run_id} has the traceback as traceback.txt"
        assert (end.value.code, capfd.readouterr().err.splitlines()[-1]) == (1, line)
        assert run.info.status == "FAILED"
        assert run.data.tags["failure"] == "ZeroDivisionError: out of the blue"
        place = Path(store.removeprefix("sqlite:///")).parent / "mlruns" / run.info.run_id / "artifacts"
        assert "out of the blue" in (place / "traceback.txt").read_text()

    def test_what_may_fail_comes_after_what_must_be_kept(self, main, store, monkeypatch, capfd):
        def broken(*arguments, **others):
            raise OSError("no space left")

        monkeypatch.setattr(import_module("mlflow.tensorflow"), "log_model", broken)
        monkeypatch.setattr(plots, "confusion_matrix", broken)
        run = main("callbacks=[checkpoint,csv_logger,tensorboard]")
        assert run.info.status == "FINISHED"
        picture, model = "picture confusion_matrix", "MLflow model"
        warnings = capfd.readouterr().err.splitlines()
        assert warnings[0] == f"warning: {picture} not recorded: OSError: no space left"
        assert warnings[1].startswith(
            f"warning: {model} not recorded: TrainingError: run {run.info.run_id}: no space left"
        )
        tags = {name: value for name, value in run.data.tags.items() if name.startswith("not_recorded.")}
        assert tags.keys() == {f"not_recorded.{name}" for name in (picture, model)}
        assert all("no space left" in value for value in tags.values())
        assert {"weights_sha256", "weights_file_sha256"} <= run.data.tags.keys()
        assert {"best/loss", "test/accuracy"} <= run.data.metrics.keys()
        folder = Path(store.removeprefix("sqlite:///")).parent / "mlruns" / run.info.run_id / "artifacts"
        kept = ("model.weights.h5", "history.csv", "tables/predictions.csv", "pictures/learning_curves.png")
        assert all((folder / name).exists() for name in kept)
        assert [len(list((folder / "tensorboard" / split).iterdir())) for split in ("train", "val")] == [1, 1]

    @pytest.mark.slow
    def test_variables_of_notebooks_and_tools_do_no_harm(self, tmp_path):
        done = run_python(
            ROOT / "run.py", *TINY, "callbacks=none", f"tracking.uri={sqlite(tmp_path)}", cwd=tmp_path,
            MPLBACKEND="module://matplotlib_inline.nowhere", TF_USE_LEGACY_KERAS="1",
        )  # fmt: skip
        assert (done.code, done.stderr) == (0, "")

    @pytest.mark.parametrize("callback", ["terminate_on_nan", "checkpoint"])
    def test_loss_that_is_not_finite(self, main, store, capfd, callback):
        with pytest.raises(SystemExit) as end:
            main("optimizer=sgd", "optimizer.lr=1e30", f"callbacks=[{callback}]", "epochs=3")
        assert end.value.code == 1
        out, err = capfd.readouterr()
        assert re.fullmatch(r"failed: the loss is (nan|inf) in epoch \d(, step \d)?\n", err)
        assert "test:" not in out
        run = newest(store)
        assert run.info.status == "FAILED"
        assert run.data.tags["failure"].startswith("the loss is ")

    def test_validation_loss_that_is_not_finite(self, main, store):
        with pytest.raises(SystemExit) as end:
            main("optimizer=sgd", "optimizer.lr=1e30", "batch_size=100", "callbacks=none")
        assert end.value.code == 1
        assert newest(store).info.status == "FAILED"

    def test_signals(self, tmp_path):
        signals = {signal.SIGINT: 130, signal.SIGTERM: 143}
        with ThreadPoolExecutor() as pool:  # at once, since most of either is the loading of libraries
            ended = dict(zip(signals, pool.map(lambda signum: signalled(tmp_path / signum.name, signum), signals),
                             strict=True))  # fmt: skip
        for signum, code in signals.items():
            seconds, done = ended[signum]
            assert seconds < 10 * slowdown()
            assert "test:" not in done.stdout
            uri = sqlite(tmp_path / signum.name)
            run = newest(uri)
            line = f"interrupted by {signum.name}; python run.py resume={run.info.run_id} tracking.uri={uri} resumes "
            assert (done.code, done.stderr) == (code, f"{line}the run\n")
            assert run.info.status == "KILLED"
            assert run.data.tags["failure"] == f"interrupted by {signum.name}"
            history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "val/loss")
            assert [point.step for point in history] == list(range(1, len(history) + 1))


def signalled(folder: Path, signum: int) -> tuple[float, Completed]:
    """A run in `folder` that gets a signal after its first epoch, and the seconds from the signal to its end."""
    folder.mkdir()
    return run_and_signal(signum, *TINY, "epochs=1000", "callbacks=[checkpoint]", f"tracking.uri={sqlite(folder)}",
                       cwd=folder)  # fmt: skip
