"""`python -m cifar runs`: which runs it lists, in which order, and how the table fits its place."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace

import mlflow
import pytest

from cifar import tracking
from cifar.analysis import listing
from cifar.config.settings import TrackingSettings
from cifar.runtime import terminal
from cifar.runtime.paths import ROOT
from helpers.processes import clean_environment, error_line, run_python, run_warm
from helpers.runs import record, sqlite


@dataclass(frozen=True)
class Store:
    """Two runs of their own, a sweep of two jobs of which one has failed, and a run whose process was killed."""

    uri: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Store:
    uri = sqlite(tmp_path_factory.mktemp("store"))
    ids = {"first": record(uri, "first", right=0.7)}
    plain = TrackingSettings(uri=uri, experiment="digits", name="sweep of lr", parent=None)
    with tracking.start(plain) as parent:
        ids["sweep"] = parent.id
        ids["lr=1"] = record(uri, "lr=1", right=0.9, parent=parent.id)
        failing = plain.model_copy(update={"name": "lr=2", "parent": parent.id})
        with pytest.raises(RuntimeError), tracking.start(failing) as run:
            raise RuntimeError
        ids["lr=2"] = run.id
    ids["other"] = record(uri, "other", "tracking.experiment=elsewhere", right=0.8)
    script = """
import os, sys
from cifar import tracking
from cifar.config.settings import TrackingSettings
from cifar.runtime.paths import ROOT
tracking.connect(sys.argv[1])
with tracking.start(TrackingSettings(uri=sys.argv[1], experiment="digits", name="gone", parent=None)) as run:
    print(run.id, flush=True)
    os._exit(9)
"""
    ids["gone"] = run_warm("-c", script, uri).stdout.strip()
    return Store(uri, ids)


@pytest.fixture
def runs(command, stored, monkeypatch):
    """runs(*arguments): the lines that `python -m cifar runs ARGUMENTS…` prints on a wide terminal."""

    def listed(*arguments: object, columns: int = 200) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        done = command(stored.uri, "runs", *arguments)
        assert (done.code, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return listed


def names(lines: list[str]) -> list[str]:
    """The second column, below the header, with its indentation."""
    start = lines[0].index("name")
    return [line[start : start + 16].split("  ")[0].rstrip() for line in lines[1:]]


class TestOrder:
    def test_newest_first_and_jobs_under_their_sweep_in_their_order(self, runs):
        assert names(runs()) == ["gone", "other", "sweep of lr", "└ lr=1", "└ lr=2", "first"]

    def test_jobs_of_jobs_and_circles_are_listed_too(self, stored):
        tracking.connect(stored.uri)
        (run,) = tracking.queries.find_runs([stored.ids["first"]])
        family = [replace(run, id=own, parent=parent) for own, parent in
                  (("d", "c"), ("c", "b"), ("b", "a"), ("a", None), ("x", "y"), ("y", "x"), ("z", "z"))]  # fmt: skip
        listed = [(entry.id, [job.id for job in jobs]) for entry, jobs in listing.nested(family)]
        assert listed == [("d", []), ("c", []), ("a", ["b"]), ("x", []), ("y", []), ("z", [])]

    def test_sorted_list_is_flat_and_has_the_best_first(self, runs):
        assert names(runs("--sort", "test/accuracy")) == ["lr=1", "other", "first"]

    def test_of_a_loss_the_smallest_is_the_best(self, runs):
        lines = runs("--sort", "test/loss")
        assert names(lines) == ["lr=1", "other", "first"]
        assert lines[0].split()[-1] == "test/loss"
        assert lines[1].split()[-1] == "0.1000"

    def test_limit_counts_a_sweep_as_one(self, runs):
        lines = runs("--limit", 3)
        assert names(lines[:-1]) == ["gone", "other", "sweep of lr", "└ lr=1", "└ lr=2"]
        assert lines[-1] == "1 more: --limit 4"


class TestFilters:
    def test_experiment(self, runs):
        assert names(runs("--experiment", "elsewhere")) == ["other"]

    def test_status_is_the_one_that_holds_and_not_the_one_that_a_killed_process_left(self, runs, stored):
        assert mlflow.MlflowClient(stored.uri).get_run(stored.ids["gone"]).info.status == "RUNNING"
        assert names(runs("--status", "killed")) == ["gone"]

    def test_job_stands_alone_where_its_sweep_is_not_listed(self, runs):
        assert names(runs("--status", "FAILED")) == ["lr=2"]

    @pytest.mark.parametrize(
        ("condition", "listed"),
        [
            ("test/loss<0.25", ["other", "lr=1"]),
            ("test/loss >= 3e-1", ["first"]),
            ("best/accuracy!=0.8", ["lr=1", "first"]),
            ("best/accuracy==0.8", ["other"]),
            ("metrics.`best/accuracy` > 0.75 and attributes.run_name != 'other'", ["lr=1"]),
            ("params.seed = '0' and attributes.run_name = 'first'", ["first"]),
        ],
    )
    def test_condition(self, runs, condition, listed):
        assert names(runs("--filter", condition)) == listed

    def test_nothing_meets_the_condition(self, runs):
        assert runs("--filter", "best/accuracy>1") == ["no runs"]


class TestTable:
    def test_ids_are_whole_on_a_wide_terminal_and_in_a_pipe(self, runs, stored):
        assert runs()[1].startswith(stored.ids["gone"])
        done = run_warm("-m", "cifar", "--tracking-uri", stored.uri, "runs")
        assert done.stdout.splitlines()[1].startswith(stored.ids["gone"])

    def test_fits_80_columns_with_ids_that_commands_take(self, runs, stored):
        lines = runs(columns=80)
        assert max(map(len, lines)) <= 80
        assert lines[0].split() == ["run", "name", "experiment", "status", "best/accuracy", "test/accuracy"]
        assert not any("…" in line for line in lines)
        beginning = lines[-1].split()[0]
        assert stored.ids["first"].startswith(beginning)
        assert tracking.queries.find(beginning).info.run_id == stored.ids["first"]

    def test_names_of_any_characters_stay_on_their_line(self, command, tmp_path, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        uri = sqlite(tmp_path)
        tracking.connect(uri)
        settings = TrackingSettings(uri=uri, experiment="\x1b]0;digits", name="\x1b[31mred\r\nnext‮", parent=None)
        with tracking.start(settings):
            pass
        out = command(uri, "runs").stdout
        assert len(out.splitlines()) == 2
        assert not {"\x1b", "\r", "‮"} & set(out)

    def test_needs_no_tensorflow(self, stored):
        script = """
