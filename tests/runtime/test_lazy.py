"""Heavy libraries: loaded late, without the search for garbage, and without what they drag in."""

from __future__ import annotations

import gc

import pytest

from cifar.runtime.lazy import Lazy, load
from helpers.processes import run_python

LITTER = """
import gc
for number in range(100_000):
    litter = []
    litter.append(litter)
collections = gc.get_stats()[0]["collections"]
"""


def test_nothing_is_collected_while_a_module_loads(tmp_path, monkeypatch):
    (tmp_path / "littering.py").write_text(LITTER)
    monkeypatch.syspath_prepend(tmp_path)
    gc.collect()  # so that none is due
    before = gc.get_stats()[0]["collections"]
    try:
        assert Lazy("littering").collections == before
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_collector_goes_on_where_a_module_does_not_load():
    with pytest.raises(ModuleNotFoundError):
        load("no_such_module")
    assert gc.isenabled()


def test_tensorflow_and_keras_come_without_jax_and_scikit_learn_which_can_be_loaded_afterwards():
    script = """
import sys
from cifar.runtime.lazy import load_tensorflow
load_tensorflow()
import keras
print(keras.backend.backend(), "jax" in sys.modules, "sklearn" in sys.modules)
import jax
import sklearn.metrics
load_tensorflow()
print(sys.modules["jax"] is jax)
"""
    done = run_python("-c", script)
    assert (done.code, done.stdout.splitlines()) == (0, ["tensorflow False False", "True"]), done


def test_loading_mlflow_is_shown():
    script = """
from cifar.runtime.live import LiveLines
LiveLines.show = lambda self, lines: print(*lines)
import cifar.tracking
"""
    done = run_python("-c", script)
    assert (done.code, done.stdout) == (0, "loading MLflow …\n"), done
