"""What a training shows of itself that went wrong although it ended well."""

from __future__ import annotations

import numpy as np
import pytest

from cifar.interfaces import Split
from cifar.tasks.classification import Classification
from cifar.training.diagnosis import findings

FALLING = [2.0, 1.5, 1.2, 1.0, 0.9]
RATES = [1e-4, 1e-3, 1e-3, 5e-4, 1e-5]


def of(train=FALLING, val=FALLING, rates=RATES, kept=5) -> str:
    return "\n".join(findings({"train/loss": train, "val/loss": val, "lr": rates}, kept))


def test_a_training_as_it_should_be_has_none():
    assert of() == ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"val": FALLING[::-1], "kept": 1}, "the best of 5 epochs is the first"),
        ({"val": [4.1, 3.1, 2.5, 2.1, 1.9]}, "val/loss is more than 2 times train/loss from the first epoch on"),
        ({"rates": sorted({*RATES, 2e-3})}, "the learning rate only rose"),
    ],
)
def test_each_sign_is_a_line(settings, expected):
    found = of(**settings)
    assert found.startswith(expected) and "\n" not in found


def test_overfitting_later_is_none_of_them():
    assert of(train=[2.0, 1.0, 0.5, 0.2, 0.1], val=[2.0, 1.2, 0.9, 0.8, 0.8]) == ""


def test_a_constant_rate_is_none_of_them():
    assert of(rates=[1e-3] * 5) == ""


def test_short_trainings_have_none():
    assert findings({"train/loss": [1, 1], "val/loss": [9, 9], "lr": [1, 2]}, 1) == []


def evaluated(labels, predicted) -> list[str]:
    labels, predicted = np.array(labels), np.array(predicted)
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    split = Split(images, {"label": labels})
    return Classification(("cat", "dog", "owl")).evaluate({"probabilities": np.eye(3)[predicted]}, split).warnings


def test_accuracy_of_chance_is_warned_of():
    labels = [0] * 50 + [1] * 30 + [2] * 20
    (warning,) = evaluated(labels, [0] * 100)
    assert warning.startswith("accuracy 0.5000 is no better than") and warning.endswith("0.5000")


def test_a_class_never_predicted_is_warned_of():
    labels = [0] * 50 + [1] * 45 + [2] * 5
    assert evaluated(labels, [0] * 50 + [1] * 50) == ["never predicted: owl"]
    assert evaluated(labels, labels) == []
