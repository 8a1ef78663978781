"""Coverage of intervals over seeds, and false verdicts on recipes that do not differ, in simulations.

    python benchmarks/intervals.py [coverage] [welch] [verdicts] [--samples 100000] [--pairs 2000] [--seed 0]

Prints the tables of docs/comparison.md. The simulated networks are those of tests/metrics/test_crossed.py: a network is
right on an image where the sum of the image's difficulty, what makes it harder for the recipe, the network's own level
and noise, all normal, is below a bound.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import special, stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from cifar.metrics import crossed
from cifar.metrics.statistics import Interval, mcnemar, student_interval, welch_interval

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), math.exp(0.5)),
}
"""Functions that draw values, and their mean."""
SIZES = (2, 3, 5, 10)
RECIPES = {
    "nothing but noise": {},
    "networks of other levels": {"seeds": 0.1},
    "images that suit one recipe": {"interaction": 0.5},
    "both": {"seeds": 0.1, "interaction": 0.5},
}
IMAGES, ACCURACY, NOISE = 1000, 0.9, 0.6


def covered(interval: Interval, value: float) -> float:
    """The share of intervals, arrays (n,), that contain the value, in percent."""
    return 100 * float(((interval.low <= value) & (value <= interval.high)).mean())


def bootstrap_interval(rng: np.random.Generator, samples: np.ndarray, resamples: int = 1000) -> Interval:
    """Percentile bootstrap intervals of the means of `samples` (k, n)."""
    means = [rng.choice(sample, (resamples, samples.shape[1])).mean(axis=1) for sample in samples]
    return Interval(*np.percentile(means, [2.5, 97.5], axis=1))


def coverage(rng: np.random.Generator, options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Student's interval and the percentile bootstrap's by number of values."""
    yield "interval, values", *(f"{size} values" for size in SIZES)
    for name, (draw, mean) in DISTRIBUTIONS.items():
        samples = [draw(rng, (options.samples, size)) for size in SIZES]
        yield f"Student, {name}", *(f"{covered(student_interval(sample), mean):.1f}" for sample in samples)
    samples = [rng.standard_normal((2000, size)) for size in SIZES]
    yield "bootstrap, normal", *(f"{covered(bootstrap_interval(rng, sample), 0):.0f}" for sample in samples)


def welch(rng: np.random.Generator, options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Welch's interval by the sizes of both samples and the ratio of their standard deviations."""
    sizes = [(2, 2), (3, 3), (5, 5), (10, 10), (2, 10), (3, 5), (10, 2)]
    yield "values, ratio of deviations", *(f"{one} and {other}" for one, other in sizes)
    for name, (draw, mean) in DISTRIBUTIONS.items():
        for ratio in (1, 3, 10) if name == "normal" else (1,):
            cells = []
            for one, other in sizes:
                first, second = (draw(rng, (options.samples, size)) for size in (one, other))
                cells.append(f"{covered(welch_interval(ratio * first, second), (ratio - 1) * mean):.1f}")
            yield f"{name}, {ratio}", *cells


def networks(
    rng: np.random.Generator, size: int, seeds: float = 0.0, interaction: float = 0.0, gain: float = 0.0
) -> list[np.ndarray]:
    """Scores of `size` networks of each of two recipes on common images: two bool arrays (size, images)."""
    difficulty, found = rng.standard_normal(IMAGES), []
    for accuracy in (ACCURACY, ACCURACY + gain):
        of_images = difficulty + interaction * rng.standard_normal(IMAGES)
        of_networks = seeds * rng.standard_normal((size, 1)) + NOISE * rng.standard_normal((size, IMAGES))
        bound = special.ndtri(accuracy) * math.sqrt(1 + NOISE**2 + interaction**2 + seeds**2)
        found.append(of_images + of_networks < bound)
    return found


def verdicts(rng: np.random.Generator, options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Shares of pairs of recipes that tests call different, without a difference, and the crossed one's with one."""
    yield (
        "recipes differ in",
        "seeds of each",
        "crossed",
        "Welch over seeds",
        "McNemar, one network each",
        "crossed, 2 points",
    )
    for name, parts in RECIPES.items():
        for size in SIZES[:3]:
            p_values, accuracies, found = [], [], []
            for _ in range(options.pairs):
                first, second = networks(rng, size, **parts)
                accuracies.append([first.mean(axis=1), second.mean(axis=1)])
                discordant = [int((a & ~b).sum()) for a, b in ((first[0], second[0]), (second[0], first[0]))]
                p_values.append((crossed.difference(first, second).p, mcnemar(*discordant).p))
                found.append(crossed.difference(*networks(rng, size, **parts, gain=0.02)).p < 0.05)
            over_seeds = stats.ttest_ind(*np.swapaxes(accuracies, 0, 1), axis=1, equal_var=False).pvalue
            own, single = (np.array(p_values) < 0.05).mean(axis=0)
            shares = (own, (over_seeds < 0.05).mean(), single, np.mean(found))
            yield name, str(size), *(f"{100 * share:.1f}" for share in shares)


TABLES = {"coverage": coverage, "welch": welch, "verdicts": verdicts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=[*TABLES], metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.tables:
        header, *rows = TABLES[name](np.random.default_rng(options.seed), options)
        print(f"\n| {' | '.join(header)} |\n{'|---' * len(header)}|", flush=True)
        for row in rows:
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
