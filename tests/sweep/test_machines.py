"""Runs and sweeps on several machines, of which one fails: nothing is lost, and nothing is done twice.

The machines are namespaces of this one, so that these tests need root; those of SLURM and Ray need them too.
"""

from __future__ import annotations

import functools
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest

from cifar.runtime.paths import ROOT
from helpers import slurm as cluster
from helpers.machines import Machine, Network, reason_against
from helpers.mlflow_server import MlflowServer
from helpers.postgresql import Postgresql
from helpers.processes import run_python, slowdown, wait_for
from helpers.projects import copy_project
from helpers.runs import TINY, arrays_of, sqlite
from helpers.slurm import Slurm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(reason_against()), reason=f"no machines can be made: {reason_against()}"),
]
EPOCHS = 100
LONG = (*TINY, "data.limit=null", f"epochs={EPOCHS}", "callbacks=[checkpoint]")
"""A run of half a minute."""


@pytest.fixture
def network(tmp_path) -> Iterator[Network]:
    network = Network(["head", "node1", "node2"], tmp_path)
    yield network
    network.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a store with the runs of seeds 1, 2 and 3, which nothing has disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = ("--multirun", *LONG, "seed=1,2,3", f"tracking.uri={sqlite(folder)}")
    done = run_python(ROOT / "run.py", *arguments, cwd=folder)
    assert done.code == 0, done
    return folder


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths have at most 107 bytes; those of SLURM in `tmp_path` may have more."""
    with tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def slurm(short_path, network) -> Slurm:
    if why := reason_against(*cluster.NEEDED):
        pytest.skip(why)
    return Slurm(network, short_path)


@pytest.fixture
def ray(network, tmp_path) -> dict[str, str]:
    """A Ray cluster whose jobs run on the nodes, one on each at a time; the variables of who uses it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(), "RAY_USAGE_STATS_ENABLED": "0"}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    head = network["head"]
    head.start(*start, "--head", f"--node-ip-address={head.address}", "--num-cpus=0", "--include-dashboard=false",
               console=tmp_path / "ray.out", **variables)  # fmt: skip
    wait_for(lambda: "ray start --address" in (tmp_path / "ray.out").read_text())
    for name in ("node1", "node2"):
        network[name].start(*start, f"--address={head.address}:6379", f"--node-ip-address={network[name].address}",
                            "--num-cpus=1", console=tmp_path / f"{name}.out", **variables)  # fmt: skip
        wait_for(lambda: "Ray runtime started" in (tmp_path / f"{name}.out").read_text())  # noqa: B023
    return variables


def run(machine: Machine, folder: Path, *overrides: str, **variables: str) -> subprocess.Popen:
    """Start `run.py` on a machine with the store in `folder`, where its console is, too."""
    folder.mkdir(exist_ok=True)
    return machine.start(sys.executable, "run.py", *overrides, f"tracking.uri={sqlite(folder)}",
                         console=folder / "console", cwd=ROOT, **variables)  # fmt: skip


def wait_for_epochs(sweep: subprocess.Popen, folder: Path, count: int = 40) -> None:
    """Until the jobs of a sweep, which runs, have reported as many epochs."""

    def is_reached() -> bool:
        assert sweep.poll() is None, "the sweep has ended"
        return sum(path.read_text().count('"epoch"') for path in folder.rglob("report.jsonl")) > count

    wait_for(is_reached, 300)


def jobs_at(epoch: int, folder: Path) -> int:
    """How many jobs of a sweep have come to this epoch."""
    return sum(f" {epoch}/{EPOCHS} " in path.read_text() for path in folder.rglob("console.log"))


def ended(process: subprocess.Popen) -> int:
    return process.wait(300 * slowdown())


def runs(uri: str) -> dict[str, mlflow.entities.Run]:
    """The runs in a store but those of sweeps, by seed; there is one of each."""
    client = mlflow.MlflowClient(uri)
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "digits"]
    found = client.search_runs([experiment], "tags.settings_sha256 != ''")
    by_seed = {run.data.params["seed"]: run for run in found}
    assert len(by_seed) == len(found), "a job has been run twice"
    return by_seed


