"""The Python interface, on recorded runs and with a stand-in for the process that trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cifar
from cifar.api import training
from cifar.api.overrides import written
from cifar.runtime.paths import ROOT
from helpers.processes import run_python
from helpers.runs import record, sqlite


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    return sqlite(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def ids(uri) -> list[str]:
    """Two runs, of which the first gets more images right."""
    return [record(uri, "good", right=0.9), record(uri, "poor", "seed=1", right=0.5)]


def test_import_is_light():
    script = """
import sys, os
before = dict(os.environ)
import cifar
assert cifar.InputError.__name__ == "InputError" and "runs" in dir(cifar)
heavy = {"tensorflow", "keras", "mlflow", "numpy", "hydra", "pydantic"} & sys.modules.keys()
print(sorted(heavy), os.environ.get("MPLBACKEND"))
"""
    done = run_python("-c", script, MPLBACKEND="module://theirs")
    assert (done.code, done.stdout) == (0, "[] module://theirs\n"), done
    with pytest.raises(AttributeError, match="has no attribute 'runz'"):
        cifar.runz  # noqa: B018


def test_python_values_are_settings():
    named = {"epochs": 5, "optimizer.lr": 1e-3, "data.path": Path("my photos"), "model.filters": [8, np.int64(16)],
             "callbacks": ["checkpoint"], "resume": None, "deterministic": False, "precision": "auto",
             "model.blocks": [{"filters": 8, "pool": "max"}]}  # fmt: skip
    assert written(["model=cnn3"], named) == [
        "model=cnn3", "epochs=5", "optimizer.lr=0.001", 'data.path="my photos"', "model.filters=[8,16]",
        "callbacks=[checkpoint]", "resume=null", "deterministic=false", "precision=auto",
        "model.blocks=[{filters: 8,pool: max}]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "named", "line"),
    [
        (["--multirun"], {}, '--multirun: should be a setting such as "model=cnn3"'),
        (["cnn3"], {}, 'cnn3: should be a setting such as "model=cnn3"'),
        ([], {"sweep": "lr"}, "sweep=lr: is a sweep; `python run.py sweep=lr` starts it, cifar.runs() finds its runs"),
        ([], {"epochs": object}, "epochs=<class 'object'>: should be a number, a text, a path, true or false, or a"),
    ],
)
def test_mistakes_in_python(settings, named, line):
    with pytest.raises(cifar.InputError) as refused:
        cifar.run(*settings, **named)
    assert str(refused.value).startswith(line)


def test_a_recorded_run(uri, ids):
    run = cifar.load(ids[0][:8], tracking_uri=uri)
    assert (run.id, run.name, run.status) == (ids[0], "good", "FINISHED")
    assert run.metrics["best/accuracy"] == 0.9
    assert run.history["val/loss"] == [2, 1, 2 / 3]
    assert "best/accuracy" not in run.history
    assert (run.settings["seed"], run.settings["model.name"]) == (0, "cnn3")
    assert (run.path / "config.yaml").is_file()
    assert run.figures == {}
    assert ids[0] in run._repr_html_()
    assert repr(run).startswith(f"<run {ids[0][:8]} good: FINISHED, best/accuracy 0.9000")
    with pytest.raises(cifar.InputError, match=r"has no model\.weights\.h5"):
        run.model  # noqa: B018


def test_runs_are_found_sorted_and_compared(uri, ids):
    import mlflow

    mlflow.set_tracking_uri("file:///theirs")
    found = cifar.runs("test/accuracy > 0.1", experiment="digits", tracking_uri=uri)
    assert [run.id for run in found] == ids[::-1]
    assert found.best("val/accuracy").id == ids[0]
    assert [run.id for run in found.sorted_by("test/loss")] == ids
    assert found.rows[0]["best/accuracy"] == 0.5
    assert "poor" in repr(found)
    assert "<td>poor</td>" in found._repr_html_()
    with pytest.raises(cifar.InputError, match="metric val/los: no run has it; did you mean"):
        found.best("val/los")
    compared = cifar.compare(found.best("val/accuracy"), found[0])
    assert "McNemar" in str(compared)
    assert compared._repr_html_().startswith("<iframe srcdoc=")
    assert (mlflow.get_tracking_uri(), os.environ["MLFLOW_TRACKING_URI"]) == ("file:///theirs",) * 2
    mlflow.set_tracking_uri("")


def test_model_of_a_run_leaves_keras_as_it_is(quickstart):
    import keras

    keras.utils.set_random_seed(1)
    expected, policy = np.random.random(), keras.config.dtype_policy()
    keras.utils.set_random_seed(1)
    run = cifar.load(quickstart.id, tracking_uri=quickstart.uri)
    images = np.zeros((2, *run.model.input_shape[1:]), np.uint8)
    probabilities = run.predict(images)["probabilities"]
    assert probabilities.shape == (2, 10)
    best = run.predict(images[0], decode=True)[0][0]
    assert best["probability"] == pytest.approx(float(probabilities[0].max()), rel=1e-5)
    (path,) = [picture.path for name, picture in run.figures.items() if name == "confusion_matrix"]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert run.predict([path, path])["probabilities"].shape == (2, 10)
    assert (np.random.random(), keras.config.dtype_policy()) == (expected, policy)
    with pytest.raises(cifar.InputError, match=r"images: float32 of shape .*; accepted: uint8 of shape"):
        run.predict(images.astype(np.float32))


@pytest.fixture
def child(monkeypatch, tmp_path):
    """child(code): from here on, a training is a process that runs this code; `say(line)` prints, `report` reports."""

    def replace(code: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from cifar.runtime.job_report import report\n"
            "import os, signal, time\n" + code
        )
        monkeypatch.setattr(training, "RUN_PROCESS", (sys.executable, str(script)))

    return replace


def test_training_is_followed_and_loaded(child, uri, ids, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    child(f"report(run={ids[0]!r}); print(sys.argv[1:], 'KERAS_BACKEND' in os.environ)")
    assert cifar.run("model=cnn3", tracking_uri := f"tracking.uri={uri}").id == ids[0]
    assert capsys.readouterr().out == f"{['model=cnn3', tracking_uri]} False\n"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("sys.exit(print('error: epochs=0: should be greater than 0', file=sys.stderr) or 2)", cifar.InputError,
         "epochs=0: should be greater than 0"),
        ("print('failed: the loss is not finite'); sys.exit(1)", cifar.TrainingError, "the loss is not finite"),
        ("report(run='abcd'); print('failed: disk full; python run.py resume=abcd resumes the run'); sys.exit(1)",
         cifar.TrainingError, "disk full; cifar.run(resume='abcd') resumes the run"),
        ("os.kill(os.getpid(), signal.SIGKILL)", cifar.TrainingError, "the training ended with exit code -9"),
        ("", cifar.InputError, "nothing was recorded, as with dry_run=true; the command line is for this"),
    ],
)  # fmt: skip
def test_end_of_a_training_is_an_error_with_its_line(child, code, kind, message, capsys):
    child(code)
    with pytest.raises(kind) as end:
        cifar.run()
    assert (str(end.value), capsys.readouterr().out) == (message, "")


def test_interrupt_is_passed_on(child):
    child(
        "def end(*_):\n"
        "    print('interrupted by SIGINT; python run.py resume=abcd resumes the run', flush=True); sys.exit(130)\n"
        "signal.signal(signal.SIGINT, end); report(run='abcd'); os.kill(os.getppid(), signal.SIGINT)\n"
        "time.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt, match=r"interrupted by SIGINT; cifar.run\(resume='abcd'\) resumes the run"):
        cifar.run()


def test_terminal_does_not_signal_a_training(child, monkeypatch):
    sessions = []
    started = subprocess.Popen

    def start(*arguments, **options):
        sessions.append(options["start_new_session"])
        return started(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    child("sys.exit(2)")
    with pytest.raises(cifar.InputError):
        cifar.run()
    assert sessions == [True]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
