"""Thousands of tests and the libraries they import stay in memory: the garbage collector leaves them alone."""

import gc

import pytest

gc.disable()  # until everything is collected: a fifth of the time to import it


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the collector look at what tests leave behind, and at nothing older."""
    gc.freeze()
    gc.enable()
