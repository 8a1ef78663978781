"""Start-up time of `run.py`, for `--help` and for mistakes, compared with `python -c "import hydra"`.

    python benchmarks/startup.py [--rounds 15]

A round runs each command once, in separate processes. Measured is CPU time (user and system); ratios are within a
round. A bare Hydra application with the same `conf/` shows Hydra's own share.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
FIRST = "import hydra"
BARE = f"""
import hydra

hydra.main(version_base="1.3", config_path={str(ROOT / "conf")!r}, config_name="config")(lambda settings: None)()
"""


def commands(folder: Path) -> dict[str, list[str]]:
    bare = folder / "bare.py"
    bare.write_text(BARE)
    run = str(ROOT / "run.py")
    return {
        FIRST: ["-c", FIRST],
        "--help": [run, "--help"],
        "optimizer.lrr=1, found by Hydra": [run, "optimizer.lrr=1"],
        "epochs=three, found by type": [run, "epochs=three"],
        "optimizer.lr=-1, found by its builder": [run, "optimizer.lr=-1"],
        "bare Hydra application": [str(bare), "hydra/launcher=basic"],
        "bare Hydra application, --help": [str(bare), "hydra/launcher=basic", "--help"],
    }


def cpu_seconds(command: list[str], folder: Path) -> float:
    process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = commands(folder)
        taken = [{name: cpu_seconds(command, folder) for name, command in known.items()} for _ in range(rounds + 1)]
    seconds = {name: np.array([found[name] for found in taken[1:]]) for name in known}
    print(f"{'':40}{'ms':>8}{f'× {FIRST}':>18}{'least':>8}{'most':>8}")
    for name, times in seconds.items():
        ratio = times / seconds[FIRST]
        print(f"{name:40}{np.median(times) * 1000:8.0f}{np.median(ratio):18.2f}{ratio.min():8.2f}{ratio.max():8.2f}")


if __name__ == "__main__":
    main()
