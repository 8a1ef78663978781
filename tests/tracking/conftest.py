"""Fixtures: a store, and settings that record into it."""

from __future__ import annotations

import pytest

from cifar import tracking
from cifar.config.settings import TrackingSettings
from helpers.runs import sqlite


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """A store that is there already."""
    uri = sqlite(tmp_path_factory.mktemp("store"))
    tracking.connect(uri)
    return uri


@pytest.fixture
def settings(uri, request) -> TrackingSettings:
    """Settings that record into an experiment of the test's own."""
    tracking.connect(uri)
    return TrackingSettings(uri=uri, experiment=request.node.name, name="a run", parent=None)
