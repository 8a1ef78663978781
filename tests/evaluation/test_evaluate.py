"""`python -m cifar evaluate`: recorded runs on their own and on other data, under corruptions, and as an ensemble."""

from __future__ import annotations

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from cifar.config.registry import DATASETS
from cifar.evaluation.classes import matched
from cifar.interfaces import VOID, Dataset, Split
from cifar.runtime.errors import InputError
from helpers.processes import error_line
from helpers.runs import TINY, record, sqlite

DIGITS = {"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}


@pytest.fixture
def evaluate(command, quickstart):
    """evaluate(*arguments): the answer of the command for the run of the quickstart."""
    return lambda *arguments: command(quickstart.uri, "evaluate", quickstart.id, *arguments)


@pytest.fixture
def run(quickstart):
    """run(): the run of the quickstart as it is recorded now."""
    return lambda: mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).data


def write_digits(root: Path, names: str = "0123456789") -> Path:
    """The first test image of each digit as a data set `folder` of test images only."""
    test = DATASETS.build(DIGITS, seed=0).test
    for label, name in enumerate(names):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        Image.fromarray(test.images[test.targets["label"].tolist().index(label), :, :, 0]).save(folder / "0.png")
    return root


def numbers(text: str) -> dict[str, float]:
    """The metrics that a command prints, by name."""
    return {name: float(value) for name, value in re.findall(r"^(\S+/\S+) (\S+)$", text, re.MULTILINE)}


class TestOwnData:
    def test_is_printed_and_not_recorded_again(self, evaluate, run):
        before = run()
        done = evaluate()
        assert (done.code, done.stderr) == (0, "")
        assert numbers(done.stdout)["test/accuracy"] == pytest.approx(before.metrics["test/accuracy"], abs=1e-4)
        assert run().metrics == before.metrics
        changed = {name for name in run().tags if run().tags[name] != before.tags.get(name)}
        assert {name.partition(".")[0] for name in changed} == {"looks"}, "only the look at the test images is counted"

    def test_same_data_from_elsewhere_as_json(self, evaluate, quickstart, run):
        (found,) = json.loads(evaluate("data=digits", "--json").stdout)
        assert found["run"] == quickstart.id
        assert found["metrics"]["test/accuracy"] == pytest.approx(run().metrics["test/accuracy"])

    def test_run_that_was_not_evaluated_after_its_training(self, command, quickstart, run):
        client = mlflow.MlflowClient(quickstart.uri)
        copy = client.create_run("0", run_name="not evaluated").info.run_id
        artifacts = mlflow.artifacts.download_artifacts(run_id=quickstart.id, tracking_uri=quickstart.uri)
        client.log_artifacts(copy, artifacts)
        for key in ("dataset_fingerprint", "test_fingerprint"):
            client.set_tag(copy, key, run().tags[key])
        client.set_terminated(copy)
        done = command(quickstart.uri, "evaluate", copy)
        assert (done.code, done.stderr) == (0, "")
        recorded = client.get_run(copy).data.metrics
        assert recorded["test/accuracy"] == pytest.approx(numbers(done.stdout)["test/accuracy"], abs=1e-4)
        client.delete_run(copy)


class TestMovedData:
    @pytest.fixture
    def subject(self, compose, tmp_path, monkeypatch):
        """subject(path): a run of photos that are at `path` now, and were in `photos` when it was trained."""
        from cifar.evaluation.subject import Request, Subject
        from cifar.tracking.queries import StoredRun
        from cifar.training.experiment import load

        for number in range(40):
            path = tmp_path / "photos" / ("train", "test")[number % 2] / ("ant", "bee")[number // 2 % 2]
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path / f"{number}.png")
        settings = compose(*TINY[2:], "data=folder", f"data.path={tmp_path / 'photos'}", "data.size=8")
        dataset = load(settings)
        run = StoredRun("ab" * 16, "", "FINISHED", "", None, None, 0.0, {}, {}, {})
        monkeypatch.setattr("cifar.tracking.stored_run", lambda *_: (settings, Path("weights"), dataset.fingerprint))
        monkeypatch.setattr("cifar.tracking.queries.find_runs", lambda _: [run])
        described = {key: value for key, value in dataset.description.items() if key != "images"}
        monkeypatch.setattr("cifar.tracking.placeholder_dataset", lambda _: Dataset.placeholder(**described))
        return lambda path: Subject.of(None, run.id, Request([f"data.path={path}"] if path else []))

    def test_same_images_are_the_run_s_own_and_others_are_not(self, subject, tmp_path):
        assert subject(None).is_own
        moved = (tmp_path / "photos").rename(tmp_path / "moved")
        with pytest.raises(InputError, match=rf"{tmp_path / 'photos'}"):
            subject(None)
        found = subject(moved)
        assert found.is_own and len(found.experiment.dataset.train) == 18
        Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(next((moved / "test" / "ant").iterdir()))
        other = subject(moved)
        assert (other.prefix, other.source["images"]) == ("moved", 20)


