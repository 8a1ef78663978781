"""Random masks, and a task that segments them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from cifar.interfaces import VOID
from cifar.tasks.segmentation.task import Segmentation

seeds = st.integers(0, 2**32 - 1)


@st.composite
def drawn(draw):
    """Masks with void, probabilities for them, weights of the classes, and what of an image all is void."""
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(seeds))
    truth = random.integers(0, classes, (count, 5, 7), dtype=np.uint8)
    truth[random.random(truth.shape) < draw(st.sampled_from([0, 0.3, 0.9]))] = VOID
    logits = 2 * random.normal(size=(*truth.shape, classes)) + draw(st.floats(0, 4)) * np.eye(classes)[truth % classes]
    outputs = np.asarray(tf.nn.softmax(logits.astype("float32")))
    return truth, outputs, random.uniform(0.1, 3, classes).tolist()


def task(classes: int, **given) -> Segmentation:
    return Segmentation(("background", *"abcdefghij"[: classes - 1]), **given)
