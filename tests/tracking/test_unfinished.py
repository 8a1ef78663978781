"""Runs that ended early, and the command line that resumes them: data, locks, settings; no training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar import tracking
from cifar.config import overrides
from cifar.config.compose import resolve
from cifar.runtime import processes
from cifar.runtime.errors import InputError
from cifar.tracking import queries, starts, store
from cifar.tracking.environment import Code
from cifar.training.experiment import Experiment
from helpers.runs import composed, record, sqlite


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of a store that is there already."""
    folder = tmp_path_factory.mktemp("store")
    tracking.connect(sqlite(folder))
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of images of one's own, with two classes."""
    root = tmp_path / "photos"
    for number, path in enumerate(
        root / part / name / f"{index}.png" for part in ("train", "test") for name in ("cat", "dog")
        for index in range(9)
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    return root


@pytest.fixture
def killed(folder):
    """killed(*overrides): the id of a run that was killed after its second epoch."""

    def run(*given: str) -> str:
        experiment = Experiment.prepare(resolve(composed(*given, f"tracking.uri={sqlite(folder)}")))
        tracking.connect(sqlite(folder))
        with pytest.raises(KeyboardInterrupt), tracking.start(experiment.settings.tracking) as run:
            run.log_settings(experiment.settings)
            run.log_dataset(experiment.dataset)
            run.log_start(experiment.settings, 1, 0)
            for epoch in (1, 2):
                run.log_metrics({"train/loss": 1.0}, step=epoch)
            raise KeyboardInterrupt
        return run.id

    return run


def find(folder: Path, run_id: str, *given: str):
    """What `run.py resume=RUN_ID …` resumes, and with which settings."""
    overridden = overrides.composable([f"resume={run_id}", *given, f"tracking.uri={sqlite(folder)}"])
    return tracking.find_resumable(composed(*overridden), overridden)


class TestData:
    def test_images_and_classes_that_were_added(self, mistake, killed, photos, folder):
        run = killed("data=folder", f"data.path={photos}", "data.size=8")
        resume = f"resume={run}", f"tracking.uri={sqlite(folder)}"
        Image.new("RGB", (8, 8), "red").save(photos / "train/dog/new.png")
        assert mistake(*resume) == f"data: not those of run {run}: 17 train images, not 16"
        shutil.copytree(photos / "train/cat", photos / "train/fox")
        shutil.copytree(photos / "test/cat", photos / "test/fox")
        assert mistake(*resume).startswith(f"data: not those of run {run}: class 'fox' is new; ")

    def test_image_that_was_changed(self, mistake, killed, photos, folder):
        run = killed("data=folder", f"data.path={photos}", "data.size=8")
        shutil.copy(photos / "test/dog/0.png", photos / "test/dog/1.png")
        told = mistake(f"resume={run}", f"tracking.uri={sqlite(folder)}")
        assert told == f"data: not those of run {run}: other images or targets"

    def test_same_data_elsewhere(self, killed, photos, tmp_path, folder):
        run = killed("data=folder", f"data.path={photos}", "data.size=8")
        moved = photos.rename(tmp_path / "moved")
        with pytest.raises(InputError, match="photos"):
            Experiment.prepare(find(folder, run)[0])
        settings, unfinished = find(folder, run, f"data.path={moved}")
        unfinished.check_data(Experiment.prepare(settings).dataset)

    def test_path_is_recorded_so_that_it_is_found_from_any_folder(self, killed, photos, tmp_path, monkeypatch, folder):
        monkeypatch.chdir(tmp_path)
        run = killed("data=folder", "data.path=photos", "data.size=8")
        monkeypatch.chdir("/")
        settings, unfinished = find(folder, run)
        assert settings.data.path == str(photos)
        unfinished.check_data(Experiment.prepare(settings).dataset)
        assert mlflow.MlflowClient(sqlite(folder)).get_run(run).data.params["data.path"] == str(photos)

    def test_auto_passes_over_runs_of_other_data(self, killed, photos, tmp_path, monkeypatch, folder):
        given = "data=folder", "data.path=photos", "data.size=8", f"tracking.uri={sqlite(folder)}"
        monkeypatch.chdir(tmp_path)
        run = killed(*given)
        experiment = Experiment.prepare(resolve(composed(*given)))
        assert tracking.newest_unfinished(experiment.settings, experiment.dataset).id == run
        Image.new("RGB", (8, 8), "red").save(photos / "train/dog/new.png")
        other = Experiment.prepare(resolve(composed(*given)))
        assert tracking.newest_unfinished(other.settings, other.dataset) is None

    def test_auto_finds_every_run_that_is_known_by_its_settings(self, killed, folder, monkeypatch):
        """Also where the process ended while they were being recorded: at each request to the store."""
        given = "data=digits", "seed=77", f"tracking.uri={sqlite(folder)}"
        experiment = Experiment.prepare(resolve(composed(*given)))
        requests = iter(())

        def ends_the_process(real):
            def request(*arguments, **named):
                if next(requests, None) == 0:
                    raise KeyboardInterrupt
                return real(*arguments, **named)

            return request

        for name in ("set_tag", "log_batch", "log_artifact"):
            monkeypatch.setattr(mlflow.MlflowClient, name, ends_the_process(getattr(mlflow.MlflowClient, name)))
        known = []
        for last in range(8):
            requests = iter(range(last, -1, -1))
            run = killed(*given)
            if "settings_sha256" in mlflow.MlflowClient().get_run(run).data.tags:
                known.append(run)
                found = tracking.newest_unfinished(experiment.settings, experiment.dataset)
                assert found.id == run
                found.lock.release()
        assert 2 <= len(known) < 8


class TestClaim:
    def test_run_that_another_has_resumed(self, mistake, killed, folder):
        run = killed("data=digits", "seed=7")
        held = store.claim_run(sqlite(folder), run)
        told = mistake(f"resume={run}", f"tracking.uri={sqlite(folder)}")
        assert told == f"resume={run}: another process has just resumed the run"
        experiment = Experiment.prepare(resolve(composed("data=digits", "seed=7", f"tracking.uri={sqlite(folder)}")))
        assert tracking.newest_unfinished(experiment.settings, experiment.dataset) is None
        held.release()
        assert tracking.newest_unfinished(experiment.settings, experiment.dataset).id == run

    def test_run_of_another_machine_that_is_gone(self, killed, folder, monkeypatch):
        """Its process cannot be looked at; the lock that it held tells."""
        given = "data=digits", "seed=8", f"tracking.uri={sqlite(folder)}"
        monkeypatch.setattr(processes.platform, "node", lambda: "node1")
        run = killed(*given)
        mlflow.MlflowClient(sqlite(folder)).update_run(run, "RUNNING")  # as power fails
        monkeypatch.setattr(processes.platform, "node", lambda: "node2")
        experiment = Experiment.prepare(resolve(composed(*given)))
        held = store.claim_run(sqlite(folder), run)
        assert tracking.newest_unfinished(experiment.settings, experiment.dataset) is None
        held.release()
        found = tracking.newest_unfinished(experiment.settings, experiment.dataset)
        assert found.id == run
        found.lock.release()
        settings, unfinished = find(folder, run)
        with tracking.start(settings.tracking, unfinished):
            pass

    def test_run_of_another_machine_with_a_folder_of_its_own(self, killed, folder, monkeypatch):
        monkeypatch.setattr(processes.platform, "node", lambda: "node1")
        run = killed("data=digits")
        mlflow.MlflowClient(sqlite(folder)).update_run(run, "RUNNING")
        (lock,) = folder.rglob(f"run-{run}")
        lock.unlink()
        monkeypatch.setattr(processes.platform, "node", lambda: "node2")
        for _ in range(2):
            with pytest.raises(InputError, match="the run is running, as process node1 "):
                find(folder, run)

    def test_job_of_a_sweep_that_runs_elsewhere_is_not_begun_again(self, killed, folder, monkeypatch):
        given = "data=digits", "tracking.parent=abc", "tracking.name=job", f"tracking.uri={sqlite(folder)}"
        monkeypatch.setattr(processes.platform, "node", lambda: "node1")
        run = killed(*given)
        mlflow.MlflowClient(sqlite(folder)).update_run(run, "RUNNING")
        monkeypatch.setattr(processes.platform, "node", lambda: "node2")
        experiment = Experiment.prepare(resolve(composed(*given)))
        held = store.claim_run(sqlite(folder), run)
        with pytest.raises(InputError, match="the run is running, as process node1 "):
            tracking.newest_unfinished(experiment.settings, experiment.dataset)
        held.release()
        found = tracking.newest_unfinished(experiment.settings, experiment.dataset)
        assert found.id == run
        found.lock.release()

    def test_run_holds_its_claim_from_start_to_end(self, killed, folder):
        run = killed("data=digits")
        settings, unfinished = find(folder, run)
        with tracking.start(settings.tracking, unfinished):
            assert store.claim_run(sqlite(folder), run) is None
            with pytest.raises(InputError, match="the run is running, as process"):
                find(folder, run)
        with tracking.start(settings.tracking) as new:
            assert store.claim_run(sqlite(folder), new.id) is None
        assert not [path for path in folder.rglob("*") if path.name in (f"run-{run}", f"run-{new.id}")]
        with pytest.raises(InputError, match=f"^resume={run}: the run is finished"):
            find(folder, run)


class TestSettings:
    def test_the_record_decides_and_overrides_change_it(self, killed, folder):
        run = killed("data=digits", "optimizer=sgd", "model=vgg", "epochs=5")
        settings, _ = find(folder, run, "epochs=9", "evaluate.tta=flip", "optimizer.momentum=0.9", "+state.minutes=3")
        assert (settings.epochs, settings.evaluate.tta, settings.state.minutes) == (9, "flip", 3)
        assert (settings.optimizer.name, settings.model.name, settings.data.name) == ("sgd", "vgg16", "digits")

    def test_the_whole_command_may_be_given_again(self, killed, folder):
        given = "data=digits", "optimizer=sgd", "optimizer.momentum=0.5", "augmentation=[flip]", "experiment=quickstart"
        run = killed(*given)
        find(folder, run, *given)

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (["optimizer.momentum=0.5"], "resume={}: optimizer.momentum=0.5 (the run has 0.9); only epochs, "),
            (["model=resnet20"], "resume={}: model"),
            (["data.limit=10"], "resume={}: data.limit=10 (the run has None); only epochs, "),
            (["epocs=3"], "epocs: unknown setting; did you mean 'epochs'? "),
            (["optimizer.beta_1=0.9"], "optimizer.beta_1: unknown setting; known: "),
            (["~augmentation.shift"], "~augmentation.shift: the run has it, and a resume cannot drop it"),
            (["epochs=1"], "epochs=1: the run has trained 2 epochs already"),
        ],
        ids=str,
    )
    def test_what_would_make_it_another_run(self, mistake, killed, given, told, folder):
        run = killed("data=digits", "optimizer=sgd", "epochs=5")
        assert mistake(f"resume={run}", *given, f"tracking.uri={sqlite(folder)}").startswith(told.format(run))

    def test_sweep_is_no_run(self, mistake, tmp_path, command, folder):
        uri = sqlite(folder)
        record(uri, "a run")
        of_sweep = resolve(composed("data=digits")).tracking
        with tracking.sweep(of_sweep, "key", ["digits"], True) as parent:
            pass
        told = mistake(f"resume={parent.id}", f"tracking.uri={uri}")
        assert told.startswith(f"run {parent.id} is a sweep, ")
        for words in (("evaluate", parent.id), ("export", parent.id, tmp_path / "out")):
            done = command(uri, *words)
            assert (done.code, done.stdout) == (2, "")
            assert done.stderr.startswith(f"error: run {parent.id} is a sweep, ")

    def test_run_without_weights(self, killed, command, folder):
        run = killed("data=digits")
        done = command(sqlite(folder), "evaluate", run)
        assert (done.code, done.stderr) == (2, f"error: run {run}: it is KILLED and has no model.weights.h5\n")


