"""Differences of recipes and of networks, in tables and sentences: the terminal and the page show the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cifar.analysis import predictions as on_images
from cifar.analysis import recipes as on_seeds
from cifar.analysis.groups import Group
from cifar.analysis.predictions import Answers, Pair
from cifar.analysis.recipes import RecipePair
from cifar.analysis.tables import Table, shown_range
from cifar.metrics.crossed import MANY, POWER
from cifar.metrics.statistics import Interval
from cifar.runtime import terminal

ALPHA = 0.05


def recipes(groups: Sequence[Group], pairs: Sequence[RecipePair]) -> Table:
    """The difference in mean test accuracy of each two groups of several seeds."""
    rows = [["", "", "seeds", "difference", "95 % interval", "p", "p (Holm)", "P(2nd better)", "seeds needed"]]
    for pair in pairs:
        found = pair.difference
        rows.append(
            [
                pair.first.letter,
                pair.second.letter,
                f"{found.first.size} and {found.second.size}",
                terminal.signed(found.value),
                shown_range(found.interval, signed=True),
                _p(found.p),
                _p(pair.corrected_p),
                f"{found.superiority:.2f}",
                "—" if pair.corrected_p < ALPHA else _seeds(found.seeds_to_settle),
            ]
        )
    note = (
        "Test accuracy, the second less the first, over new seeds and new images; the probability that one more seed "
        "of the second is better than one of the first; and the seeds of each that would show such a difference with "
        f"a probability of {POWER:g}{_limit(groups)}"
    )
    return Table("Differences of recipes", rows, note, optional=("p", "seeds needed", "P(2nd better)"))


def recipes_by_metric(groups: Sequence[Group], metric: str) -> Table:
    """The difference in a metric of each two groups of several seeds, where single images have no scores."""
    rows = [["", "", "seeds", f"difference in {metric}", "95 % interval"]]
    for pair in on_seeds.compared_by_metric(groups, metric):
        seeds = f"{len(pair.first.seeds)} and {len(pair.second.seeds)}"
        interval = shown_range(pair.interval, signed=True)
        rows.append([pair.first.letter, pair.second.letter, seeds, terminal.signed(pair.difference), interval])
    over = "new seeds, on these images" if metric.startswith("test/") else "new seeds"
    note = f"The second less the first; Welch's interval over {over}{_limit(groups)}"
    return Table("Differences of recipes", rows, note)


def spreads(groups: Sequence[Group], answers: Answers) -> Table:
    """The standard deviation of each group's test accuracy over seeds, and how much of it the test set explains."""
    rows = [["", "seeds", "deviation", "by the test set's size", "beyond it"]]
    for group in groups:
        found = on_seeds.seed_spread(group, answers)
        numbers = (found.observed, found.by_images, found.beyond)
        rows.append([group.letter, str(len(group.seeds)), *(_deviation(value) for value in numbers)])
    note = (
        "Standard deviation of the test accuracy; the part that comes from the number of test images, since networks "
        "of one recipe err on different images (of one seed, expected from its accuracy); and what is left of it"
    )
    return Table("Spread over seeds", rows, note)


def tests(groups: Sequence[Group], pairs: Sequence[Pair]) -> Table:
    """McNemar's test of each pair of networks."""
    rows = [["", "", "seeds", "only 1st", "only 2nd", "difference", "95 % interval", "test", "p", "p (Holm)"]]
    for pair in pairs:
        (first, one), (second, other) = pair.first, pair.second
        rows.append(
            [
                first.letter,
                second.letter,
                f"{one.params.get('seed', '—')}, {other.params.get('seed', '—')}",
                f"{pair.only_first:,}",
                f"{pair.only_second:,}",
                terminal.signed(pair.difference),
                shown_range(pair.interval, signed=True),
                "exact" if pair.test.exact else f"χ² {pair.test.statistic:,.1f}",
                _p(pair.test.p),
                _p(pair.corrected_p),
            ]
        )
    note = (
        "Of two networks each, not of their recipes: images that only the first, or only the second, gets right; the "
        f"difference in accuracy, second less first, over new images{_limit(groups)}"
    )
    return Table("McNemar's tests of networks", rows, note, optional=("test", "seeds"))


