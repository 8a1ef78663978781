"""Artifact locations of SQLite stores, resolved when a row is read: a store's folder may be moved, copied or renamed.

MLflow records absolute locations of experiments, runs and models. In a SQLite store, a location `…/mlruns/TAIL` is read
as the folder `mlruns/TAIL` next to the database, wherever that is now; the rows stay as they are, since two machines
may mount one store in different places. Locations without `mlruns`, such as `s3://…`, and those of other databases are
read as recorded.

`resolve_on_reading` stands on events of SQLAlchemy and on MLflow's table classes, which MLflow does not
document: an artifact repository of our own would not be asked by MLflow's server, and a subclass of MLflow's store
would have to repeat each of its queries.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from sqlalchemy import event
from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import set_committed_value

from cifar.tracking import addresses

COLUMNS = {SqlExperiment: "artifact_location", SqlRun: "artifact_uri", SqlLoggedModel: "artifact_location"}


def resolve_on_reading() -> None:
    """From here on, this process reads today's locations; MLflow's server does where it runs in this process."""
    for table in COLUMNS:
        event.listen(table, "load", _resolve)
        event.listen(table, "refresh", _resolve)


def resolved(location: str, folder: Path) -> str:
    """A recorded `location` as it is now that `folder` is where the store's artifacts are."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return location
    # A location without a scheme is a plain path.
    names = Path(unquote(parts.path) if parts.scheme else location).parts
    if "mlruns" not in names:
        return location
    last = len(names) - 1 - names[::-1].index("mlruns")
    return folder.joinpath(*names[last + 1 :]).as_uri()


def _resolve(row: SqlExperiment | SqlRun | SqlLoggedModel, *_: object) -> None:
    session = object_session(row)
    assert session
    engine, column = session.get_bind().engine, COLUMNS[type(row)]
    location, database = getattr(row, column), engine.url.database or ":memory:"
    if engine.dialect.name == "sqlite" and database != ":memory:" and location:
        folder = addresses.folder(addresses.sqlite(Path(database)))
        # A committed value is no change: it is not written back.
        set_committed_value(row, column, resolved(location, folder))