class TestOtherData:
    def test_is_recorded_under_its_name_and_compared(self, evaluate, command, quickstart, run, tmp_path):
        status = mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).info.status
        done = evaluate("data=digits", "data.test_fraction=0.5", "--as", "half")
        assert (done.code, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].startswith("recorded under half/; ")
        printed, recorded = numbers(done.stdout), run()
        assert printed["half/accuracy"] == pytest.approx(recorded.metrics["half/accuracy"], abs=1e-4)
        source = json.loads(recorded.tags["evaluated.half"])
        assert (source["data"], source["images"], source["tta"]) == ("digits", 901, "none")
        client = mlflow.MlflowClient(quickstart.uri)
        assert client.get_run(quickstart.id).info.status == status
        for kind, name in (("tables", "predictions.csv"), ("pictures", "confusion_matrix.png")):
            assert f"{kind}/half/{name}" in [
                entry.path for entry in client.list_artifacts(quickstart.id, f"{kind}/half")
            ]
        assert evaluate("data=digits", "data.test_fraction=0.5", "--as", "half").code == 0
        line = error_line(evaluate("data=digits", "data.test_fraction=0.4", "--as", "half"))
        assert line.startswith(f"run {quickstart.id}: half/… are its metrics on other images (digits, fingerprint ")

    def test_images_of_another_shape(self, evaluate, tmp_path):
        path = write_digits(tmp_path / "photos")
        line = error_line(evaluate("data=folder", f"data.path={path}", "data.size=8"))
        assert line == "data=photos: images are 8×8×3; accepted: 1 channel, as in the run"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (("model=resnet", "model.depth=8", "model.filters=[4,8,8]"), ""),
            (("model=cnn3", "model.filters=[4]", "model.classifier.units=[8]"),
             "data=photos: images are 16×16×3; accepted: 8×8×3, as those of the run, since weights of model=cnn3 "
             "depend on the size"),
        ],
    )  # fmt: skip
    def test_images_of_another_size(self, in_process, command, tmp_path, model, message):
        random = np.random.default_rng(0)
        for path in (tmp_path / "photos" / name / f"{n}.png" for name in ("ant", "bee") for n in range(10)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        uri = sqlite(tmp_path)
        folder = ("data=folder", f"data.path={tmp_path / 'photos'}")
        assert in_process(*folder, "data.size=8", *model, "epochs=1", f"tracking.uri={uri}").code == 0
        (run,) = mlflow.MlflowClient(uri).search_runs(["1"])
        done = command(uri, "evaluate", run.info.run_id, *folder, "data.size=16")
        warned = "warning: data=photos: images are 16×16×3, those of the training 8×8×3"
        assert done.stderr.splitlines() == [warned, *([f"error: {message}"] if message else [])]
        metrics = mlflow.MlflowClient(uri).get_run(run.info.run_id).data.metrics
        assert (done.code, "photos/accuracy" in metrics) == ((2, False) if message else (0, True))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["data=digit"], "data=digit: unknown choice; did you mean 'digits'?"),
            (["data=folder"], "data.path: required setting is missing"),
            (["data.limits=3"], "data.limits: unknown setting; did you mean 'limit'?"),
            (["--map", "a=0"], "evaluate --map: is for other data"),
            (["data=digits", "--map", "a"], "--map a: should be OTHER=OWN"),
            (["data=digits", "data.test_fraction=0.5", "--as", "test"], "--as test: should be letters"),
            (["data=digits", "data.test_fraction=0.5", "--map", "ten=0"], "--map ten: no class of data=digits"),
            (["data=digits", "data.test_fraction=0.5", "--map", "1=one"], "--map 1=one: no class of the run"),
            (["--json", "--twins"], "evaluate --json: cannot go with --twins"),
            (["--ensemble"], "evaluate --ensemble: two runs or more are needed"),
        ],
    )
    def test_mistakes(self, evaluate, arguments, message):
        assert error_line(evaluate(*arguments)).startswith(message)

    def test_mistake_under_a_debugger(self, evaluate, monkeypatch):
        """OmegaConf then adds causes to its errors."""
        monkeypatch.setenv("OC_CAUSE", "1")
        assert error_line(evaluate("data.limits=3")).startswith("data.limits: unknown setting; did you mean 'limit'?")


