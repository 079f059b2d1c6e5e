"""What all tests share: a pool that is checked afterwards, and the one warning that is expected."""

import pytest

import makeparallel as mp


def pytest_configure(config):
    """Let the suite pass with the GIL on: ignore the library's one warning about it, and nothing else."""
    config.addinivalue_line(
        "filterwarnings", "ignore:makeparallel. tasks will not run in parallel:RuntimeWarning"
    )  # the dot stands for a colon, which would end the field


@pytest.fixture
def pool():
    """A fresh pool of two workers; after the test it is shut down, and its invariants are asserted."""
    fresh = mp.Pool(2)
    yield fresh
    ended = fresh.shutdown(60, cancel_pending=True)
    assert ended, f"{fresh!r} still runs a body a minute after its test"
    fresh._check()