import sys
from cifar import __main__
__main__.main()
print(*sorted({"tensorflow", "keras", "matplotlib"} & sys.modules.keys()))
"""
        done = run_python("-c", script, "--tracking-uri", stored.uri, "runs")
        assert (done.code, done.stdout.splitlines()[-1]) == (0, "")

    def test_reader_that_has_enough_is_no_error(self, stored):
        command = [sys.executable, "-m", "cifar", "--tracking-uri", stored.uri, "runs"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (("--experiment", "digit"), "experiment digit: unknown; did you mean 'digits'? known: "),
            (("--sort", "test/acuracy"), "metric test/acuracy: no run has it; did you mean 'test/accuracy'? known: "),
            (("--filter", "test/acuracy>0"), "metric test/acuracy: no run has it; did you mean 'test/accuracy'? "),
            (("--filter", "what is this"), "filter what is this: "),
            (("--filter", "test/loss<1.2.3"), "filter test/loss<1.2.3: "),
        ],
    )
    def test_is_told_in_one_line(self, command, stored, arguments, line):
        assert error_line(command(stored.uri, "runs", *arguments)).startswith(line)


class TestText:
    def test_columns_of_numbers_are_flush_right_and_others_left(self):
        rows = [["name", "n"], ["a", "1"], ["long", "1,000"], ["", "—"]]
        assert terminal.table(rows, 80) == "name      n\na         1\nlong  1,000\n          —"
        rows = [["n", "commit"], ["−0.5", "1a"], ["0.70 ± 0.01 [0.6, 0.8]", "22"]]
        assert terminal.are_numbers(rows) == [True, False]

    def test_the_widest_column_is_cut_but_none_that_must_be_whole(self):
        rows = [["x" * 30, "y" * 20, "z" * 12]]
        assert terminal.table(rows, 50, whole=[0]) == f"{'x' * 30}  {'y' * 7}…  {'z' * 7}…"

    def test_ideographs_take_two_columns(self):
        first, second = terminal.table([["名前", "a"], ["abcd", "b"]], 80).splitlines()
        assert (first, second) == ("名前  a", "abcd  b")

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0.77034, "0.7703"), (357706, "357,706"), (1.2e-5, "1.2e-05"), (0, "0.0000"), (float("nan"), "—"),
         (-0.5, "-0.5000"), (12.5, "12.5000")],
    )  # fmt: skip
    def test_numbers(self, value, shown):
        assert terminal.number(value) == shown

    @pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (65.4, "1:05"), (3600, "1:00:00"), (59.6, "1:00")])
    def test_durations(self, seconds, shown):
        assert terminal.duration(seconds) == shown
