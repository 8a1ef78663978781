"""Addresses of stores: as they are typed, as SQLAlchemy and MLflow take them, and the folders they stand for.

`sqlite:///PATH` takes the path as it is typed, whatever its characters. To MLflow it is given as
`sqlite+pysqlite:///…`, percent-encoded and absolute: for `sqlite:///…` MLflow 3.17 creates the folder of that name
before SQLAlchemy has decoded it, so that `a%20b` appears next to `a b`.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url

from cifar.runtime import extras, paths
from cifar.runtime.terminal import redact

LOCAL = f"sqlite:///{paths.STORE / 'mlflow.db'}"
"""The default store."""
ENCODED = re.compile(r"([^%?#\s]|%[0-9A-Fa-f]{2})+")
"""A path that may be percent-encoded."""
VARIABLE = "MLFLOW_TRACKING_URI"
INHERITED = os.environ.get(VARIABLE) or None
"""The variable as this process was started with it; MLflow sets it again when a store is opened."""


def chosen(uri: str | None) -> str:
    """The store to use: `uri`, which comes from the settings, else `MLFLOW_TRACKING_URI`, else the default.

    Raises `InputError` where the library for that kind of store is not installed.
    """
    address = uri or INHERITED or LOCAL
    if address.startswith("postgresql"):
        extras.require("cluster", f"tracking.uri={redact(address)}", "psycopg")
    return address


def normalized(uri: str) -> str:
    """`uri` as SQLAlchemy and MLflow take it."""
    return sqlite(database(uri)) if is_local(uri) else uri


def sqlite(path: Path) -> str:
    """The address of the SQLite file at `path`, as SQLAlchemy takes it."""
    return URL.create("sqlite+pysqlite", database=str(path.absolute())).render_as_string()


def shown(uri: str) -> str:
    """`uri` as one types it, without a password."""
    return f"sqlite:///{database(uri)}" if is_local(uri) else redact(uri)


def is_local(uri: str) -> bool:
    """True for a SQLite file."""
    return uri.startswith(("sqlite:", "sqlite+"))


def is_database(uri: str) -> bool:
    """True where this process itself connects to the database, without a server of MLflow's in between."""
    return is_local(uri) or uri.startswith("postgresql")


def database(uri: str) -> Path:
    """The absolute path of a SQLite file.

    The path in `sqlite:///PATH` may also be percent-encoded where its folder does not exist as it is typed.
    """
    if uri.startswith("sqlite+"):
        return Path(make_url(uri).database or "").absolute()
    text = uri.removeprefix("sqlite://").removeprefix("/")
    typed, decoded = Path(text).absolute(), Path(unquote(text)).absolute()
    is_encoded = ENCODED.fullmatch(text) and not typed.parent.exists() and decoded.parent.exists()
    return decoded if is_encoded else typed


def folder(uri: str) -> Path:
    """The folder of artifacts and of files that are not artifacts yet: next to the SQLite file, or to the default."""
    return database(uri if is_local(uri) else LOCAL).resolve().parent / "mlruns"


def nearest(uri: str) -> str:
    """A question for an existing SQLite file whose path differs in one name, with a space before it; else empty."""
    path = database(uri)
    missing = next((part for part in (path, *path.parents) if part.parent.exists()), path)
    rest = path.relative_to(missing)
    try:
        names = [entry.name for entry in missing.parent.iterdir() if (entry / rest).is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name, names, n=1)
    return f" did you mean sqlite:///{missing.with_name(near[0]) / rest}?" if near else ""