def check_equal(folder: Path, undisturbed: Path, uri: str = "") -> None:
    """All runs are finished, with the weights that they have where no machine fails."""
    expected = runs(sqlite(undisturbed))
    for seed, found in runs(uri or sqlite(folder)).items():
        assert found.info.status == "FINISHED"
        arrays = arrays_of(folder / "mlruns" / found.info.run_id)
        for name, value in arrays_of(undisturbed / "mlruns" / expected[seed].info.run_id).items():
            np.testing.assert_array_equal(arrays[name], value, f"seed {seed}: {name}")


def test_run_is_resumed_on_another_machine(network, tmp_path, undisturbed):
    command = (*LONG, "seed=1", "resume=auto")
    first = run(network["node1"], tmp_path / "store", *command)
    wait_for(lambda: f" 40/{EPOCHS} " in (tmp_path / "store" / "console").read_text())
    network["node1"].fail()
    first.wait()
    (begun,) = runs(sqlite(tmp_path / "store")).values()
    assert begun.info.status == "RUNNING"
    assert ended(run(network["node2"], tmp_path / "store", *command)) == 0
    assert "\nresumed " in (tmp_path / "store" / "console").read_text()
    check_equal(tmp_path / "store", undisturbed)


def test_run_is_not_resumed_while_it_runs_on_another_machine(network, tmp_path):
    first = run(network["node1"], tmp_path / "store", *LONG)
    wait_for(lambda: f" 10/{EPOCHS} " in (tmp_path / "store" / "console").read_text())
    network["node1"].plug(False)
    (begun,) = runs(sqlite(tmp_path / "store")).values()
    assert ended(run(network["node2"], tmp_path / "store", f"resume={begun.info.run_id}")) == 2
    assert "the run is running, as process node1 " in (tmp_path / "store" / "console").read_text()
    assert ended(first) == 0


class TestSlurm:
    SWEEP = ("--multirun", "hydra/launcher=submitit", "hydra.launcher.n_jobs=2", "hydra.launcher.cpus_per_task=1",
             *LONG, "seed=1,2,3")  # fmt: skip

    @pytest.fixture
    def sweep(self, slurm, network, tmp_path) -> subprocess.Popen:
        """A sweep in the store in `store`, whose jobs have come to a third of their epochs."""
        sweep = run(network["head"], tmp_path / "store", *self.SWEEP, **slurm.variables)
        wait_for_epochs(sweep, tmp_path / "store")
        return sweep

    def test_node_fails(self, sweep, slurm, network, tmp_path, undisturbed):
        network["node1"].fail()
        wait_for(lambda: "node1" in slurm.command("sinfo", "--noheader", "--dead", "--Node"))
        network["node1"].restart()
        slurm.start_node("node1")
        assert ended(sweep) == 0, (tmp_path / "store" / "console").read_text()
        assert "NODE_FAIL" in slurm.command("sacct", "--duplicates", "--noheader", "--format=State")
        check_equal(tmp_path / "store", undisturbed)

    def test_network_of_a_node_is_cut(self, sweep, network, tmp_path, undisturbed):
        network["node1"].plug(False)
        time.sleep(30)
        network["node1"].plug(True)
        assert ended(sweep) == 0, (tmp_path / "store" / "console").read_text()
        check_equal(tmp_path / "store", undisturbed)

    def test_head_fails_with_controller_accounts_and_sweep(self, sweep, slurm, network, tmp_path, undisturbed):
        network["head"].fail()
        time.sleep(5)
        network["head"].restart()
        slurm.start_controller()
        wait_for(lambda: "idle" in slurm.command("sinfo", "--noheader") or "alloc" in slurm.command("sinfo"))
        assert ended(run(network["head"], tmp_path / "store", *self.SWEEP, **slurm.variables)) == 0
        check_equal(tmp_path / "store", undisturbed)


