"""MLflow's model registry: named models, each version of which is a run."""

from __future__ import annotations

import re

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cifar.runtime.errors import InputError, did_you_mean
from cifar.tracking import store

PREFIX = "models:/"
ADDRESS = re.compile(rf"{PREFIX}(?P<name>[^/@:]+)(@(?P<alias>[^/@:]+)|/(?P<version>[1-9]\d*))")
"""A version of a registered model, by its number or by an alias such as `champion`."""


def is_address(given: str) -> bool:
    """True for what names a registered model rather than a run."""
    return given.startswith(PREFIX)


def model_name(address: str) -> str:
    """Return the name of the model in an address; raises `InputError`."""
    return _parsed(address)["name"]


def run_id(address: str) -> str:
    """Return the id of the run behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`; raises `InputError`."""
    parts, client = _parsed(address), mlflow.MlflowClient()
    name, alias, version = parts["name"], parts["alias"], parts["version"]
    with store.reported(InputError, address, mlflow.get_tracking_uri()):
        models = {model.name: model for model in client.search_registered_models()}
        if name not in models:
            raise InputError(f"{address}: no model is registered so; {did_you_mean(name, models)}")
        aliases = models[name].aliases
        if alias and alias not in aliases:
            raise InputError(f"{address}: {name} has no such alias; {did_you_mean(alias, aliases)}")
        try:
            found = client.get_model_version(name, version or aliases[alias])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(f"{address}: {name} has no version {version}") from None
    if not found.run_id:
        raise InputError(f"{address}: was registered without a run")
    return str(found.run_id)


def add_version(name: str, run: str, alias: str | None) -> str:
    """Register the run with the id `run` as the next version of the model `name`; return the version's address.

    A run that is a version of the model already gets no second one. The `alias`, if given, points to this version from
    now on. Raises `InputError`.
    """
    if not ADDRESS.fullmatch(f"{PREFIX}{name}@{alias or 'none'}"):
        raise InputError(f"register {name}: names and aliases should be without / : @")
    client = mlflow.MlflowClient()
    with store.reported(InputError, f"register {name}", mlflow.get_tracking_uri()):
        if name not in {model.name for model in client.search_registered_models()}:
            client.create_registered_model(name)
        known = [version for version in client.search_model_versions(f"name = '{name}'") if version.run_id == run]
        version = known[0] if known else _created(client, name, run)
        if alias:
            client.set_registered_model_alias(name, alias, version.version)
    return f"{PREFIX}{name}/{version.version}"


def _created(client: mlflow.MlflowClient, name: str, run: str) -> ModelVersion:
    """A new version: the model that the run recorded in MLflow's form, else its artifacts."""
    recorded = client.get_run(run)
    outputs = recorded.outputs.model_outputs if recorded.outputs else []
    if not outputs:
        return client.create_model_version(name, recorded.info.artifact_uri, run)
    model_id = outputs[-1].model_id
    return client.create_model_version(name, f"{PREFIX}{model_id}", run, model_id=model_id)


def _parsed(address: str) -> dict[str, str]:
    found = ADDRESS.fullmatch(address)
    if not found:
        raise InputError(f"{address}: should be {PREFIX}NAME@ALIAS or {PREFIX}NAME/VERSION")
    return found.groupdict()
