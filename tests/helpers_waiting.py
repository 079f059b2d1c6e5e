"""Waiting in tests for what another thread does a moment later."""

import gc
import time
from collections.abc import Callable

LIMIT = 30  # seconds: far more than anything in the tests takes, so that a hang becomes a failure


def eventually(predicate: Callable[[], object], *, collect: bool = False) -> bool:
    """True once `predicate` holds. With `collect`, garbage is collected before each look."""
    deadline = time.monotonic() + LIMIT
    while not predicate():
        if time.monotonic() > deadline:
            return False
        if collect:
            gc.collect()
        time.sleep(0.001)
    return True


def eventually_freed(predicate: Callable[[], object]) -> bool:
    """True once `predicate` holds, which asks whether something is gone."""
    return eventually(predicate, collect=True)
