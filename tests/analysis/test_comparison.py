"""`python -m cifar compare`: groups, numbers against the stored ones, the page, and one line for each mistake."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import dataclass, replace

import mlflow
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cifar import tracking
from cifar.analysis import html, tables
from cifar.analysis.groups import grouped, named
from cifar.analysis.report import Comparison, as_text
from cifar.config.registry import DATASETS
from cifar.config.settings import TrackingSettings
from cifar.metrics import crossed
from cifar.metrics.statistics import holm, student_interval, welch_interval, wilson_interval
from helpers.pages import Page
from helpers.processes import error_line
from helpers.runs import record, sqlite

HOSTILE = "<script>alert(1)</script>{{ 7*7 }}\"'&\x1b[31m"
SHARES = {"good": 0.9, "bad": 0.7}
IMAGES = 359
"""Test images of digits."""


@dataclass(frozen=True)
class Store:
    """A sweep of two settings with three seeds each and a job that failed; and single runs beside it."""

    uri: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Store:
    uri = sqlite(tmp_path_factory.mktemp("store"))
    tracking.connect(uri)
    of_sweep = TrackingSettings(uri=uri, experiment="digits", name="sweep", parent=None)
    ids = {}
    with tracking.start(of_sweep) as parent:
        ids["sweep"] = parent.id
        for name, lr in (("bad", "1e-3"), ("good", "1e-2")):
            for seed in (1, 2, 3):
                job = f"optimizer.lr={lr} seed={seed}"
                right = SHARES[name] + 0.01 * seed
                ids[f"{name} {seed}"] = record(
                    uri, job, f"optimizer.lr={lr}", f"seed={seed}", right=right, parent=parent.id
                )
        failing = of_sweep.model_copy(update={"name": "failed", "parent": parent.id})
        with pytest.raises(RuntimeError), tracking.start(failing) as run:
            raise RuntimeError
        ids["failed"] = run.id
    with tracking.start(of_sweep.model_copy(update={"name": "empty"})) as parent:
        ids["empty"] = parent.id
    ids["fewer images"] = record(uri, "few", "data.limit=100", "tracking.experiment=few")
    ids["near"] = record(uri, "near", "batch_size=32", "seed=3", "tracking.experiment=near", right=0.95)
    ids["hostile"] = record(uri, HOSTILE, "optimizer=sgd", "tracking.experiment=hostile", right=0.5)
    return Store(uri, ids)


@pytest.fixture
def compare(command, stored, tmp_path, monkeypatch):
    """compare(*arguments): `python -m cifar compare ARGUMENTS…` from `tmp_path`; names stand for the ids of runs."""

    def run(*arguments: object):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "160")
        return command(stored.uri, "compare", *(stored.ids.get(name, name) for name in arguments))

    return run


@pytest.fixture
def rows(compare, tmp_path):
    """rows(title, *arguments): the cells of a table on the page, the header first."""

    def read(title: str, *arguments: object) -> list[list[str]]:
        done = compare(*arguments)
        assert done.code == 0, done
        return Page.of(tmp_path / "comparison.html").tables[title]

    return read


def predictions(stored: Store, name: str) -> list[dict[str, str]]:
    """The stored table itself."""
    uri = mlflow.MlflowClient(stored.uri).get_run(stored.ids[name]).info.artifact_uri
    return list(csv.DictReader(io.StringIO(mlflow.artifacts.load_text(f"{uri}/tables/predictions.csv"))))


def correct(stored: Store, name: str) -> np.ndarray:
    return np.array([row["correct"] == "True" for row in predictions(stored, name)])


class TestGroups:
    def test_runs_that_differ_in_the_seed_only_are_one(self, rows):
        found = rows("Runs", "--sweep", "sweep")
        assert [(row[0], row[3]) for row in found[1:]] == [("A", "1"), ("A", "2"), ("A", "3"), ("B", "1"), ("B", "2"),
                                                          ("B", "3")]  # fmt: skip

    def test_sweep_is_ranked_by_validation_and_tells_what_it_leaves_out(self, compare):
        done = compare("--sweep", "sweep")
        assert done.stderr.splitlines() == [f"warning: sweep {compare_id(done)}: left out are 1 FAILED"]
        lines = done.stdout.splitlines()
        assert lines[1].split() == ["A", "optimizer.lr=1e-2", "3"]
        assert lines[2].split() == ["B", "optimizer.lr=1e-3", "3"]

    def test_named_runs_keep_their_order_and_each_counts_once(self, rows):
        found = rows("Runs", "bad 1", "good 1", "bad 1")
        assert [row[2] for row in found[1:]] == ["optimizer.lr=1e-3 seed=1", "optimizer.lr=1e-2 seed=1"]

    def test_top_counts_settings_and_keeps_their_seeds(self, rows):
        found = rows("Runs", "--experiment", "digits", "--top", 1)
        assert {row[2].split()[0] for row in found[1:]} == {"optimizer.lr=1e-2"}
        assert len(found) == 4

    def test_runs_of_the_same_settings_and_seed_are_one_observation(self, stored):
        tracking.connect(stored.uri)
        (first, second) = named([stored.ids["good 1"], stored.ids["good 2"]])
        again = replace(second, id="again", metrics={name: value + 0.02 for name, value in second.metrics.items()})
        (group,) = grouped([first, second, again])
        assert group.size == "3 of 2 seeds"
        values = [first.metrics["test/accuracy"], second.metrics["test/accuracy"] + 0.01]
        found = group.aggregate("test/accuracy")
        assert (found.size, found.mean) == (2, pytest.approx(np.mean(values)))
        assert found.interval == pytest.approx(student_interval(values))

    def test_repetitions_of_one_seed_have_the_interval_of_their_images_alone(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        uri = sqlite(tmp_path)
        runs = [record(uri, "cnn3", "seed=2", right=0.8) for _ in range(3)]
        done = command(uri, "compare", *runs)
        assert (done.code, done.stderr) == (0, "")
        assert "3 of 1 seed" in done.stdout and "3 runs of 1 seed" in Page.of(tmp_path / "comparison.html").text
        (row,) = Page.of(tmp_path / "comparison.html").tables["Results"][1:]
        right = np.random.default_rng(2).random(IMAGES) < 0.8
        low, high = wilson_interval(int(right.sum()), IMAGES)
        assert row[1:3] == [f"{right.mean():.4f}", f"[{low:.4f}, {high:.4f}]"]
        assert "Differences of recipes" not in Page.of(tmp_path / "comparison.html").tables

    def test_settings_that_differ(self, rows):
        assert rows("Settings that differ", "bad 1", "good 1") == [["", "optimizer.lr"], ["A", "0.001"], ["B", "0.01"]]

    def test_a_setting_that_one_lacks_is_a_difference(self, rows):
        found = rows("Settings that differ", "bad 1", "hostile")
        assert ["optimizer.momentum", "—", "0.9"] in found
        assert ["optimizer.name", "adam", "sgd"] in found
        assert not [row for row in found if row[0].startswith(("seed", "tracking"))]

    def test_code_and_precision_are_settings(self, stored, tmp_path):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["bad 1"]])
        other = replace(run, id="other", tags={**run.tags, "git_commit": "f" * 40})
        bfloat = replace(run, id="third", tags={**run.tags, "precision": "mixed_bfloat16"})
        groups = grouped([run, other, bfloat])
        assert [group.letter for group in groups] == ["A", "B", "C"]
        assert groups[1].settings["git commit"] == "f" * 10
        assert len({group.label for group in groups}) == 3
        assert [len(group.runs) for group in grouped([run, other, bfloat], ignored=["code"])] == [2, 1]
        assert [len(group.runs) for group in grouped([run, other, bfloat], ignored=["code", "precision"])] == [3]

    def test_code_is_told_apart_by_its_changes(self, stored):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["bad 1"]])
        commit = "f" * 40
        before = [{"git_commit": commit, "git_dirty": "False"}, {"git_commit": commit, "git_dirty": "True"}]
        codes = [commit[:10], *(f"{commit[:10]} with changes {letter * 10}" for letter in "aab")]
        tags = [*before, *({**before[1], "code": code} for code in codes)]
        groups = grouped([replace(run, id=str(number), tags={**run.tags, **own}) for number, own in enumerate(tags)])
        assert [len(group.runs) for group in groups] == [2, 1, 2, 1]
        told = [codes[0], f"{commit[:10]} with changes", codes[1], codes[3]]
        assert [group.settings["git commit"] for group in groups] == told

    def test_schedule_that_a_resume_has_moved_is_another_setting(self, stored):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["bad 1"]])
        other = replace(run, id="other", tags={**run.tags, "schedule_moved": "epochs 5, 7 from epoch 3"})
        assert grouped([run, other])[1].settings["schedule moved"] == "epochs 5, 7 from epoch 3"

    def test_what_is_ignored_tells_no_runs_apart(self, compare):
        out = compare("bad 1", "good 1", "--ignore", "optimizer").stdout
        assert "Settings that differ. None but the seed. Not looked at: optimizer" in out


def compare_id(done) -> str:
    return re.search(r"sweep (\w+):", done.stderr)[1]


class TestNumbers:
    def test_single_run_has_wilsons_interval(self, rows, stored):
        found = rows("Results", "bad 1", "good 1")
        for row, name in zip(found[1:], ("bad 1", "good 1"), strict=True):
            right = correct(stored, name)
            low, high = wilson_interval(int(right.sum()), len(right))
            assert row[1:3] == [f"{right.mean():.4f}", f"[{low:.4f}, {high:.4f}]"]

    def test_seeds_have_mean_deviation_and_students_interval(self, rows, stored):
        found = rows("Results", "--sweep", "sweep")
        values = [correct(stored, f"good {seed}").mean() for seed in (1, 2, 3)]
        low, high = student_interval(values)
        assert found[1][1:3] == [f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}", f"[{low:.4f}, {high:.4f}]"]

    def test_all_metrics_are_beside_each_other(self, rows):
        found = {row[0]: row[1:] for row in rows("All metrics", "bad 1", "good 1")}
        assert found["best/accuracy"] == ["0.7100", "0.9100"]
        assert found["test/loss"] == ["0.2900", "0.0900"]

    def test_time_and_cost(self, rows):
        header, first, _ = rows("Time and cost", "bad 1", "good 1")
        assert dict(zip(header[2:7], first[2:7], strict=True)) == {
            "epochs": "3", "best epoch": "3", "images/s": "2,000", "parameters": "1,234", "MFLOP/image": "2.50",
        }  # fmt: skip

    def test_mcnemar_on_the_stored_predictions_of_the_same_seeds(self, rows, stored):
        found = rows("McNemar's tests of networks", "--sweep", "sweep")[1:]
        assert [row[:3] for row in found] == [["A", "B", f"{seed}, {seed}"] for seed in (1, 2, 3)]
        p_values = []
        for row, seed in zip(found, (1, 2, 3), strict=True):
            good, bad = correct(stored, f"good {seed}"), correct(stored, f"bad {seed}")
            only_good, only_bad = int((good & ~bad).sum()), int((bad & ~good).sum())
            assert row[3:6] == [str(only_good), str(only_bad), f"−{good.mean() - bad.mean():.4f}"]
            statistic = (abs(only_good - only_bad) - 1) ** 2 / (only_good + only_bad)
            assert row[7] == f"χ² {statistic:.1f}"
            p_values.append(stats.chi2.sf(statistic, 1))
        shown = ["< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in (*p_values, *holm(p_values))]
        assert [row[8] for row in found] + [row[9] for row in found] == shown

    def test_few_discordant_images_are_tested_exactly(self, rows, stored):
        (row,) = rows("McNemar's tests of networks", "good 3", "near")[1:]
        first, second = correct(stored, "good 3"), correct(stored, "near")
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        assert 0 < only_first + only_second < 25
        expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
        assert row[3:5] + row[7:] == [str(only_first), str(only_second), "exact", f"{expected:.4f}", f"{expected:.4f}"]

    def test_difference_of_recipes_is_over_seeds_and_images(self, rows, stored):
        header, row = rows("Differences of recipes", "--sweep", "sweep")
        good, bad = (np.array([correct(stored, f"{name} {seed}") for seed in (1, 2, 3)]) for name in ("good", "bad"))
        expected = crossed.difference(good, bad)
        low, high = expected.interval
        assert dict(zip(header[2:], row[2:], strict=True)) == {
            "seeds": "3 and 3",
            "difference": f"−{good.mean() - bad.mean():.4f}",
            "95 % interval": f"[{low:+.4f}, {high:+.4f}]".replace("-", "−"),
            "p": f"{expected.p:.4f}" if expected.p >= 1e-4 else "< 0.0001",
            "p (Holm)": f"{expected.p:.4f}" if expected.p >= 1e-4 else "< 0.0001",
            "P(2nd better)": f"{expected.superiority:.2f}",
            "seeds needed": "—",
        }

    def test_spread_over_seeds_tells_what_the_test_set_explains(self, rows, stored):
        found = rows("Spread over seeds", "good 1", "good 2", "good 3", "near")[1:]
        values = [correct(stored, f"good {seed}").mean() for seed in (1, 2, 3)]
        assert found[0][:3] == ["A", "3", f"{np.std(values, ddof=1):.4f}"]
        wrong = 1 - correct(stored, "near").mean()
        assert found[1] == ["B", "1", "—", f"{np.sqrt(wrong / (2 * IMAGES)):.4f}", "—"]

    def test_other_metrics_than_scores_of_images_have_welchs_interval(self, stored):
        tracking.connect(stored.uri)
        chosen = named([stored.ids[f"{name} {seed}"] for name in SHARES for seed in (1, 2, 3)])
        runs = [
            replace(run, params={**run.params, "task.name": "detection"}, metrics={"test/map": 0.5 + 0.1 * number**0.5})
            for number, run in enumerate(chosen)
        ]
        found = Comparison.of(grouped(runs)).tables()[-1]
        first, second = ([run.metrics["test/map"] for run in part] for part in (runs[:3], runs[3:]))
        low, high = welch_interval(second, first)
        assert found.rows[1][2:] == [
            "3 and 3",
            f"{np.mean(second) - np.mean(first):+.4f}",
            f"[{low:+.4f}, {high:+.4f}]".replace("-", "−"),
        ]

    def test_classes(self, rows, stored):
        found = rows("Table", "bad 1", "good 1")
        labels = np.array([row["label"] for row in predictions(stored, "bad 1")])
        assert len(found) == 11
        for name, images, bad, good, change in found[1:]:
            own = labels == name
            shares = [correct(stored, run)[own].mean() for run in ("bad 1", "good 1")]
            assert [images, bad, good] == [str(own.sum()), *(f"{share:.4f}" for share in shares)]
            assert float(change.replace("−", "-")) == pytest.approx(shares[1] - shares[0], abs=6e-5)

    def test_runs_of_one_setting_are_tested_against_each_other(self, compare):
        done = compare("good 1", "good 2", "good 3")
        assert done.code == 0
        assert "None but the seed" in done.stdout
        assert "of 3 pairs of networks differ" in done.stdout


class TestVerdict:
    def test_of_recipes_where_both_have_several_seeds(self, compare):
        out = " ".join(compare("--sweep", "sweep").stdout.split())
        assert "95 % interval over new seeds and images" in out
        assert "A significant difference of the recipes (p" in out
        assert "One more seed of B is better than one of A with a probability of 0.0" in out

    def test_of_networks_where_a_seed_each_says_nothing_of_the_recipes(self, compare):
        out = " ".join(compare("good 1", "near").stdout.split())
        assert "significant difference of these two networks (McNemar's test, p" in out
        assert "It says nothing of the recipes" in out and "seeds of each would show such a difference" in out

    def test_names_no_winner_of_equals(self, stored):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["good 1"]])
        values = (0.9, 0.9 + 1e-9, 0.8)
        runs = [
            replace(run, params={**run.params, "batch_size": str(number)}, metrics={"test/accuracy": value})
            for number, value in enumerate(values)
        ]
        found = tables.results(grouped(runs), {})
        assert {row for row, column in found.best if found.rows[0][column] == "test/accuracy"} == {1, 2}


class TestPage:
    def test_a_setting_that_is_called_as_a_group_is_no_chip(self, stored):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["good 1"]])
        groups = grouped([run, replace(run, params={**run.params, "data.note": "A"})])
        page = html.render(Comparison.of(groups))
        assert re.search(r"<td[^>]*>A</td>", page)
        assert '<b class="chip"' in page

    def test_stands_alone_and_runs_nothing(self, compare, tmp_path):
        assert compare("bad 1", "good 1").code == 0
        found = Page.of(tmp_path / "comparison.html")
        assert all(
            source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for source in found.pictures
        )
        assert not {"script", "link", "iframe", "object", "form"} & found.tags
        assert "http://" not in found.text and "https://" not in found.text

    def test_shows_the_images_that_tell_the_runs_apart(self, compare, stored, tmp_path):
        assert compare("bad 1", "good 1").code == 0
        found = Page.of(tmp_path / "comparison.html")
        shown = [source for source in found.pictures if "image/png" in source]
        bad, good = correct(stored, "bad 1"), correct(stored, "good 1")
        table = predictions(stored, "bad 1")
        sets = DATASETS.build({"name": "digits", "test_fraction": 0.2, "val_fraction": 0.1, "limit": None}, seed=1)
        by_pixels: dict[bytes, set[int]] = {}
        for index, image in enumerate(sets.test.images):
            by_pixels.setdefault(image.tobytes(), set()).add(index)
        assert len(shown) == min(20, (bad & ~good).sum()) + min(20, (good & ~bad).sum())
        for source, caption in zip(shown, found.captions, strict=True):
            image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
            differ = [i for i in by_pixels[image.tobytes()] if bad[i] != good[i]]
            assert any(caption.startswith(table[i]["label"]) for i in differ)
        assert f"right, B wrong: {(bad & ~good).sum()} images" in found.text
        assert f"right, A wrong: {(good & ~bad).sum()} images" in found.text

    def test_hostile_names_are_text(self, compare, tmp_path):
        done = compare("bad 1", "hostile")
        assert done.code == 0
        assert "\x1b" not in done.stdout
        found = Page.of(tmp_path / "comparison.html")
        assert "<script>alert(1)</script>{{ 7*7 }}" in found.text
        assert "script" not in found.tags

    def test_data_that_is_gone_leaves_a_line_in_place_of_images(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        uri = sqlite(tmp_path)
        for part in ("train", "test"):
            for number, kind in enumerate(("cat", "dog")):
                (tmp_path / "data" / part / kind).mkdir(parents=True)
                for i in range(20):
                    pixels = np.full((8, 8, 3), 100 * number + 50 * (part == "test") + i, np.uint8)
                    Image.fromarray(pixels).save(tmp_path / "data" / part / kind / f"{i}.png")
        data = ("data=folder", f"data.path={tmp_path / 'data'}", "data.size=8")
        runs = [record(uri, "one", *data, f"seed={seed}", right=0.6) for seed in (1, 2)]
        runs.append(record(uri, "other", *data, "batch_size=8", "seed=4", right=0.3))
        assert command(uri, "compare", *runs).code == 0
        assert len(Page.of(tmp_path / "comparison.html").pictures) > 2
        (tmp_path / "data" / "test" / "cat" / "0.png").unlink()
        assert command(uri, "compare", *runs).code == 0
        found = Page.of(tmp_path / "comparison.html")
        assert len(found.pictures) == 2
        assert "They cannot be shown. data: the test images are not those of the runs any more" in found.text

    def test_other_test_images_are_compared_in_all_but_the_answers(self, compare, tmp_path):
        done = compare("bad 1", "fewer images")
        assert done.code == 0
        assert "The runs have different test images: nothing is tested" in done.stdout
        found = Page.of(tmp_path / "comparison.html")
        assert {"Results", "Settings that differ", "Time and cost"} <= found.tables.keys()
        assert "McNemar's tests of networks" not in found.tables
        assert len(found.pictures) == 1

    def test_same_settings_with_seeds_that_cut_the_validation_otherwise_have_the_same_test_images(self, stored):
        client = mlflow.MlflowClient(stored.uri)
        first, second = (client.get_run(stored.ids[f"good {seed}"]).data.tags for seed in (1, 2))
        assert first["dataset_fingerprint"] != second["dataset_fingerprint"]
        assert first["test_fingerprint"] == second["test_fingerprint"]

    @pytest.mark.slow
    def test_a_training_and_a_hand_made_record_are_compared_alike(self, quickstart, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        other = record(quickstart.uri, "other", "tracking.experiment=other", right=0.5)
        done = command(quickstart.uri, "compare", quickstart.id, other)
        assert (done.code, done.stderr) == (0, "")
        right = mlflow.MlflowClient(quickstart.uri).get_run(quickstart.id).data.metrics["test/accuracy"]
        assert f"\nA         {right:.4f}  [" in done.stdout
        assert len(Page.of(tmp_path / "comparison.html").pictures) > 2


class TestText:
    @pytest.mark.parametrize("columns", [80, 100, 200])
    def test_fits_the_terminal(self, stored, columns):
        tracking.connect(stored.uri)
        runs = named([stored.ids[f"{name} {seed}"] for name in SHARES for seed in (1, 2, 3)])
        shown = as_text(Comparison.of(grouped(runs)), columns)
        assert max(map(len, shown.splitlines())) <= columns
        assert "McNemar" in shown

    def test_more_than_ten_settings_are_tested_against_the_first(self, stored):
        tracking.connect(stored.uri)
        (run,) = named([stored.ids["good 1"]])
        runs = [replace(run, params={**run.params, "batch_size": str(size)}) for size in range(12)]
        comparison = Comparison.of(grouped(runs))
        assert {pair.first[0].letter for pair in comparison.pairs} == {"A"}
        assert len(comparison.pairs) == 11
        assert "each is tested against the first" in html.render(comparison)


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (("bad 1", "0" * 32), f"run {'0' * 32}: "),
            (("bad 1", "nothing"), "run nothing: "),
            (("bad 1",), "one run to compare; accepted: two finished runs or more"),
            (("bad 1", "bad 1"), "one run to compare; accepted: two finished runs or more"),
            (("bad 1", "failed"), "run {failed} is FAILED, its predictions on the test images: "),
            (("bad 1", "sweep"), "run {sweep} is FINISHED, its predictions on the test images: "),
            (("--experiment", "digit"), "experiment digit: unknown; did you mean 'digits'?"),
            (("--experiment", "few"), "one run to compare; "),
            (("--sweep", "empty"), "sweep {empty}: no run has it as its parent; "),
            (("--sweep", "nothing"), "run nothing: "),
            (("bad 1", "good 1", "--html", "missing/page.html"), "--html missing/page.html: cannot be written; "),
            (("bad 1", "good 1", "--ignore", "cod"), "--ignore cod: no run has such a setting; did you mean 'code'? "),
            (("bad 1", "good 1", "--html", "."), "--html .: cannot be written; "),
        ],
    )
    def test_is_told_in_one_line(self, compare, stored, tmp_path, arguments, line):
        assert error_line(compare(*arguments)).startswith(line.format(**stored.ids))
        assert not (tmp_path / "comparison.html").exists()

    @pytest.mark.parametrize("content", ["index,label\n0,1\n", "", "label,predicted,label_probability\n",
                                         "label,predicted,label_probability\na,b,c\n"])  # fmt: skip
    def test_predictions_that_are_no_such_table(self, compare, stored, tmp_path, content):
        broken = record(stored.uri, "broken", "tracking.experiment=broken")
        (tmp_path / "predictions.csv").write_text(content)
        mlflow.MlflowClient(stored.uri).log_artifact(broken, str(tmp_path / "predictions.csv"), "tables")
        line = error_line(compare("bad 1", broken))
        assert "predictions.csv: cannot be read" in line
        assert "accepted: a table with the columns label, predicted and label_probability" in line
