"""How fast samplers find good settings: searches of the same space with the same number of trials, on digits.

    python benchmarks/search.py [tpe random …] [--trials 16] [--seeds 2] [--folder DIR]

Each search is a sweep of its own. The same command again goes on where it was stopped. Prints the best validation loss
after each quarter of the trials, of each sampler over the seeds, and draws all in `DIR/search.png`.
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
RUN = ("data=digits", "model.filters=[8,16]", "model.head.units=[32]", "augmentation=none", "epochs=6")
SPACE = (
    "optimizer=choice(adam,adamw,nadam,rmsprop,sgd)", "optimizer.lr=tag(log, interval(1e-5, 1))",
    "optimizer.weight_decay=tag(log, interval(1e-4, 1))", "model.head.dropout=interval(0, 0.9)",
    "batch_size=choice(16,32,64,128,256)",
)  # fmt: skip
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def search(sampler: str, seed: int, trials: int, folder: Path) -> np.ndarray:
    """The objective of each trial, in the order in which they were asked for."""
    name, store = f"{sampler}-{seed}", f"sqlite:///{folder / 'optuna.db'}"
    subprocess.run(
        [sys.executable, ROOT / "run.py", "--multirun", "hydra/sweeper=optuna", *RUN, *SPACE,
         f"hydra/sweeper/sampler={sampler}", f"hydra.sweeper.sampler.seed={seed}", f"hydra.sweeper.n_trials={trials}",
         f"hydra.sweeper.study_name={name}", f"hydra.sweeper.storage={store}", "hydra.launcher.n_jobs=2",
         f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"],
        check=True,
    )  # fmt: skip
    finished = optuna.load_study(study_name=name, storage=store).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return np.array([trial.value for trial in sorted(finished, key=lambda trial: trial.user_attrs["job"])])


def picture(found: dict[str, np.ndarray]) -> Figure:
    """The best so far of each sampler: a line for each seed, and their mean in front. Arrays are (seeds, trials)."""
    figure = Figure(figsize=(12, 6), dpi=120, layout="constrained")
    ax = figure.subplots()
    for colour, (sampler, best) in zip(COLOURS, found.items(), strict=False):
        numbers = np.arange(1, best.shape[1] + 1)
        ax.step(numbers, best.T, where="post", color=colour, alpha=0.35, linewidth=1)
        ax.step(numbers, best.mean(axis=0), where="post", color=colour, linewidth=3, label=sampler)
    ax.set(xlabel="trial", ylabel="best val/loss so far", yscale="log")
    ax.set_title("Best validation loss so far, mean over the seeds and each of them", loc="left")
    ax.grid(color="#E5E5E5", which="both")
    ax.legend(frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samplers", nargs="*", default=["tpe", "random"])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("search"))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        sampler: np.minimum.accumulate(
            [search(sampler, seed, arguments.trials, folder) for seed in range(arguments.seeds)], axis=1
        )
        for sampler in arguments.samplers
    }
    quarters = [arguments.trials * quarter // 4 for quarter in (1, 2, 3, 4)]
    print("| best val/loss after | " + " | ".join(f"{count} trials" for count in quarters) + " |")
    print("|---" * 5 + "|")
    for sampler, best in found.items():
        told = [f"{best[:, count - 1].mean():.4f} ({best[:, count - 1].min():.4f} to {best[:, count - 1].max():.4f})"
                for count in quarters]  # fmt: skip
        print(f"| {sampler} | " + " | ".join(told) + " |")
    picture(found).savefig(folder / "search.png")


if __name__ == "__main__":
    main()
