"""Event files for TensorBoard, written by TensorFlow alone; the package `tensorboard` is needed to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cifar.runtime.lazy import tf

SCALAR = 1
"""TensorBoard's `DATA_CLASS_SCALAR`."""


class EventFiles:
    """Scalars in a folder below `folder` for each split, which TensorBoard shows in one panel for each metric."""

    def __init__(self, folder: Path):
        summary = tf.compat.v1.SummaryMetadata
        self._metadata = summary(plugin_data=summary.PluginData(plugin_name="scalars"), data_class=SCALAR)
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def write(self, metrics: Mapping[str, float], step: int) -> None:
        """Add `metrics`, named `SPLIT/NAME` or `NAME`, at `step`."""
        for metric, value in metrics.items():
            split, _, name = metric.rpartition("/")
            with self._writer(split or "train").as_default(step):
                tf.summary.write(name, tf.constant(float(value)), metadata=self._metadata)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, split: str) -> tf.summary.SummaryWriter:
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(str(self._folder / split))
        return self._writers[split]