def verdict(
    groups: Sequence[Group], answers: Answers, recipe_pairs: Sequence[RecipePair], pairs: Sequence[Pair]
) -> str:
    """In a few sentences, how far recipes differ, or networks where no two recipes have several seeds."""
    if recipe_pairs:
        return _of_recipes(recipe_pairs)
    of_networks = _of_networks(pairs)
    if len(groups) == 1:
        return of_networks
    unknown = "It says nothing of the recipes, which need several seeds each."
    if len(groups) == 2 and all(len(group.seeds) == 1 for group in groups):
        first, second = groups
        spread = on_seeds.seed_spread(first, answers).by_images
        seeds = _seeds(on_seeds.planned_seeds(first, second, answers))
        unknown += (
            f" Another seed alone is expected to move the accuracy of {first.letter} by {100 * spread:.2f} points "
            f"(standard deviation, by the number of test images); {seeds} seeds of each would show such a difference."
        )
    return f"{of_networks} {unknown}"


def _of_recipes(pairs: Sequence[RecipePair]) -> str:
    found = sum(pair.corrected_p < ALPHA for pair in pairs)
    if len(pairs) > 1:
        return (f"{found} of {len(pairs)} pairs of recipes differ significantly, on new seeds and new images "
                f"(Holm-corrected p < {ALPHA}).")  # fmt: skip
    (pair,) = pairs
    difference, second, first = pair.difference, pair.second.letter, pair.first.letter
    sentences = [
        f"{_gain(pair.first, pair.second, difference.value, difference.interval, 'new seeds and images')}.",
        f"{'A' if found else 'No'} significant difference of the recipes (p {_equals(difference.p)}).",
        f"One more seed of {second} is better than one of {first} with a probability of {difference.superiority:.2f}.",
    ]
    if not found and difference.value:
        sentences.append(f"{_seeds(difference.seeds_to_settle)} seeds of each would show such a difference.")
    return " ".join(sentences)


def _of_networks(pairs: Sequence[Pair]) -> str:
    found = sum(pair.corrected_p < ALPHA for pair in pairs)
    if len(pairs) > 1:
        return (f"{found} of {len(pairs)} pairs of networks differ significantly in their answers (McNemar's test, "
                f"Holm-corrected p < {ALPHA}).")  # fmt: skip
    (pair,) = pairs
    return (
        f"{_gain(pair.first[0], pair.second[0], pair.difference, pair.interval, 'new images')}. "
        f"{'A' if found else 'No'} significant difference of these two networks (McNemar's test, "
        f"p {_equals(pair.test.p)})."
    )


def _gain(first: Group, second: Group, difference: float, interval: Interval, over: str) -> str:
    low, high = (terminal.signed(100 * bound, 2) for bound in interval)
    known = f" (95 % interval over {over}: {low} to {high})" if not math.isnan(interval.low) else ""
    return (f"{second.letter} gets {abs(100 * difference):.2f} points {'more' if difference >= 0 else 'fewer'} of the "
            f"test images right than {first.letter}{known}")  # fmt: skip


def _limit(groups: Sequence[Group]) -> str:
    """A clause that says which pairs are left out."""
    if len(groups) <= on_images.ALL_PAIRS:
        return ""
    return f"; of more than {on_images.ALL_PAIRS} settings, each is tested against the first"


def _seeds(number: float) -> str:
    return f"{number:.0f}" if math.isfinite(number) else f"> {MANY:,}"


def _deviation(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.4f}"


def _equals(p: float) -> str:
    shown = _p(p)
    return shown if "<" in shown else f"= {shown}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
