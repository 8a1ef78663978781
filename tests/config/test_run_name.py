"""The names of single runs: the model, and what the command line changes."""

from __future__ import annotations

import pytest

from cifar.config.run_name import LONGEST, with_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "cnn3"),
        (
            ("model=resnet20", "data=cifar10", "data.path=/photos", "tracking.experiment=x", "evaluate.test=false"),
            "resnet20",
        ),
        (("optimizer=sgd", "optimizer.lr=0.1", "seed=3"), "cnn3 sgd lr=0.1 seed=3"),
        (("experiment=quickstart",), "cnn3 quickstart"),
        (("epochs=1", "epochs=2"), "cnn3 epochs=2"),
        (("augmentation=[shift]", "deterministic=false"), "cnn3 augmentation=[shift] deterministic=false"),
        (("tracking.name='my run'", "seed=3"), "my run"),
        (("tracking.parent=abc", "seed=3"), "cnn3"),
    ],
)
def test_says_what_the_command_line_changes(overrides, name, compose):
    assert with_name(compose("data=digits", *overrides), ["data=digits", *overrides]).tracking.name == name


def test_is_cut(compose):
    filters = f"model.filters=[{','.join(['8'] * 60)}]"
    assert len(with_name(compose("data=digits"), [filters]).tracking.name) == LONGEST
