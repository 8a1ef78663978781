"""More devices and more processes give the training that one gives; what cannot work is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.distributed.shard import Shard
from cifar.runtime.paths import ROOT
from helpers.processes import KILLED_WRITING, Completed, clean_environment, free_port, run_python
from helpers.runs import TINY, finished_run, metric_history, sqlite, weight_arrays

TOLERANCE = 2e-6
"""Of weights and losses, which are about 1: a few units in the last place of float32, from sums in another order."""

# 273 images in batches of 24 leave 9 for the last, of which two devices get 4 and 5.
DIGITS = ("data=digits", "data.limit=303", "model.filters=[4]", "model.classifier.units=[]", "batch_size=24",
          "epochs=4", "schedule=constant", "augmentation=[rotation,brightness,mixup]",
          "weight_averaging=lookahead")  # fmt: skip
ON_JAX = (*DIGITS, "backend=jax", "distribute=data_parallel")


def assert_same_training(store: Path, expected: Path) -> None:
    for ours, theirs in (
        (weight_arrays(store), weight_arrays(expected)),
        (metric_history(store), metric_history(expected)),
    ):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=TOLERANCE, err_msg=name)


class TestMirrored:
    # TensorFlow has no variable for this; the number of devices is asked for before anything else is.
    TWO_DEVICES = """
import runpy, sys
import tensorflow as tf
processor, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, 2 * [tf.config.LogicalDeviceConfiguration()])
from helpers.runs import composed
main = runpy.run_path("run.py")["main"]
def run(folder, *overrides):
    try:
        main(composed(f"tracking.uri=sqlite:///{sys.argv[1]}/{folder}/mlflow.db", *sys.argv[2:], *overrides))
    except SystemExit as end:
        print("exit code", end.code)
run("none")
run("mirrored", "distribute=mirrored")
run("refused", "distribute=mirrored", "batch_size=25")
run("refused", "distribute=mirrored", "batch_size=34")
"""

    @pytest.mark.slow
    def test_two_devices_train_as_one_does(self, tmp_path):
        done = run_python("-c", self.TWO_DEVICES, tmp_path, *DIGITS, "epochs=2", PYTHONPATH="tests")
        assert done.code == 0, done.stderr
        assert_same_training(tmp_path / "mirrored", tmp_path / "none")
        assert finished_run(tmp_path / "mirrored").data.tags["devices"] == "2"
        assert done.stdout.splitlines()[-2:] == 2 * ["exit code 2"]
        assert done.stderr.splitlines()[-2:] == [
            "error: batch_size=25: should be a multiple of 2, the number of devices",
            "error: batch_size=34: the last batch of 273 images has 1, fewer than the 2 devices",
        ]
        assert not any((tmp_path / "refused").rglob("work"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> dict[str, str]:
    """The variables by which JAX keeps what it has compiled, for the tests that come after."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("jax")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache) -> Path:
    """The store of a run on JAX on one device."""
    store = tmp_path_factory.mktemp("undisturbed")
    done = run_python(ROOT / "run.py", *ON_JAX, f"tracking.uri={sqlite(store)}", cwd=store, **cache)
    assert (done.code, done.stderr) == (0, "")
    first = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert first == ["run", *4 * ["epoch"], "test:", "python"]
    return store


