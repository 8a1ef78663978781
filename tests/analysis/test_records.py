"""`show`, `tag`, `note` and `delete`, and the columns and JSON of `runs`: single recorded runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from cifar import tracking
from cifar.analysis import portrait
from cifar.config.settings import TrackingSettings
from cifar.reference import differences
from helpers.processes import Completed, error_line
from helpers.runs import record, sqlite


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[str, str]:
    """A store with one run, and the id of the run."""
    uri = sqlite(tmp_path_factory.mktemp("store"))
    return uri, record(uri, "first", "optimizer.lr=0.1", "model=resnet20", "callbacks=none", right=0.7)


class Store:
    """store(*arguments): what `python -m cifar ARGUMENTS…` prints on a narrow terminal."""

    def __init__(self, uri: str, run: str, command: Callable[..., Completed]):
        self.uri, self.run, self._command = uri, run, command

    def __call__(self, *arguments: object) -> str:
        done = self._command(self.uri, *arguments)
        assert (done.code, done.stderr) == (0, "")
        return done.stdout

    def fails(self, *arguments: object) -> str:
        """The line of an error."""
        return error_line(self._command(self.uri, *arguments))


@pytest.fixture
def store(recorded, command, monkeypatch) -> Store:
    monkeypatch.setenv("COLUMNS", "80")
    return Store(*recorded, command)


def test_show_says_what_a_run_was_made_of_and_how_it_went(store):
    text = store("show", store.run[:8])
    assert text.startswith(f"run {store.run}: first, of experiment digits\nFINISHED, started ")
    table = text.partition("settings that differ from the defaults\n")[2].partition("\n\n")[0]
    assert [line.split() for line in table.splitlines()] == [
        ["setting", "value", "default"],
        ["model", "resnet20", "cnn3"],
        ["augmentation", "[rotation,shift]", "[rotation,shift,flip]"],
        ["optimizer.lr", "0.1", "0.006"],
        ["callbacks", "[]", "[checkpoint,early_stopping]"],
        ["data", "digits", "cifar10"],
    ]
    assert re.search(r"\nval/loss +2.0000  0.6667  0.6667      3  █▃▁\n", text)
    assert re.search(r"\nbest/epoch +3\n", text)
    assert "\n  tables/  " in text
    assert max(map(len, text.splitlines())) <= 80


def test_json_of_show_and_runs_hold_the_same_run(store):
    shown, (listed,) = json.loads(store("show", store.run, "--json")), json.loads(store("runs", "--json"))
    assert shown["metrics"] == listed["metrics"]
    assert listed["metrics"]["best/accuracy"] == 0.7
    assert shown["history"]["val/loss"] == pytest.approx([2, 1, 2 / 3])
    assert shown["differences"]["model"] == {"value": "resnet20", "default": "cnn3"}
    assert "config.yaml" in shown["files"]


def test_tags_are_set_listed_found_and_removed(store):
    store("tag", store.run, "kind=baseline", "who=a = b")
    assert "tag: kind=baseline\ntag: who=a = b\n" in store("show", store.run)
    lines = store("runs", "--columns", "optimizer.lr,kind", "--filter", "tags.kind = 'baseline'").splitlines()
    assert [line.split()[-2:] for line in lines] == [["optimizer.lr", "kind"], ["0.1", "baseline"]]
    store("tag", store.run, "kind=")
    assert "kind=" not in store("show", store.run)


def test_note_stands_before_the_description_and_can_be_changed(store):
    for note in ("an *idea*", "another"):
        store("note", store.run, note)
        assert f"\nnote: {note}\n" in store("show", store.run)


def test_deleted_run_is_found_no_more_and_a_sweep_goes_with_its_jobs(store):
    with tracking.start(TrackingSettings(uri=store.uri, experiment="digits", name="sweep", parent=None)) as sweep:
        job = record(store.uri, "job", parent=sweep.id)
        assert store.fails("delete", sweep.id) == f"delete {sweep.id}: run {sweep.id} is running"
    text = store("delete", sweep.id)
    assert text.startswith(f"deleted run {sweep.id}: sweep\ndeleted run {job}: job\n")
    assert [run["id"] for run in json.loads(store("runs", "--json"))] == [store.run]
    assert store.fails("show", job).startswith(f"run {job}: was deleted in MLflow; ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("show", "0" * 32), f"run {'0' * 32}: "),
        (("tag", "RUN", "kind"), "tag kind: should be KEY=VALUE"),
        (("tag", "RUN", "settings_sha256=1"), "tag settings_sha256: is set by the program; "),
        (("tag", "RUN", "mlflow.user=1"), "tag mlflow.user: is set by the program; "),
        (("runs", "--columns", "optimiser.lr"), "--columns optimiser.lr: no run has it; did you mean 'optimizer.lr'? "),
    ],
)
def test_mistakes(store, arguments, line):
    assert store.fails(*(store.run if word == "RUN" else word for word in arguments)).startswith(line)


@pytest.mark.parametrize(
    ("values", "bars"),
    [([0, 1, 2, 7], "▁▂▃█"), ([1, 1], "▁▁"), ([3, float("nan"), 1], "█ ▁"), ([], ""), (range(400), None)],
)
def test_sparkline(values, bars):
    drawn = portrait.sparkline(list(values))
    assert drawn == bars if bars is not None else (len(drawn), drawn[0], drawn[-1]) == (40, "▁", "█")


def test_settings_are_compared_with_the_defaults_of_their_choice(compose):
    assert differences.of(compose()) == []
    assert [tuple(one) for one in differences.of(compose("optimizer=sgd", "callbacks.early_stopping.patience=3"))] == [
        ("optimizer", "sgd", "adam"),
        ("callbacks.early_stopping.patience", 3, 10),
    ]
    assert [one.key for one in differences.of(compose("model=resnet", "model.depth=44", "seed=3"))] == [
        "seed",
        "model",
        "model.depth",
    ]
