"""Figures of sweeps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cifar.plots import sweeps
from cifar.plots.race import confidence_sequences
from cifar.sweep import pictures
from cifar.sweep.jobs import Job, Outcome

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


class Parent:
    """A run that keeps what it is given to record."""

    def __init__(self, history: list[float] | None = None):
        self.figures, self._history = {}, history or [2.0, 1.0]

    def child_history(self, run_id: str, metric: str) -> list[float]:
        return self._history

    def log_figure(self, figure, name: str) -> None:
        self.figures[name] = figure


def outcome(overrides: str = "", status: str = "FINISHED", **metrics: float) -> Outcome:
    given = (*overrides.split(), f"tracking.name='{overrides}'")
    return Outcome(Job(overrides or "all defaults", given), status, run_id=f"id of {overrides}",
                   metrics={name.replace("_", "/"): value for name, value in metrics.items()})  # fmt: skip


def recorded(outcomes: list[Outcome], objectives=("val/loss",)) -> dict:
    """The titles of the pictures, each of which has been drawn."""
    parent = Parent()
    pictures.record(parent, outcomes, list(objectives))
    for figure in parent.figures.values():
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        with Image.open(drawn) as image:
            assert image.size[0] == 1440
            assert len(np.unique(np.asarray(image.convert("L")))) > 8
    return {name: figure.get_suptitle().replace("\n", " ") for name, figure in parent.figures.items()}


class TestRecord:
    def test_grid(self):
        jobs = [outcome(f"optimizer.lr={lr} optimizer={name}", best_loss=lr + (name == "sgd"))
                for lr in (0.1, 0.01, 0.001) for name in ("adam", "sgd")]  # fmt: skip
        titles = recorded(jobs)
        best = "Best val/loss: 0.001, with optimizer.lr=0.001, optimizer=adam"
        assert titles == {
            "history": "Best val/loss: 0.001, in run 5 of 6",
            "slices": best,
            "parallel_coordinates": best,
            "learning_curves": "Best val/loss: 1, of optimizer.lr=0.1 optimizer=adam",
        }

    def test_one_job(self):
        assert set(recorded([outcome(best_loss=0.5)])) == {"history", "learning_curves"}

    def test_failed_jobs_only(self):
        assert set(recorded([outcome("seed=1", "FAILED"), outcome("seed=2", "FAILED")])) == {"learning_curves"}

    def test_jobs_that_never_began(self):
        parent = Parent()
        pictures.record(parent, [Outcome(Job("seed=1", ("seed=1",)), "FAILED")], ["val/loss"])
        assert parent.figures == {}

    def test_choices_only(self):
        jobs = [outcome(f"optimizer={name} augmentation={more}", best_accuracy=0.5)
                for name in ("adam", "sgd") for more in ("[flip,crop]", "none")]  # fmt: skip
        titles = recorded(jobs, ["val/accuracy"])
        assert "importance" not in titles, "all came to the same"
        assert titles["slices"] == "Best val/accuracy: 0.5, with optimizer=adam, augmentation=[flip,crop] and 3 more"

    def test_pruned_and_failed_jobs_among_finished_ones(self):
        jobs = [
            outcome("optimizer.lr=0.1", "PRUNED"),
            outcome("optimizer.lr=0.2", best_loss=0.3),
            outcome("optimizer.lr=0.3", best_loss=float("nan")),
            outcome("optimizer.lr=0.4", best_loss=0.2),
        ]
        titles = recorded(jobs)
        assert titles["history"] == "Best val/loss: 0.2, in run 4 of 4"
        assert titles["slices"] == "Best val/loss: 0.2, with optimizer.lr=0.4"

    def test_settings_that_only_some_jobs_have(self):
        sgd = outcome("optimizer=sgd optimizer.momentum=0.9", best_loss=0.3)
        adam = outcome("optimizer=adam", best_loss=0.2)
        assert recorded([sgd, adam])["slices"] == "Best val/loss: 0.2, with optimizer=adam, optimizer.momentum=–"

    def test_several_objectives(self):
        jobs = [outcome(f"model.filters=[{n}]", best_loss=1 / n, model_parameters=100.0 * n) for n in (1, 2, 3)]
        worse = outcome("model.filters=[9]", best_loss=2.0, model_parameters=900.0)
        titles = recorded([*jobs, worse], ["val/loss", "model/parameters"])
        assert titles["pareto_front"] == "Pareto front of val/loss and model/parameters: 3 of 4 runs"
        assert titles["history_model_parameters"] == "Best model/parameters: 100, in run 1 of 4"
        assert {"slices_val_loss", "learning_curves_val_loss"} <= set(titles)
        assert "learning_curves_model_parameters" not in titles


class TestVaried:
    def test_states_the_overrides_that_differ(self):
        jobs = [outcome("data=digits +optimizer.lr=1e-3 seed=1"), outcome("data=digits +optimizer.lr=1e-2 seed=1")]
        assert pictures.varied(jobs) == {"optimizer.lr": [0.001, 0.01]}

    def test_what_is_no_number_everywhere_is_a_text(self):
        assert pictures.varied([outcome("x=1"), outcome("x=null")]) == {"x": ["1", "null"]}
        assert pictures.varied([outcome("x=1"), outcome("x=nan")]) == {"x": ["1", "nan"]}


class TestImportances:
    def test_finds_what_decides(self):
        random = np.random.default_rng(0)
        params = {"decides": random.uniform(size=40).tolist(), "helps": ["a", "b"] * 20,
                  "does nothing": random.uniform(size=40).tolist()}  # fmt: skip
        helped = [4.0 * (name == "b") for name in params["helps"]]
        values = [10 * number + more for number, more in zip(params["decides"], helped, strict=True)]
        shares = pictures.importances(params, values)
        assert max(shares, key=shares.get) == "decides"
        assert min(shares, key=shares.get) == "does nothing"
        assert sum(shares.values()) == pytest.approx(1)

    def test_says_nothing_of_too_little(self):
        assert pictures.importances({"x": [1.0, 2.0]}, [0.1, 0.2]) == {}
        assert pictures.importances({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]}, [0.1, 0.2, 0.3]) == {}
        assert pictures.importances({"x": [1.0, 2.0] * 10, "y": ["a"] * 10 + ["b"] * 10}, [0.5] * 20) == {}

    def test_says_nothing_of_fewer_than_twenty_jobs(self):
        params = {"x": [float(n) for n in range(20)], "y": ["a", "b"] * 10}
        assert pictures.importances(params, params["x"]).keys() == {"x", "y"}
        assert pictures.importances({name: column[:19] for name, column in params.items()}, params["x"][:19]) == {}

    @pytest.mark.parametrize("draw", ["seed", "data.val_seed", "data.fold"])
    def test_random_draws_are_no_settings(self, draw):
        draws = [float(n) for n in range(20)]
        assert pictures.importances({"x": [1.0, 2.0] * 10, draw: draws}, draws) == {}


@given(arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 4)), st.booleans())
def test_pareto_front_is_what_no_other_run_beats(values, lower):
    def beats(one, other):
        as_good = one[0] <= other[0] and (one[1] <= other[1] if lower else one[1] >= other[1])
        return as_good and tuple(one) != tuple(other)

    front = sweeps.pareto_optimal(values, [True, lower])
    assert list(front) == [not any(beats(other, one) for other in values) for one in values]


@settings(deadline=None, max_examples=12)
@given(st.lists(finite, min_size=1, max_size=9), st.data())
def test_any_values_can_be_drawn(values, data):
    texts = data.draw(st.lists(st.sampled_from(["a", "$b$", "c" * 60]), min_size=len(values), max_size=len(values)))
    numbers = data.draw(st.lists(finite, min_size=len(values), max_size=len(values)))
    params = {"text": texts, "number": numbers}
    for draw in (sweeps.parallel_coordinates, sweeps.slices):
        draw(params, values, "val/loss", lower=True).savefig(io.BytesIO(), dpi=20)
    ends = ["FAILED", *["FINISHED"] * len(values)]
    sweeps.optimization_history([None, *values], "val/loss", False, ends).savefig(io.BytesIO(), dpi=20)


def test_pruned_and_failed_jobs_are_apart_from_the_others():
    figure = sweeps.optimization_history([None, 0.5, None, 0.4, 0.4], "val/loss", True,
                                         ["PRUNED", "FINISHED", "FAILED", "FINISHED", "FINISHED"])  # fmt: skip
    assert figure.get_suptitle() == "Best val/loss: 0.4, in run 4 of 5 and 1 more"
    results, apart = figure.axes
    assert [label.get_text() for label in apart.get_yticklabels()] == ["failed", "pruned"]
    assert [line.get_xydata().tolist() for line in apart.lines] == [[[3, 0]], [[1, 1]]]
    assert results.collections[0].get_offsets()[:, 0].tolist() == [2, 4, 5]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1e-4, 2.2e-4, 4.6e-4, 1e-3], "log"),
        ([1e-3, 1e-2, 1e-1], "log"),
        ([0.05, 0.15, 0.3, 0.4, 0.5], "linear"),
        ([1, 2, 3], "linear"),
        ([0.0, 1e-3, 1e-1], "linear"),
    ],
)
def test_numbers_spread_over_decades_have_a_logarithmic_axis(values, scale):
    assert sweeps.slices({"x": values}, values, "val/loss", True).axes[0].get_xscale() == scale


def test_bounds_of_a_race_are_shown_where_only_the_last_seed_has_any():
    differences, bounds = np.array([0.03, 0.05, 0.04]), np.array([[-np.inf, np.inf]] * 2 + [[0.02, 0.06]])
    figure = confidence_sequences({"a minus b": (differences, bounds)}, "val/accuracy", 0.0, "a is better")
    (ax,) = figure.axes
    (band,) = (patch for patch in ax.collections if patch.get_label() == "bounds, valid at all times")
    corners = band.get_paths()[0].vertices
    assert {tuple(row) for row in corners} >= {(2.5, 0.02), (3.5, 0.02), (2.5, 0.06), (3.5, 0.06)}
    assert [corners[:, 1].min(), corners[:, 1].max()] == pytest.approx(ax.get_ylim())