class TestPostgresql:
    """Two sweeps of one command on two machines, with the record on a third."""

    @pytest.fixture
    def postgresql(self, network, short_path) -> Postgresql:
        if why := Postgresql.reason_against():
            pytest.skip(why)
        short_path.chmod(0o755)
        start = functools.partial(network["head"].start, console=short_path / "console")
        (short_path / "server").mkdir()
        return Postgresql(short_path / "server", network["head"].address, 5432, start)

    @pytest.fixture
    def sweeps(self, postgresql, network, tmp_path) -> list[subprocess.Popen]:
        """The sweeps, whose jobs have come to a fifth of their epochs."""
        project = copy_project(tmp_path / "project")
        command = (sys.executable, "run.py", "--multirun", *LONG, "seed=1,2,3", f"tracking.uri={postgresql.url}")
        sweeps = []
        for number, name in enumerate(("node1", "node2"), 1):
            sweeps.append(network[name].start(*command, console=tmp_path / name, cwd=project))
            wait_for(lambda: "\njob " in (tmp_path / name).read_text())  # noqa: B023
            wait_for(lambda: jobs_at(20, project) >= number)  # noqa: B023
        return sweeps

    def test_one_of_two_machines_fails(self, sweeps, postgresql, network, tmp_path, undisturbed):
        network["node1"].fail()
        assert ended(sweeps[1]) == 0, (tmp_path / "node2").read_text()
        check_equal(tmp_path / "project", undisturbed, postgresql.url)

    def test_network_of_a_machine_is_cut(self, sweeps, postgresql, network, tmp_path, undisturbed):
        network["node1"].plug(False)
        time.sleep(30)
        network["node1"].plug(True)
        assert [ended(sweep) for sweep in sweeps] == [0, 0], (tmp_path / "node1").read_text()
        check_equal(tmp_path / "project", undisturbed, postgresql.url)

    def test_server_is_restarted(self, sweeps, postgresql, network, tmp_path, undisturbed):
        postgresql.stop()
        time.sleep(5)
        postgresql.start()
        assert [ended(sweep) for sweep in sweeps] == [0, 0], (tmp_path / "node1").read_text()
        consoles = [path.read_text() for path in (tmp_path / "project").rglob("console.log")]
        assert not any("the rest is recorded" in console for console in consoles)
        check_equal(tmp_path / "project", undisturbed, postgresql.url)


def test_network_of_a_tracking_server_is_cut(network, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = MlflowServer(folder, network["head"].address, 5000,
                          functools.partial(network["head"].start, console=folder / "console"))  # fmt: skip
    server.start()
    project = copy_project(tmp_path / "project")
    sweep = network["node1"].start(sys.executable, "run.py", "--multirun", *LONG, "seed=1,2", "evaluate.test=true",
                                   f"tracking.uri={server.uri}", console=tmp_path / "console", cwd=project)  # fmt: skip
    wait_for_epochs(sweep, project, 20)
    network["head"].plug(False)
    time.sleep(30)
    network["head"].plug(True)
    assert ended(sweep) == 0, (tmp_path / "console").read_text()
    if (project / "mlflow.db").exists():  # a run that did not wait until the server was back
        network["node1"].run(sys.executable, "-m", "cifar", "sync", cwd=project)
    server.check_sweep(EPOCHS, {"seed=1", "seed=2"})


class TestRay:
    def test_node_fails(self, ray, network, tmp_path, undisturbed):
        address = f"hydra.launcher.address={network['head'].address}:6379"
        sweep = "--multirun", "hydra/launcher=ray", "hydra.launcher.n_jobs=2", address, *LONG, "seed=1,2,3"
        first = run(network["head"], tmp_path / "store", *sweep, **ray)
        wait_for_epochs(first, tmp_path / "store")
        network["node1"].fail()
        assert ended(first) == 1
        console = (tmp_path / "store" / "console").read_text()
        assert console.count("FINISHED seed=") == 2 and console.count("FAILED") and "ray: " in console, console
        assert ended(run(network["head"], tmp_path / "store", *sweep, **ray)) == 0
        assert "\nresumed " in "".join(path.read_text() for path in (tmp_path / "store").rglob("console.log"))
        check_equal(tmp_path / "store", undisturbed)
