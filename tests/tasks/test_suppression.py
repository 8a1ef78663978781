"""The suppression of exported models, held against TensorFlow's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar.tasks.detection import suppression
from cifar.tasks.detection.fcos import FCOSHead, Grid


def head(classes: int, most: int = 100) -> FCOSHead:
    return FCOSHead(classes, Grid((32, 32), [2, 3]), 8, 1, "ciou", 1.0, 2.0, 0.25, 0.5, most)


def crowded(rng: np.random.Generator, images: int, classes: int) -> np.ndarray:
    """Outputs of a model that is sure of many boxes, most of which overlap."""
    locations = len(head(classes).grid.locations())
    return np.concatenate(
        [rng.normal(-2, 2, (images, locations, classes + 1)), rng.uniform(1, 12, (images, locations, 4))], axis=-1
    ).astype(np.float32)


@pytest.mark.parametrize(("classes", "most"), [(1, 100), (3, 100), (3, 7)])
def test_detections_are_those_of_the_evaluation(classes, most):
    """One object suppresses the next, and so on: the rounds follow these chains."""
    fcos, outputs = head(classes, most), crowded(np.random.default_rng(classes), 8, classes)
    expected = fcos.predictions(outputs)
    image = keras.Input(outputs.shape[1:])
    rows = keras.Model(image, fcos.detections(image)).predict(outputs, verbose=0)
    assert rows.shape == (8, most, 6)
    np.testing.assert_array_equal(rows[..., 5], expected["classes"])
    np.testing.assert_allclose(rows[..., 4], expected["scores"], atol=1e-6)
    np.testing.assert_allclose(rows[..., :4], expected["boxes"], atol=1e-4)
    counted = suppression.counted(tf.constant(rows))
    np.testing.assert_array_equal(counted["count"], (expected["classes"] >= 0).sum(axis=1))


def test_an_image_without_objects_has_padding_alone():
    fcos = head(2)
    outputs = np.concatenate([np.full((1, 80, 3), -9.0), np.ones((1, 80, 4))], axis=-1).astype(np.float32)
    rows = np.asarray(fcos.detections(tf.constant(outputs)))
    np.testing.assert_array_equal(rows[0], np.tile([0, 0, 0, 0, 0, -1], (100, 1)))


def test_of_equal_boxes_with_equal_scores_one_is_left():
    boxes, scores = np.tile([[[1.0, 1, 5, 5]]], (1, 4, 1)), np.full((1, 4, 1), 0.5)
    rows = np.asarray(
        suppression.suppressed(tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32), 0.5, 0.05, 9)
    )
    assert (rows[0, :, 5] >= 0).tolist() == [True] + [False] * 8
