"""Comparison of samplers: searches of the same space with the same number of trials.

    python benchmarks/search.py [tpe random …] [--data DIR] [--trials 20] [--seeds 2] [--jobs 2] [--folder DIR]

On scikit-learn's digits, or with `--data` on 4,000 images of CIFAR-10. Each search is a sweep. The same command resumes
after an interruption. Prints the best validation loss after each quarter of the trials and the median of the second
half, for each sampler over the seeds, and draws the best in `DIR/search.png`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
SMALL = ("model.filters=[16,32]", "model.classifier.units=[64]", "augmentation=none", "batch_size=32")
DIGITS = ("data=digits", *SMALL, "epochs=5")
CIFAR = ("data=cifar10", "data.limit=4000", *SMALL, "epochs=3")
SPACE = ("optimizer.lr=tag(log, interval(1e-5, 1))", "model.dropout=interval(0, 0.9)")
SPACES = {
    DIGITS: (*SPACE, "model.classifier.dropout=interval(0, 0.9)"),
    CIFAR: (*SPACE, "optimizer=choice(adam,rmsprop,sgd)"),
}
SETTINGS = {"tpe": ("hydra.sweeper.sampler.n_startup_trials=5",)}
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def search(sampler: str, seed: int, options: argparse.Namespace, folder: Path) -> np.ndarray:
    """Return the objective of each trial, in the order of their numbers."""
    name, store = f"{sampler}-{seed}", f"sqlite:///{folder / 'optuna.db'}"
    run = CIFAR if options.data else DIGITS
    place = [f"data.path={options.data.resolve()}"] if options.data else []
    subprocess.run(
        [sys.executable, ROOT / "run.py", "--multirun", "hydra/sweeper=optuna", *run, *place, *SPACES[run],
         f"hydra/sweeper/sampler={sampler}", *SETTINGS.get(sampler, ()), f"hydra.sweeper.sampler.seed={seed}",
         f"hydra.sweeper.n_trials={options.trials}", f"hydra.launcher.n_jobs={options.jobs}",
         f"hydra.sweeper.study_name={name}", f"hydra.sweeper.storage={store}",
         f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"],
        check=True,
    )  # fmt: skip
    finished = optuna.load_study(study_name=name, storage=store).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return np.array([trial.value for trial in sorted(finished, key=lambda trial: trial.user_attrs["job"])])


def picture(best: dict[str, np.ndarray]) -> Figure:
    """Plot the best value so far of each sampler: a line per seed, and their mean. Arrays are (seeds, trials)."""
    figure = Figure(figsize=(12, 6), dpi=120, layout="constrained")
    ax = figure.subplots()
    for color, (sampler, values) in zip(COLORS, best.items(), strict=False):
        numbers = np.arange(1, values.shape[1] + 1)
        ax.step(numbers, values.T, where="post", color=color, alpha=0.35, linewidth=1)
        ax.step(numbers, values.mean(axis=0), where="post", color=color, linewidth=3, label=sampler)
    ax.set(xlabel="trial", ylabel="best val/loss so far", yscale="log")
    ax.set_title("Best validation loss so far, mean over the seeds and each of them", loc="left")
    ax.grid(color="#E5E5E5", which="both")
    ax.legend(frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samplers", nargs="*", default=["tpe", "random"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("search"))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        sampler: np.array([search(sampler, seed, arguments, folder) for seed in range(arguments.seeds)])
        for sampler in arguments.samplers
    }
    best = {sampler: np.minimum.accumulate(values, axis=1) for sampler, values in found.items()}
    quarters = [arguments.trials * quarter // 4 for quarter in (1, 2, 3, 4)]
    print(f"| best val/loss after | {' | '.join(map(str, quarters))} trials | median of the second half |")
    print("|---" * 6 + "|")
    for sampler, values in found.items():
        columns = [*(best[sampler][:, count - 1] for count in quarters), np.median(values[:, quarters[1] :], axis=1)]
        cells = [f"{column.mean():.4f} ({column.min():.4f} to {column.max():.4f})" for column in columns]
        print(f"| {sampler} | {' | '.join(cells)} |")
    picture(best).savefig(folder / "search.png")


if __name__ == "__main__":
    main()
