"""Locks in a PostgreSQL database whose server is started again."""

from __future__ import annotations

import time

import pytest

from cifar.tracking import locks
from helpers.processes import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(locks, "LOOK", 0.5)
    monkeypatch.setattr(locks, "RETURN", 4.0)


def test_holder_takes_it_again(postgresql):
    held = locks.lock(postgresql.url, "name")
    held.sign(lambda: pytest.fail("lost"))
    postgresql.stop()
    time.sleep(1)  # longer than between two looks
    postgresql.start()
    time.sleep(2)
    assert locks.lock(postgresql.url, "name") is None
    held.release()
    wait_for(lambda: locks.lock(postgresql.url, "name"))


def test_holder_hears_that_another_was_faster(postgresql):
    lost = []
    held = locks.lock(postgresql.url, "name")
    held.sign(lambda: lost.append(True))
    postgresql.stop()
    postgresql.start()
    faster = locks.lock(postgresql.url, "name")
    assert not faster.is_sure
    wait_for(lambda: lost)
    held.release()
    assert locks.lock(postgresql.url, "name") is None
    faster.release()


def test_is_sure_when_the_server_has_been_up_for_a_while(postgresql):
    time.sleep(4)
    assert locks.lock(postgresql.url, "name").is_sure
