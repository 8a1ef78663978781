"""How often races are wrong, and how many seeds they take: the tables of docs/races.md.

python benchmarks/races.py                   # about a minute of processor time; --races 10000 for a quick look
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent))

from cifar.metrics import sequential
from cifar.sweep.standings import ALPHA, Rules, judge

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
NULLS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t, 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, shape),
    "of two exponential values": lambda rng, shape: rng.exponential(1, shape) - rng.exponential(1, shape),
    "of two uniform values": lambda rng, shape: rng.uniform(size=shape) - rng.uniform(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "of two accuracies on 500 images": lambda rng, shape: rng.binomial(500, 0.9, shape) - rng.binomial(500, 0.9, shape),
    "exponential, less its mean": lambda rng, shape: rng.exponential(1, shape) - 1,
    "lognormal, less its mean": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
}
"""Differences of two contenders that are equal in the mean; the last two have different distributions."""
BATCH = 5000


def first_rejections(values: np.ndarray, level: float, effect: float) -> np.ndarray:
    """For each row of `values`, (races, seeds), the seeds after which the mean is found to be greater than 0.

    More than all where it is not found.
    """
    sizes = np.arange(1, values.shape[1] + 1)
    critical = np.array([sequential.critical_value(size, level, effect) for size in sizes])
    # As a bound of the sum divided by the root of the sum of squares.
    bound = np.where(np.isfinite(critical), np.sqrt(sizes / (1 + (sizes - 1) / np.square(critical))), np.inf)
    with np.errstate(invalid="ignore"):
        rejected = np.cumsum(values, axis=1) / np.sqrt(np.cumsum(values**2, axis=1)) >= bound
    return np.where(rejected.any(axis=1), rejected.argmax(axis=1) + 1, len(sizes) + 1)


def false_verdicts(draw: Draw, seeds: int, races: int, level: float, effect: float = 1.0, sides: int = 2) -> float:
    """The share of races in which a difference is found though there is none."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(races // BATCH):
        values = draw(rng, (BATCH, seeds))
        first = first_rejections(values, level, effect)
        if sides == 2:
            first = np.minimum(first, first_rejections(-values, level, effect))
        count += int((first <= seeds).sum())
    return count / (races // BATCH * BATCH)


def judged(means: list[float], races: int, seeds: int = 20) -> tuple[float, float, float]:
    """Shares of races in which the first contender is named the best, and in which it is out; the mean of the seeds."""
    rng, found = np.random.default_rng(0), []
    for _ in range(races):
        values = rng.standard_normal((len(means), seeds)) + np.array(means)[:, None]
        found.append(judge({str(row): dict(enumerate(one)) for row, one in enumerate(values)},
                           Rules("val/accuracy", range(seeds))))  # fmt: skip
    is_best = [one.verdict == "better" and one.remaining == ("0",) for one in found]
    return float(np.mean(is_best)), float(np.mean(["0" in one.out for one in found])), np.mean([s.size for s in found])


def fixed_seeds(effect: float, power: float) -> int:
    """The least number of seeds with which the paired t test of level `ALPHA` finds `effect` with this power."""
    sizes = np.arange(2, 2000)
    critical = stats.t.ppf(1 - ALPHA / 2, sizes - 1)
    return int(sizes[np.argmax(stats.nct.sf(critical, sizes - 1, effect * np.sqrt(sizes)) >= power)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=100_000)
    races = parser.parse_args().races
    print(
        "| effect | probability that p ever reaches 0.05 | 0.025 | 0.0083 | bound of the overshoot, measured | used |"
    )
    print("|---" * 6 + "|")
    for effect, seeds in ((0.25, 800), (0.5, 300), (1.0, 100), (1.5, 60), (2.0, 60)):
        count = races if effect >= 1 else races // 4
        levels = (0.05, 0.025, ALPHA / 6)
        shares = [false_verdicts(NULLS["normal"], seeds, count, level, effect, sides=1) for level in levels]
        used = sequential.overshoot(effect)
        cells = [*(f"{share:.4f}" for share in shares), f"{max(np.divide(shares, levels)) * used:.2f}", f"{used:.2f}"]
        print(f"| {effect:g} | {' | '.join(cells)} |", flush=True)
    print("\n| differences | false verdicts, at most 20 seeds | at most 100 seeds |\n|---|---|---|")
    for name, draw in NULLS.items():
        shares = [false_verdicts(draw, seeds, count, ALPHA / 2) for seeds, count in ((20, races), (100, races // 2))]
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    print("\n| difference, in its deviations | found | wrong | seeds on average | fixed number of the power 0.9 |")
    print("|---" * 5 + "|")
    for effect in (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0):
        found, wrong, seeds = judged([effect * np.sqrt(2), 0.0], races // 25)
        number = fixed_seeds(effect, 0.9) if effect else "—"
        print(f"| {effect:g} | {found:.1%} | {wrong:.1%} | {seeds:.1f} | {number} |", flush=True)
    print(
        "\n| contenders | races that put a best one out, all equal | two best, the others worse by 1 |\n|---|---|---|"
    )
    for count in (2, 3, 4, 6):
        rng = races // 50
        equal = _any_out([0.0] * count, count, rng)
        tied = _any_out([0.0, 0.0, *[-1.0] * (count - 2)], 2, rng)
        print(f"| {count} | {equal:.1%} | {tied:.1%} |", flush=True)


def _any_out(means: list[float], best: int, races: int, seeds: int = 20) -> float:
    """The share of races in which one of the first `best` contenders is out."""
    rng, out = np.random.default_rng(1), 0
    for _ in range(races):
        values = rng.standard_normal((len(means), seeds)) + np.array(means)[:, None]
        standing = judge({str(row): dict(enumerate(one)) for row, one in enumerate(values)},
                         Rules("val/accuracy", range(seeds)))  # fmt: skip
        out += any(int(name) < best for name in standing.out)
    return out / races


if __name__ == "__main__":
    main()
