"""A comparison as a whole, and how the terminal shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar.analysis import recipes, significance, tables
from cifar.analysis.groups import Group
from cifar.analysis.other_data import other_data
from cifar.analysis.predictions import Answers, Pair, by_class, have_same_images, tested
from cifar.analysis.recipes import RecipePair
from cifar.analysis.tables import Histories, Table
from cifar.runtime import terminal
from cifar.runtime.paths import COMMAND
from cifar.tracking import queries
from cifar.tracking.names import TEST_FINGERPRINT
from cifar.tracking.queries import Looks, StoredRun

OTHER_IMAGES = "The runs have different test images: nothing is tested, and neither classes nor images are compared."
OTHER_ANSWERS = "The runs do not name a class an image: nothing is tested, and neither classes nor images are compared."
NO_ANSWERS = (
    "Not all runs were evaluated on the test images: nothing is tested, and neither classes nor images are compared. "
    f"`{COMMAND} evaluate RUN` evaluates a run; with evaluate.test=true the jobs of a sweep are evaluated."
)
BY_EPOCH = ("train/", "val/", "images_per_second")
ROWS = 20
"""Of a table, that the terminal shows."""
CLASSES = 3


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, their answers on the test images, their histories, and tests of pairs of recipes and networks.

    There are no answers where a run has another task than to classify images, or was not evaluated on the test images;
    and then, as where the runs have different test images, no pairs. `looks` counts the evaluations on each set of test
    images, by its fingerprint. Differences in what is `ignored` do not separate groups.
    """

    groups: Sequence[Group]
    answers: Answers
    histories: Histories
    same_images: bool
    recipe_pairs: Sequence[RecipePair]
    pairs: Sequence[Pair]
    looks: Mapping[str, Looks]
    ignored: Sequence[str] = ()

    @classmethod
    def of(cls, groups: Sequence[Group], ignored: Sequence[str] = ()) -> Comparison:
        """Reads what the comparison needs; raises `InputError` for a run that has not come to its evaluation."""
        runs = [run for group in groups for run in group.runs]
        classify = all(run.params.get("task.name", "classification") == "classification" for run in runs)
        classify = classify and not any(map(_is_unevaluated, runs))
        answers = {run.id: queries.predictions(run) for run in runs} if classify else {}
        histories = {run.id: queries.history(run, [name for name in run.metrics if name.startswith(BY_EPOCH)])
                     for run in runs}  # fmt: skip
        same_images = classify and have_same_images(groups, answers)
        recipe_pairs = recipes.compared(groups, answers) if same_images else []
        pairs = tested(groups, answers) if same_images else []
        looks = {images: queries.looks(images) for images in _test_sets(runs)}
        return cls(groups, answers, histories, same_images, recipe_pairs, pairs, looks, ignored)

    @property
    def verdict(self) -> str:
        if any(_is_unevaluated(run) for group in self.groups for run in group.runs):
            return NO_ANSWERS
        if not self.same_images:
            return OTHER_IMAGES if self.answers else OTHER_ANSWERS
        return significance.verdict(self.groups, self.answers, self.recipe_pairs, self.pairs)

    def tables(self) -> list[Table]:
        """The tables that both the terminal and the page show."""
        shown = [
            tables.results(self.groups, self.answers),
            tables.settings(self.groups, self.ignored),
            tables.cost(self.groups, self.histories),
        ]
        if len((elsewhere := other_data(self.groups)).rows) > 1:
            shown.append(elsewhere)
        if self.looks:
            shown.append(tables.looks(self.groups, self.looks))
        if self.same_images:
            by_recipe = [significance.recipes(self.groups, self.recipe_pairs)] if self.recipe_pairs else []
            spread = significance.spreads(self.groups, self.answers)
            return [*shown, *by_recipe, spread, significance.tests(self.groups, self.pairs)]
        names = tables.main_metrics(self.groups)
        test_images = {run.test_images for group in self.groups for run in group.runs}
        if names and (len(test_images) == 1 or not names[0].startswith("test/")):
            by_metric = significance.recipes_by_metric(self.groups, names[0])
            shown += [by_metric] if len(by_metric.rows) > 1 else []
        return shown


def _test_sets(runs: Sequence[StoredRun]) -> list[str]:
    """The fingerprints of the test images of the runs; those of the earliest versions recorded none."""
    return list(dict.fromkeys(run.tags[TEST_FINGERPRINT] for run in runs if TEST_FINGERPRINT in run.tags))


def _is_unevaluated(run: StoredRun) -> bool:
    """True for a run that has finished without an evaluation on the test images."""
    return run.status == "FINISHED" and bool(run.params) and not run.is_evaluated


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """What JSON can hold of a comparison: its groups, its tables by title, and the verdict."""
    groups = [{"letter": group.letter, "setting": group.label, "runs": [run.id for run in group.runs]}
              for group in comparison.groups]  # fmt: skip
    tables = {table.title: [dict(zip(table.rows[0], row, strict=True)) for row in table.rows[1:]]
              for table in comparison.tables()}  # fmt: skip
    return {"groups": groups, "tables": tables, "verdict": comparison.verdict}


def as_text(comparison: Comparison, columns: int) -> str:
    """The comparison for a terminal of so many columns."""
    groups = [["", "setting", "runs"]]
    groups += [[group.letter, group.label, group.size] for group in comparison.groups]
    parts = [terminal.table(groups, columns, whole=[0, 2]), *(_text(table, columns) for table in comparison.tables())]
    if comparison.same_images and len(comparison.groups) == 2:
        parts.append(_filled(_classes(comparison), columns))
    return "\n\n".join([*parts, _filled(comparison.verdict, columns)])


def _text(table: Table, columns: int) -> str:
    head = _filled(f"{table.title}. {table.note}." if table.note else table.title, columns)
    more = len(table.rows) - 1 - ROWS
    lines = [head, terminal.table(table.rows[: ROWS + 1], columns, optional=table.optional)]
    return "\n".join([*lines, *([f"… and {more} more, on the page"] if more > 0 else [])])


def _filled(sentences: str, columns: int) -> str:
    return textwrap.fill(sentences, min(columns, 120))


def _classes(comparison: Comparison) -> str:
    """The classes on which the second group gains and loses most against the first."""
    names, _, accuracy = by_class(comparison.groups, comparison.answers)
    change = accuracy[1] - accuracy[0]
    order = change.argsort(kind="stable")
    changes = [f"{terminal.printable(names[k])} {terminal.signed(100 * change[k], 1)}"
            for k in dict.fromkeys([*order[::-1][:CLASSES], *order[:CLASSES]])]  # fmt: skip
    first, second = comparison.groups
    return f"Accuracy on classes, {second.letter} less {first.letter}, in points: {', '.join(changes)}"
