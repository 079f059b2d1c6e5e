"""What all tests share: a pool that is checked afterwards, and what is expected and no failure."""

import sys

import pytest

import makeparallel as mp
from makeparallel._errors import TaskInterrupt


@pytest.hookimpl(trylast=True)  # after pytest has put its own hook for unraisable exceptions in place
def pytest_configure(config):
    """Let the suite pass with the GIL on, and with interrupts that arrive in a finalizer, which are sent again."""
    config.addinivalue_line(
        "filterwarnings", "ignore:makeparallel. tasks will not run in parallel:RuntimeWarning"
    )  # the dot stands for a colon, which would end the field
    report = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None if unraisable.exc_type is TaskInterrupt else report(unraisable)


def pytest_collection_modifyitems(items):
    """Skip what coverage does not survive where it measures."""
    coverage = sys.modules.get("coverage")
    if coverage is not None and coverage.Coverage.current() is not None:
        for item in items:
            if item.get_closest_marker("unmeasured") is not None:
                item.add_marker(pytest.mark.skip(reason="coverage measures"))


@pytest.fixture
def pool():
    """A fresh pool of two workers; after the test it is shut down, and its invariants are asserted."""
    fresh = mp.Pool(2)
    yield fresh
    ended = fresh.shutdown(60, cancel_pending=True)
    assert ended, f"{fresh!r} still runs a body a minute after its test"
    fresh._check()