def start_two(store: Path, *overrides: str, **variables: str) -> list[subprocess.Popen]:
    """Two processes that train together."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-u", ROOT / "run.py", *overrides, f"tracking.uri={sqlite(store)}"]
    shared = {**clean_environment(), **variables, "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
              "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}  # fmt: skip
    return [subprocess.Popen(command, cwd=store, env={**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(index)}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(2)]  # fmt: skip


def ended(processes: list[subprocess.Popen]) -> list[Completed]:
    outputs = [process.communicate(timeout=300) for process in processes]
    return [Completed(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


class TestJax:
    @pytest.mark.slow
    def test_run_is_recorded_as_any(self, undisturbed):
        run = finished_run(undisturbed)
        assert {"test/accuracy", "best/loss", "model/flops"} <= run.data.metrics.keys()
        assert run.data.metrics["model/flops"] == pytest.approx(2 * 9 * 64 * 4 + 2 * 64 * 10, rel=0.2)
        model = mlflow.MlflowClient(sqlite(undisturbed)).search_logged_models([run.info.experiment_id])
        assert len(model) == 1

    @pytest.mark.slow
    def test_evaluate_prints_what_is_stored(self, undisturbed):
        run = finished_run(undisturbed)
        done = run_python("-m", "cifar", "--tracking-uri", sqlite(undisturbed), "evaluate", run.info.run_id)
        assert (done.code, done.stderr) == (0, "")
        assert f"test/accuracy {run.data.metrics['test/accuracy']:.4f}" in done.stdout.splitlines()

    @pytest.mark.slow  # two whole runs
    def test_killed_and_resumed_it_ends_the_same_to_the_bit(self, undisturbed, tmp_path, cache):
        (tmp_path / "killed_writing.py").write_text(KILLED_WRITING)
        overrides = (*ON_JAX, "state.minutes=0.0005", "resume=auto", f"tracking.uri={sqlite(tmp_path)}")
        killed = run_python(tmp_path / "killed_writing.py", 11, ROOT / "run.py", *overrides, cwd=tmp_path, **cache)
        assert killed.code == -signal.SIGKILL, killed.stderr
        (state, *_) = sorted((tmp_path / "mlruns").glob("*/work/state/*.json"), reverse=True)
        assert int(state.stem.split("-")[1]) > 0, "not within an epoch"
        done = run_python(ROOT / "run.py", *overrides, cwd=tmp_path, **cache)
        assert (done.code, done.stderr) == (0, "")
        assert (
            finished_run(tmp_path).data.tags["weights_sha256"] == finished_run(undisturbed).data.tags["weights_sha256"]
        )
        assert {name: list(values) for name, values in metric_history(tmp_path).items()} == {
            name: list(values) for name, values in metric_history(undisturbed).items()}  # fmt: skip

    @pytest.mark.slow
    def test_two_processes_train_as_one_does(self, undisturbed, tmp_path, cache):
        first, second = ended(start_two(tmp_path, *ON_JAX, **cache))
        assert (first.code, first.stderr, second) == (0, "", Completed(0, "", ""))
        assert finished_run(tmp_path).data.tags["devices"] == "2"
        assert_same_training(tmp_path, undisturbed)

    @pytest.mark.slow
    def test_two_processes_interrupted_go_on_as_one_on_three_devices(self, undisturbed, tmp_path, cache):
        processes = start_two(tmp_path, *ON_JAX, **cache)
        for line in processes[0].stdout:
            if line.startswith("epoch"):
                break
        processes[1].send_signal(signal.SIGTERM)
        recorded, other = ended(processes)
        assert (recorded.code, recorded.stderr.partition(";")[0]) == (143, "interrupted by SIGTERM")
        assert (other.code, other.stderr) == (143, "interrupted by SIGTERM\n")
        three = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
        overrides = (*ON_JAX, "resume=auto", f"tracking.uri={sqlite(tmp_path)}")
        done = run_python(ROOT / "run.py", *overrides, cwd=tmp_path, **three)
        assert (done.code, done.stderr) == (0, "")
        assert "epoch 1/4" not in done.stdout
        assert_same_training(tmp_path, undisturbed)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.data())
def test_shards_hold_every_image_once(each, count, whole, data):
    devices = each * count
    batch_size = whole * devices
    images = data.draw(st.integers(1, batch_size))
    shards = [Shard(index, count, devices) for index in range(count)]
    rows = np.concatenate([shard.rows(images, batch_size) for shard in shards])
    places = shards[0].places(images, batch_size)
    assert list(rows[places]) == list(range(images))
    assert len(rows) % devices == 0
    assert (len(rows) == batch_size) == (images == batch_size)
    own = [part.sum() for part in np.split(np.isin(np.arange(len(rows)), places), devices)]
    assert own == list(shards[0].sizes(images))
    assert max(own) - min(own) <= 1


class TestRefusals:
    """One line, before TensorFlow loads."""

    @pytest.fixture(autouse=True)
    def no_variables(self, monkeypatch):
        monkeypatch.delenv("KERAS_BACKEND", raising=False)

    @pytest.mark.parametrize(
        ("overrides", "why"),
        [
            (["distribute=data_parallel"], "distribute=data_parallel: Keras spreads a training over processes on JAX"),
            (["backend=jax", "distribute=mirrored"], "distribute=mirrored: the mirrored strategy is TensorFlow's"),
            (["distribute=mirrored", "optimizer.clip_norm=1"], "optimizer.clip_norm: with distribute=mirrored"),
            (["distribute=mirrored", "precision=mixed_float16"], "precision=mixed_float16: with distribute=mirrored"),
            (["backend=torch"], "backend=torch: should be 'tensorflow' or 'jax'"),
        ],
    )
    def test_settings(self, mistake, overrides, why):
        assert mistake(*TINY, *overrides).startswith(why)

    def test_jax_that_is_not_installed(self, mistake, monkeypatch):
        monkeypatch.setitem(sys.modules, "jax", None)
        assert mistake(*TINY, "backend=jax").startswith("backend=jax: jax is not installed")

    def test_backend_that_the_environment_contradicts(self, mistake, monkeypatch):
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        assert mistake(*TINY) == "backend=tensorflow: the environment has KERAS_BACKEND=jax; unset it"

    @pytest.mark.parametrize(
        ("variables", "why"),
        [
            (
                {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2", "KERAS_DISTRIBUTION_JOB_ADDRESSES": "localhost:1"},
                "KERAS_DISTRIBUTION_NUM_PROCESSES: needs KERAS_DISTRIBUTION_PROCESS_ID too",
            ),
            (
                {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2", "KERAS_DISTRIBUTION_JOB_ADDRESSES": "localhost:1",
                 "KERAS_DISTRIBUTION_PROCESS_ID": "2"},
                "distribute=data_parallel: process 2 of 2: should be counted from 0",
            ),
            (
                {"SLURM_NTASKS": "4"},
                "distribute=data_parallel: SLURM has given 4 tasks, of which this process is none; start it by `srun`",
            ),
        ],
    )  # fmt: skip
    def test_processes(self, mistake, monkeypatch, variables, why):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert mistake(*TINY, "backend=jax", "distribute=data_parallel") == why
