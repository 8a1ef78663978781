"""What a service tells Prometheus of itself."""

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

disable_created_metrics()  # of when each was first counted

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and histograms of one service; `models` gives the models that it answers with now."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, models: Callable[[], Mapping[str, Model]]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Models(models))
        self._requests = Counter(
            "cifar_requests", "Requests answered, 499 for clients that went away", ["route", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "cifar_request_seconds", "From a request's head to its answer", ["route"], buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.in_flight = Gauge("cifar_requests_in_flight", "Requests not answered yet", registry=self._registry)
        self._batch_images = Histogram(
            "cifar_batch_images", "Images computed together", ["model"], buckets=[2**power for power in range(11)],
            registry=self._registry,
        )  # fmt: skip
        self._batch_seconds = Histogram(
            "cifar_batch_seconds", "Time a batch is computed in", ["model"], buckets=SECONDS, registry=self._registry
        )

    def request(self, route: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)

    def batches_of(self, model: str) -> Callable[[int, float], None]:
        """What counts the batches of a model: called with images and seconds of each."""
        images, seconds = self._batch_images.labels(model), self._batch_seconds.labels(model)

        def observe(size: int, taken: float) -> None:
            images.observe(size)
            seconds.observe(taken)

        return observe

    def text(self) -> bytes:
        """All of it in Prometheus's text form."""
        return generate_latest(self._registry)


class _Models(Collector):
    """What is read off the models at the moment."""

    def __init__(self, models: Callable[[], Mapping[str, Model]]):
        self._models = models

    def collect(self) -> Iterable[GaugeMetricFamily]:
        waiting = GaugeMetricFamily("cifar_queue_images", "Images that wait to be computed", labels=["model"])
        labels = ["model", "run", "run_name", "experiment", "weights_sha256"]
        info = GaugeMetricFamily("cifar_model_info", "The run behind a model", labels=labels)
        for name, model in self._models().items():
            waiting.add_metric([name], model.batcher.images)
            run = model.run
            info.add_metric([name, run.id, run.name, run.experiment, run.tags.get("weights_sha256", "")], 1)
        return [waiting, info]
