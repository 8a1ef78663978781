"""Lines that are rewritten in place: of a training, of a sweep; on terminals of any width, and without one."""

from __future__ import annotations

import io
import itertools
import sys

import pytest

from cifar.runtime import live
from cifar.runtime.errors import ExitCodes, warn
from cifar.runtime.live import LiveLines
from cifar.runtime.status import status
from cifar.runtime.terminal import fitted, in_columns, text_width
from cifar.sweep.console import Console
from cifar.sweep.jobs import Job, Outcome
from cifar.sweep.results import report, setting_columns, without_common_folder
from cifar.training.progress import Progress
from helpers.terminals import Terminal

METRICS = {"train/loss": 1.5, "train/accuracy": 0.5, "val/loss": 2.5, "val/accuracy": 0.25, "lr": 0.1,
           "images_per_second": 3692.4}  # fmt: skip
NAMED = {
    80: "train/loss 1.5000  val/loss 2.5000  val/accuracy 0.2500",
    120: "train/loss 1.5000  train/accuracy 0.5000  val/loss 2.5000  val/accuracy 0.2500  0:00  0:00 left",
}
"""What a line without a terminal holds, by its width."""


@pytest.fixture
def terminal(monkeypatch):
    """terminal(columns): one of this width."""

    def build(columns: int) -> Terminal:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "24")
        monkeypatch.setenv("TERM", "xterm")
        return Terminal(columns)

    return build


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second later."""
    seconds = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))


def train(stream: io.StringIO, epochs: int = 2, steps: int = 4) -> Progress:
    """The progress of a training of which each epoch is better than the one before."""
    progress = Progress(batch_size=128, steps=steps, epochs=epochs, stream=stream)
    for epoch in range(epochs):
        progress.begin(epoch, 0)
        for step in range(steps):
            progress.step_done(step + 1, {"loss": 1.5})
        progress.epoch_done(METRICS, is_best=True)
    return progress


class TestTraining:
    @pytest.mark.parametrize("columns", [1, 10, 40, 60, 80, 120])
    def test_no_row_is_wider_than_the_terminal(self, columns, terminal, clock):
        stream = terminal(columns)
        train(stream).step_done(3, {"loss": 1.5})
        shown = stream.rows()
        header = next(row for row in shown if "epoch" in row or columns < 40)
        assert all(len(row) < max(columns, 2) for row in shown) or columns < 20
        if columns >= 40:
            assert [row.split()[0] for row in shown[:3]] == ["epoch", "1/2", "2/2"]
            assert header.split()[0] == "epoch"
            assert "val/loss" in header

    def test_columns_by_width(self, terminal, clock):
        heads = {}
        for columns in (40, 80, 120):
            stream = terminal(columns)
            train(stream)
            heads[columns] = stream.rows()[0].split()
        assert heads[40] == ["epoch", "val/loss", "val/accuracy"]
        assert heads[80] == ["epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "time", "left"]
        assert heads[120] == [*heads[80][:5], "images/s", "time", "left"]

    def test_header_comes_again_when_other_columns_fit(self, terminal, clock, monkeypatch):
        stream = terminal(80)
        progress = train(stream, epochs=1)
        monkeypatch.setenv("COLUMNS", "40")
        progress.epoch_done(METRICS, is_best=False)
        assert [row.split()[:2] for row in stream.rows()[:4]] == [
            ["epoch", "train/loss"], ["1/1", "1.5000"], ["epoch", "val/loss"], ["1/1", "2.5000"]
        ]  # fmt: skip

    @pytest.mark.parametrize("columns", NAMED)
    def test_without_a_terminal_lines_name_the_values_that_fit(self, columns, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = io.StringIO()
        train(stream)
        assert stream.getvalue() == f"epoch 1/2  {NAMED[columns]}  best\nepoch 2/2  {NAMED[columns]}  best\n"

    def test_nothing_is_rewritten_where_the_terminal_cannot(self, terminal, clock, monkeypatch):
        stream = terminal(80)
        monkeypatch.setenv("TERM", "dumb")
        train(stream)
        assert not set("\r\x1b") & set(stream.getvalue())

    def test_a_step_is_drawn_five_times_a_second_at_most(self, terminal, monkeypatch):
        stream, now = terminal(80), itertools.count(step=0.001)
        monkeypatch.setattr("time.monotonic", lambda: next(now))
        progress = Progress(batch_size=128, steps=10_000, epochs=1, stream=stream)
        progress.begin(0, 0)
        for step in range(2000):
            progress.step_done(step + 1, {"loss": 1.5})
        assert stream.getvalue().count("step ") <= next(now) / 0.2 + 1

    def test_compilation_in_the_first_step_does_not_count(self, terminal, monkeypatch):
        stream, times = terminal(80), iter([0.0, 100.0, 101.0])
        progress = Progress(batch_size=128, steps=10, epochs=1, stream=stream)
        monkeypatch.setattr("time.monotonic", itertools.count().__next__)
        monkeypatch.setattr("time.perf_counter", lambda: next(times))
        progress.begin(0, 0)
        progress.step_done(1, {"loss": 1.5})
        progress.step_done(2, {"loss": 1.5})
        assert "128 images/s  0:08 left" in stream.getvalue()

    def test_it_does_not_count_in_later_epochs_either(self, terminal, monkeypatch):
        stream, times = terminal(80), iter([0.0, 100.0, 110.0])
        progress = Progress(batch_size=128, steps=2, epochs=3, stream=stream)
        monkeypatch.setattr("time.perf_counter", lambda: next(times))
        progress.begin(0, 0)
        assert stream.rows() == ["epoch 1/3  compiling the first step …"]
        progress.step_done(1, {"loss": 1.5})
        progress.epoch_done(METRICS, is_best=False)
        assert stream.rows()[-2].split()[-2:] == ["1:50", "0:20"]

    def test_nor_does_that_of_the_validation_and_of_a_second_phase(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        stream, now = io.StringIO(), [0.0]
        monkeypatch.setattr("time.perf_counter", lambda: now[0])
        progress = Progress(batch_size=128, steps=2, epochs=5, stream=stream)

        def train(epoch: int, *seconds: int) -> str:
            """The time left after an epoch whose two steps and two batches of validation take these `seconds`."""
            progress.begin(epoch, 0)
            for number, taken in enumerate(seconds):
                if number == 2:
                    progress.validation_begins()
                now[0] += taken
                if number < 2:
                    progress.step_done(number + 1, {"loss": 1.5})
                else:
                    progress.validation_step_done()
            progress.epoch_done(METRICS, is_best=False)
            return stream.getvalue().splitlines()[-1].split()[-2]

        assert train(0, 100, 1, 50, 1) == "0:08"
        assert train(1, 1, 1, 1, 1) == "0:12"
        progress.compiles()
        assert train(2, 200, 10, 50, 10) == "0:40"

    def test_message_at_ctrl_c_has_a_line_of_its_own(self, terminal, clock, monkeypatch):
        stream = terminal(80)
        monkeypatch.setattr(sys, "stderr", stream)
        progress = train(stream, epochs=1)
        progress.begin(1, 0)
        progress.step_done(2, {"loss": 1.5})
        with pytest.raises(SystemExit), ExitCodes():
            stream.write("^C")
            progress.close()
            raise KeyboardInterrupt
        assert stream.rows()[-2:] == ["interrupted", ""]

    def test_warning_has_a_line_of_its_own_and_stays(self, terminal, clock, monkeypatch):
        stream = terminal(80)
        monkeypatch.setattr(sys, "stderr", stream)
        progress = Progress(batch_size=128, steps=9, epochs=1, stream=stream)
        progress.begin(0, 0)
        for step in range(1, 4):
            progress.step_done(step, {"loss": 1.5})
        warn("something")
        progress.step_done(4, {"loss": 1.5})
        assert [row[:18] for row in stream.rows()] == ["warning: something", "epoch 1/1  step 4/"]


class TestStatus:
    def test_is_shown_while_it_lasts(self, terminal, monkeypatch):
        stream = terminal(80)
        monkeypatch.setattr(sys, "stdout", stream)
        with status("loading"):
            assert stream.rows() == ["loading …"]
        assert stream.rows() == [""]

    def test_the_inner_of_two_takes_the_place_of_the_outer(self, terminal, monkeypatch):
        stream = terminal(80)
        monkeypatch.setattr(sys, "stdout", stream)
        with status("loading"):
            with status("unpacking"):
                assert stream.rows() == ["unpacking …"]
            assert stream.rows() == [""]

    def test_is_a_terminals_alone(self, capsys):
        with status("loading"):
            pass
        assert capsys.readouterr() == ("", "")


class TestLines:
    @pytest.mark.parametrize("columns", [80, 100, 40, 20])
    def test_nothing_is_left_of_them_in_another_width(self, columns, terminal, monkeypatch):
        stream, lines = terminal(80), ["a" * 75, "b" * 30, "c"]
        shown = LiveLines(stream)
        shown.print("above")
        shown.show(lines)
        resized = Terminal(columns)
        resized.write(stream.getvalue())  # a terminal wraps its lines anew
        monkeypatch.setenv("COLUMNS", str(columns))
        before = stream.tell()
        shown.show(["d"])
        resized.write(stream.getvalue()[before:])
        assert resized.rows() == ["above", "d"]

    def test_more_lines_than_the_terminal_has(self, terminal):
        stream = terminal(80)
        shown = LiveLines(stream)
        for _ in range(3):
            shown.show([f"line {number}" for number in range(100)])
        assert len(stream.rows()) == 23

    def test_close_leaves_them(self, terminal):
        stream = terminal(80)
        shown = LiveLines(stream)
        shown.show(["a", "b"])
        shown.close()
        live.clear()
        assert stream.rows() == ["a", "b", ""]


class TestSweep:
    def test_lines_stay_above_the_table(self, terminal, clock):
        stream = terminal(80)
        console = Console(2, "val/accuracy", stream)
        console.started(Job("seed=1", ()))
        console.draw([])
        console.started(Job("seed=2", ()))
        console.draw([])
        console.ended(Outcome(Job("seed=1", ()), "FINISHED", seconds=2.0))
        above = ["job 1/2: seed=1", "job 2/2: seed=2", "FINISHED seed=1 (0:02)"]
        assert stream.rows() == [*above, ""]
        console.draw([])
        assert stream.rows()[:3] == above and stream.rows()[3].endswith("0 running, 1 FINISHED, 1 waiting")
        console.close()
        assert stream.rows() == [*above, ""]

    @pytest.mark.parametrize(
        ("names", "columns"),
        [
            (["optimizer.lr=0.1 seed=1", "optimizer.lr=0.2 seed=2"], [["lr", "seed"], ["0.1", "1"], ["0.2", "2"]]),
            (["model.dropout=0 x.dropout=1"], [["model.dropout", "x.dropout"], ["0", "1"]]),
            (["trial 3 optimizer.lr=0.1"], [["trial", "lr"], ["3", "0.1"]]),
            (["model=cnn3", "model=resnet depth=8"], [["model", "depth"], ["cnn3", ""], ["resnet", "8"]]),
            (["model.filters=[8, 16] data.path=a b"], [["filters", "path"], ["[8, 16]", "a b"]]),
            (["data.path=a task.status=b"], [["path", "task.status"], ["a", "b"]]),
            (["all"], [["job"], ["all"]]),
            ([], [["job"]]),
        ],
    )
    def test_a_column_for_each_setting(self, names, columns):
        assert setting_columns(names) == columns


def test_paths_of_one_folder_are_shown_by_their_ends():
    rows = [["/data/photos/a", "1"], ["/data/photos/b/c", "2"]]
    assert without_common_folder(rows) == [["…/a", "1"], ["…/b/c", "2"]]
    assert without_common_folder(rows[:1]) == rows[:1]


def test_pairs_in_as_many_columns_as_fit():
    values = {"accuracy": "0.9", "loss": "12.5", "ece": "0.1"}
    assert in_columns(values, 29) == ["accuracy  0.9   loss     12.5", "ece       0.1"]
    assert in_columns(values, 5) == ["accuracy  0.9", "loss     12.5", "ece       0.1"]


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("图像", 4), ("e\u0301x", 2), ("👍", 2), ("한글", 4)])
def test_width_of_text(text, width):
    assert text_width(text) == width
    assert text_width(fitted(text * 9, 9)) <= 9


@pytest.mark.parametrize("columns", [80, 120])
def test_ranking_of_a_sweep_fits_the_terminal(columns, terminal):
    terminal(columns)
    metrics = {"best/epoch": 3.0, "best/loss": 0.5, "best/accuracy": 0.9, "test/accuracy": 0.8}
    names = [f"optimizer.lr={rate} seed={seed}" for rate in (0.1, 0.2) for seed in (1, 2)]
    outcomes = [Outcome(Job(name, tuple(name.split())), "FINISHED", "", "0123456789", metrics, 45.0) for name in names]
    outcomes.append(
        Outcome(Job("optimizer.lr=9 seed=1", ("optimizer.lr=9",)), "FAILED", "the loss is not finite", "ab")
    )
    jobs, seeds = report(outcomes, ["val/loss"]).split("\n\n")
    assert all(len(line) <= columns for line in [*jobs.splitlines(), *seeds.splitlines()])
    assert jobs.split()[:3] == ["lr", "seed", "status"]
    assert ("reason" in jobs) == (columns == 120)