class TestClasses:
    def dataset(self, **targets) -> Dataset:
        split = Split(np.arange(4, dtype=np.uint8)[:, None, None, None], targets)
        return Dataset("other", split, split, split, ("auto", "cat", "person"))

    def test_labels_are_those_of_the_run(self):
        other = self.dataset(label=np.array([0, 1, 2, 1]), soft_label=np.eye(3, dtype=np.float32)[[0, 1, 2, 1]])
        found = matched(other, ("cat", "dog", "car"), {"auto": "car", "person": ""})
        assert found.targets["label"].tolist() == [2, 0, 0]
        assert found.images[:, 0, 0, 0].tolist() == [0, 1, 3]
        assert found.targets["soft_label"].argmax(axis=1).tolist() == [2, 0, 0]
        assert matched(other, ("cat", "dog"), {"*": ""}).targets["label"].tolist() == [0, 0]
        with pytest.raises(
            InputError, match=r"^data=other: its class 'person': no class of the run; .*`--map person=OWN`"
        ):
            matched(other, ("cat", "auto"), {})
        with pytest.raises(InputError, match="no test image has a class of the run"):
            matched(other, ("cat",), {"*": "", "cat": ""})

    def test_masks_and_boxes(self):
        masks = np.array([0, 1, 2, 3], np.uint8)[:, None, None]
        boxes = np.array([[0, -1], [1, 1], [1, 0], [0, 0]])
        other = self.dataset(mask=masks, classes=boxes)
        found = matched(other, ("dog", "car", "cat"), {"auto": "car", "person": "dog"})
        assert found.targets["mask"].ravel().tolist() == [0, 2, 3, 1]
        assert found.targets["classes"].tolist() == [[1, -1], [2, 2], [2, 1], [1, 1]]
        dropped = self.dataset(mask=masks)
        assert matched(dropped, ("cat",), {"*": ""}).targets["mask"].ravel().tolist() == [0, VOID, 1, VOID]
        with pytest.raises(InputError, match="objects in boxes cannot be left out"):
            matched(self.dataset(classes=boxes), ("cat",), {"*": ""})


class TestCorruptions:
    @pytest.mark.slow
    def test_all_kinds_and_severities(self, evaluate, quickstart, run):
        done = evaluate("--corruptions", "data.limit=100")
        assert (done.code, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        accuracy = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in lines[1:16]}
        assert len(accuracy) == 15 and all(len(values) == 5 for values in accuracy.values())
        assert lines[0] == f"run {quickstart.id}: accuracy at severity 1, 2, 3, 4, 5"
        assert "the severities are made for 32×32 pixels; these images have 8×8" in lines
        metrics = run().metrics
        prefix = "digits.corruptions"
        for kind, values in accuracy.items():
            assert metrics[f"{prefix}/{kind}/accuracy"] == pytest.approx(np.mean(values), abs=1e-4)
        assert metrics[f"{prefix}/accuracy"] == pytest.approx(np.mean(list(accuracy.values())), abs=1e-4)
        client = mlflow.MlflowClient(quickstart.uri)
        assert [entry.path for entry in client.list_artifacts(quickstart.id, f"pictures/{prefix}")] == [
            f"pictures/{prefix}/corruptions.png"
        ]


class TestEnsemble:
    def test_mean_of_two_runs(self, command, quickstart, evaluate, run):
        client = mlflow.MlflowClient(quickstart.uri)
        line = error_line(evaluate(quickstart.id, "--ensemble"))
        assert line == f"--ensemble: run {quickstart.id} is named twice; accepted: different runs"
        copy = client.create_run("0", run_name="copy").info.run_id
        client.log_artifacts(
            copy, mlflow.artifacts.download_artifacts(run_id=quickstart.id, tracking_uri=quickstart.uri)
        )
        client.set_tag(copy, "dataset_fingerprint", run().tags["dataset_fingerprint"])
        client.set_terminated(copy)
        done = evaluate(copy, "--ensemble")
        assert (done.code, done.stderr) == (0, "")
        accuracy = run().metrics["test/accuracy"]
        assert numbers(done.stdout)["ensemble/accuracy"] == pytest.approx(accuracy, abs=1e-4)
        assert done.stdout.splitlines()[-1] == "+0.0000 against the mean accuracy of the 2 runs"
        client.delete_run(copy)


def test_comparison_has_a_table_of_other_data(command, tmp_path):
    from cifar import tracking
    from cifar.interfaces import Evaluation
    from cifar.tracking import queries

    uri = sqlite(tmp_path)
    ids = [record(uri, f"{name}", f"seed={seed}", f"epochs={epochs}")
           for name, epochs in (("short", 1), ("long", 2)) for seed in (1, 2)]  # fmt: skip
    for number, run in enumerate(queries.find_runs(ids)[:3]):
        source = {"data": "photos", "images": 5, "fingerprint": "ab" if number < 2 else "cd", "tta": "none"}
        tracking.EndedRun(run).log_other(Evaluation({"accuracy": 0.5 + number / 10}), "photos", source)
    done = command(uri, "compare", *ids, "--html", tmp_path / "page.html")
    assert done.code == 0, done.stderr
    (text,) = [part for part in done.stdout.split("\n\n") if part.startswith("Other data")]
    assert re.search(r"A +0\.5500 ± 0\.0707\s+B +0\.7000 \(1 of 2 runs\)", text), text
    assert "of photos, the runs have seen different images" in re.sub(r"\s+", " ", text)
    assert "photos/accuracy" in (tmp_path / "page.html").read_text()
