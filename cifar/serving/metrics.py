"""Metrics of a service for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from cifar.serving.models import Model

disable_created_metrics()  # the time at which each was created

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and histograms of one service; `models` returns its current models."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, models: Callable[[], Mapping[str, Model]]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Models(models))
        self._requests = Counter(
            "cifar_requests", "Answered requests; code 499: the client disconnected", ["route", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "cifar_request_seconds", "Seconds from a request's head to its answer", ["route"], buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.in_flight = Gauge("cifar_requests_in_flight", "Requests in flight", registry=self._registry)
        self._batch_images = Histogram(
            "cifar_batch_images", "Images in a batch", ["model"], buckets=[2**power for power in range(11)],
            registry=self._registry,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "cifar_batch_seconds", "Seconds to compute a batch", ["model"], buckets=SECONDS, registry=self._registry
        )

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)

    def batches_of(self, model: str) -> Callable[[int, float], None]:
        """Return a function that counts a model's batches, called with images and seconds of each."""
        images, seconds = self._batch_images.labels(model), self._batch_seconds.labels(model)

        def observe(size: int, taken: float) -> None:
            images.observe(size)
            seconds.observe(taken)

        return observe

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Models(Collector):
    """Metrics that are read from the models when collected."""

    def __init__(self, models: Callable[[], Mapping[str, Model]]):
        self._models = models

    def collect(self) -> Iterable[GaugeMetricFamily]:
        waiting = GaugeMetricFamily("cifar_queue_images", "Waiting images", labels=["model"])
        labels = ["model", "run", "run_name", "experiment", "weights_sha256"]
        info = GaugeMetricFamily("cifar_model_info", "The run of a model", labels=labels)
        for name, model in self._models().items():
            waiting.add_metric([name], model.batcher.images)
            run = model.run
            info.add_metric([name, run.id, run.name, run.experiment, run.tags.get("weights_sha256", "")], 1)
        return [waiting, info]
