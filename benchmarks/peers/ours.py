"""`python run.py …`, the whole of it, in turns."""

import runpy
import sys
from pathlib import Path

from shared import turn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from cifar.config.registry import CALLBACKS  # noqa: E402
from cifar.runtime.lazy import keras  # noqa: E402


@CALLBACKS.register
def turns():
    """Wait for the next turn before each epoch."""
    return keras.callbacks.LambdaCallback(on_epoch_begin=turn)


sys.argv = ["run.py", *sys.argv[1:], "+callbacks.turns={}"]
runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
