"""Recorded runs as Python objects."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cifar.analysis import groups, listing, report
from cifar.api.display import Comparison, Picture, html_table
from cifar.config import extensions, objective
from cifar.config.settings import flatten
from cifar.runtime import terminal
from cifar.runtime.errors import InputError
from cifar.tracking import addresses, queries, store
from cifar.tracking.queries import StoredRun

if TYPE_CHECKING:
    import keras
    import numpy as np

    from cifar.api.models import Images, Restored

PICTURES, CURVES = "pictures", "learning_curves"
SHOWN = ("val/", "best/", "test/")
"""Prefixes of the metrics that a notebook shows of a run."""


class Run:
    """A recorded run. A notebook shows its metrics and learning curves."""

    def __init__(self, stored: StoredRun, uri: str, extensions: str | Path | None = None):
        self._stored, self._uri, self._extensions = stored, uri, extensions

    @property
    def id(self) -> str:
        return self._stored.id

    @property
    def name(self) -> str:
        return self._stored.name

    @property
    def status(self) -> str:
        """FINISHED, FAILED, KILLED or RUNNING."""
        return self._stored.status

    @property
    def start(self) -> datetime:
        return self._stored.start

    @property
    def seconds(self) -> float:
        """From its start to its end."""
        return self._stored.seconds

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics by name; those of an epoch as they were in the last one."""
        return dict(self._stored.metrics)

    @property
    def tags(self) -> dict[str, str]:
        """MLflow's tags of the run."""
        return dict(self._stored.tags)

    @cached_property
    def history(self) -> dict[str, list[float]]:
        """The values of each metric that has one in each epoch, from the first epoch on."""
        with self._opened():
            found = queries.history(self._stored, sorted(self._stored.metrics))
        return {name: values for name, values in found.items() if values}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings by their dotted names."""
        self._load_extensions()
        with self._opened():
            return flatten(queries.settings(self._stored))

    @cached_property
    def path(self) -> Path:
        """The folder of the run's files; a copy if they are on another machine."""
        with self._opened():
            return queries.files(self._stored)

    @property
    def figures(self) -> dict[str, Picture]:
        """The recorded pictures by name."""
        return {path.stem: Picture(path) for path in sorted((self.path / PICTURES).glob("*.png"))}

    @property
    def jobs(self) -> Runs:
        """The runs of a sweep, the first one first."""
        with self._opened():
            return Runs([Run(stored, self._uri) for stored in queries.children(self._stored)])

    @property
    def model(self) -> keras.Model:
        """The trained model with the weights that were kept; it takes raw images and needs none of the run's data."""
        return self._restored.model

    @overload
    def predict(self, images: Images) -> dict[str, np.ndarray]: ...
    @overload
    def predict(self, images: Images, *, decode: bool) -> Any: ...
    def predict(self, images: Images, *, decode: bool = False) -> Any:
        """Arrays by name, such as `probabilities` (n, classes); with `decode`, an answer for each image.

        `images` are uint8 (n, height, width, channels) as the model takes them, or paths of image files of any size.
        Raises `InputError` for others.
        """
        return self._restored.answers(images) if decode else self._restored.predictions(images)

    @cached_property
    def _restored(self) -> Restored:
        from cifar.api.models import Restored

        self._load_extensions()
        with self._opened():
            return Restored.of(self._uri, self.id)

    def _load_extensions(self) -> None:
        extensions.load_installed()
        if self._extensions:
            extensions.load(self._extensions)

    def _opened(self) -> AbstractContextManager[None]:
        return store.opened(self._uri)

    def __repr__(self) -> str:
        scores = "".join(f", {name} {value:.4f}" for name, value in self.metrics.items() if name in listing.METRICS)
        return f"<run {self.id[:8]} {self.name}: {self.status}{scores}>"

    def _repr_html_(self) -> str:
        rows = [(name, terminal.number(value)) for name, value in sorted(self.metrics.items())
                if name.startswith(SHOWN)]  # fmt: skip
        curves = self.figures.get(CURVES)
        shown = f"<img src='{curves.uri}' style='max-width: 720px'>" if curves else ""
        return f"<p><b>run {self.id}</b> {html.escape(self.name)}: {self.status}</p>{shown}{html_table(rows)}"


class Runs(Sequence[Run]):
    """Recorded runs, newest first unless they are sorted; a notebook shows them as a table."""

    def __init__(self, found: Sequence[Run]):
        self._runs = list(found)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def sorted_by(self, metric: str) -> Runs:
        """The runs that have the `metric`, best first; one of `val/` is that of the epoch whose weights were kept.

        Raises `InputError` where no finished run has it.
        """
        values = [(objective.value(metric, run.metrics), run) for run in self]
        having = [(value, run) for value, run in values if value is not None]
        if not having:
            listing.check_metric(metric, [run._stored for run in self])
            raise InputError(f"metric {metric}: no finished run has it")
        ranked = sorted(having, key=lambda pair: pair[0], reverse=not objective.lower_is_better(metric))
        return Runs([run for _, run in ranked])

    def best(self, metric: str) -> Run:
        """The first of `sorted_by(metric)`."""
        return self.sorted_by(metric)[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Id, name, status and metrics of each run, as `pandas.DataFrame` takes them."""
        return [{"id": run.id, "name": run.name, "status": run.status, **run.metrics} for run in self]

    def __repr__(self) -> str:
        return listing.table([(run._stored, []) for run in self], terminal.width()) if self else "no runs"

    def _repr_html_(self) -> str:
        names = [name for name in listing.METRICS if any(name in run.metrics for run in self)]
        rows = [(run.id[:8], run.name, run.status,
                 *(terminal.number(run.metrics[name]) if name in run.metrics else "" for name in names))
                for run in self]  # fmt: skip
        return html_table([("run", "name", "status", *names), *rows])


def load(run_id: str, *, tracking_uri: str | None = None, extensions: str | Path | None = None) -> Run:
    """The recorded run of this id, or of an id that begins so; raises `InputError`.

    `extensions` is the folder of code that the run was made with; nothing is loaded because of a record.
    """
    uri = _chosen(tracking_uri)
    with store.opened(uri):
        (stored,) = queries.find_runs([run_id])
    return Run(stored, uri, extensions)


def runs(
    condition: str = "",
    *,
    experiment: str | None = None,
    status: str | None = None,
    tracking_uri: str | None = None,
) -> Runs:
    """The recorded runs that meet all conditions, newest first.

    `condition` is such as `"test/accuracy > 0.7"`, or a filter string of MLflow's. Raises `InputError`.
    """
    uri = _chosen(tracking_uri)
    with store.opened(uri):
        return Runs([Run(stored, uri) for stored in listing.select(experiment, status, condition)])


def compare(*compared: Run) -> Comparison:
    """Settings, results, cost and significance tests of two runs or more of one store; raises `InputError`."""
    if len({run._uri for run in compared}) > 1:
        raise InputError("compare: the runs are of several stores; accepted: one")
    from cifar.analysis import html as pages

    with store.opened(compared[0]._uri if compared else None):
        chosen = groups.named([run.id for run in compared])
        found = report.Comparison.of(groups.grouped(chosen))
        return Comparison(report.as_text(found, terminal.width()), pages.render(found))


def _chosen(uri: str | None) -> str:
    """The address of a store, the same from any working folder."""
    return addresses.normalized(addresses.chosen(uri or os.environ.get(addresses.VARIABLE)))
