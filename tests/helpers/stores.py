"""New stores in milliseconds: MLflow runs all its migrations on each new database, which takes a second."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy
from mlflow.store.db import utils


@functools.cache
def schema() -> str:
    """The SQL by which a new SQLite database becomes what MLflow's migrations make of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        migrate(engine)
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            return "\n".join(connection.iterdump())


def initialize(engine: sqlalchemy.Engine) -> None:
    """Fill the database of `engine`: by the schema where it is an empty SQLite file, else by the migrations."""
    if engine.dialect.name != "sqlite" or sqlalchemy.inspect(engine).get_table_names():
        migrate(engine)
        return
    with closing(engine.raw_connection()) as connection:
        connection.driver_connection.executescript(schema())


migrate = utils._initialize_tables


def replace_migrations() -> None:
    """From now on, let MLflow fill new databases in this process by `initialize`."""
    utils._initialize_tables = initialize