class TestStarts:
    """What a resume changes is recorded, with the epoch from which it holds."""

    @pytest.fixture
    def resumed(self, folder, monkeypatch):
        """resumed(run_id, *overrides): resume a run by other code in its third epoch, and kill it in its fourth."""

        def run(run_id: str, *given: str) -> None:
            monkeypatch.setattr("cifar.tracking.environment.code", lambda: Code("a" * 40, "a diff"))
            settings, unfinished = find(folder, run_id, *given)
            with pytest.raises(KeyboardInterrupt), tracking.start(settings.tracking, unfinished) as run:
                run.log_start(settings, 3, 0)
                run.log_metrics({"train/loss": 1.0}, step=3)
                raise KeyboardInterrupt

        return run

    def test_settings(self, killed, resumed, folder, capfd):
        run = killed("data=digits", "schedule=cosine", "schedule.warmup_epochs=0", "epochs=5")
        resumed(run, "epochs=9")
        told = "the run was started with 5, and schedule=cosine depends on it: its learning rate is another from epoch"
        assert capfd.readouterr().err == f"warning: epochs=9: {told} 3 on\n"
        assert find(folder, run)[0].epochs == 9, "the next resume goes by the latest settings"
        (stored,) = queries.find_runs([run])
        assert (stored.params["epochs"], queries.settings(stored).epochs) == ("9", 9)
        assert stored.tags["schedule_moved"] == "epochs 5, 9 from epoch 3"

    def test_schedule_that_does_not_depend_on_epochs(self, killed, resumed, folder, capfd):
        run = killed("data=digits", "schedule=constant", "epochs=5")
        resumed(run, "epochs=9")
        assert capfd.readouterr().err == ""
        assert "schedule_moved" not in queries.find_runs([run])[0].tags

    def test_code_command_and_machine(self, killed, resumed, folder, monkeypatch):
        monkeypatch.setattr("cifar.tracking.environment.code", lambda: Code("b" * 40, ""))
        run = killed("data=digits")
        monkeypatch.setattr("sys.orig_argv", ["run.py", f"resume={run}", "tracking.uri=postgresql://me:sec@ret@host"])
        resumed(run)
        first, second = json.loads(Path(mlflow.artifacts.download_artifacts(f"runs:/{run}/starts.json")).read_text())
        assert (first["git_commit"], first["git_diff"], first["epoch"]) == ("b" * 40, None, 1)
        assert (second["git_commit"], second["git_diff"], second["epoch"]) == ("a" * 40, "git.2.diff", 3)
        assert second["command"] == ["run.py", f"resume={run}", "tracking.uri=postgresql://me:***@host"]
        assert {"keras", "cpu", "host"} <= second["environment"].keys()
        changes = Code("a" * 40, "a diff").changes[:10]
        expected = f"{'b' * 10}, {'a' * 10} with changes {changes} from epoch 3"
        assert queries.find_runs([run])[0].tags["code"] == expected

    def test_start_that_trained_nothing_is_no_part_of_the_code(self):
        begun = ("a", 1), ("b", 1), ("c", 4)
        found = [{"epoch": epoch, "step": 0, "git_commit": letter * 40, "git_changes": ""} for letter, epoch in begun]
        assert starts.code(found) == f"{'b' * 10}, {'c' * 10} from epoch 4"

    def test_run_of_an_earlier_version(self):
        (start,) = starts.of_earlier_version({"git_commit": "a" * 40, "git_dirty": "True"})
        assert starts.code([start]) == f"{'a' * 10} with changes"
