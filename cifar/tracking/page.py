"""MLflow's page on a store.

The server runs in this process, not as `mlflow ui`, so that it reads artifact locations as they are now. It takes its
settings from variables that MLflow does not document; their names come from its module `server.constants`.
"""

from __future__ import annotations

import os
import socket
import warnings

import mlflow

from cifar.tracking import addresses, store, view


def serve(uri: str | None, place: socket.socket) -> None:
    """Answer at the socket `place` until a signal ends it; raises `InputError` where there is no store."""
    store.connect_existing(uri)
    import uvicorn
    from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR

    address = mlflow.get_tracking_uri()
    os.environ[BACKEND_STORE_URI_ENV_VAR] = address
    os.environ[ARTIFACT_ROOT_ENV_VAR] = addresses.folder(address).as_uri()
    with warnings.catch_warnings(action="ignore"):  # of Starlette, about what MLflow takes from it
        from mlflow.server.fastapi_app import app

    host, port = place.getsockname()[:2]
    print(
        f"http://{host}:{port}/{newest_runs()}\nshows the runs in {addresses.shown(address)}, until Ctrl-C", flush=True
    )
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[place])


def newest_runs() -> str:
    """The part of the address that opens the experiment of the newest run; empty where there is none."""
    client = mlflow.MlflowClient()
    experiments = {one.experiment_id: one for one in client.search_experiments()}
    runs = client.search_runs(list(experiments), order_by=["attributes.start_time DESC"], max_results=1)
    if not runs:
        return ""
    experiment = experiments[runs[0].info.experiment_id]
    return view.fragment(experiment.experiment_id, view.TAG in experiment.tags)
