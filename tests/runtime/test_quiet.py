"""Silenced libraries, and what is heard all the same."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from cifar.runtime.quiet import silence, silenced
from helpers.processes import run_python


@pytest.mark.parametrize("descriptor", [1, 2])
def test_nothing_is_written_inside(descriptor, capfd):
    with pytest.raises(ValueError), silenced(descriptor):
        print("of Python", file=sys.__stdout__ if descriptor == 1 else sys.__stderr__)
        os.write(descriptor, b"of a library")
        os.write(3 - descriptor, b"elsewhere\n")
        raise ValueError
    os.write(descriptor, b"after")
    found = capfd.readouterr()
    expected = ("after", "elsewhere\n")
    assert (found.out, found.err) == (expected if descriptor == 1 else expected[::-1])


def test_what_is_written_before_comes_out():
    done = run_python("-c", "from cifar.runtime.quiet import silenced\nprint('before')\nwith silenced(1): print('in')")
    assert (done.code, done.stdout) == (0, "before\n")


def test_loggers_and_warnings(caplog):
    logger = logging.getLogger("a_library")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        silence("a_library", warnings=["a habit"])
        warnings.warn("a habit of old", stacklevel=1)
        warnings.warn("no habit", stacklevel=1)
        logger.warning("dropped")
        logger.error("kept")
    assert [str(one.message) for one in heard] == ["no habit"]
    assert caplog.messages == ["kept"]
