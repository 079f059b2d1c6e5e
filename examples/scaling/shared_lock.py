"""A lock around every step: all workers meet at it, and at most one is inside.

Before: each number is added to one total, under a lock. After: each task returns its own total, and they are added.
"""

from threading import Lock

from compare import compare

import makeparallel as mp

STEPS, TASKS = 50_000, 8


class Total:
    """A sum that all tasks add to."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.value = 0

    def add(self, number: int) -> None:
        """Add a number; atomic."""
        with self.lock:
            self.value += number


def add_each(total: Total, start: int) -> None:
    for number in range(start, start + STEPS):
        total.add(number % 7)


def add_at_the_end(start: int) -> int:
    own = Total()
    add_each(own, start)
    return own.value


def before(pool: mp.Pool) -> int:
    total = Total()
    mp.gather([pool.submit(add_each, total, start) for start in range(TASKS)])
    return total.value


def after(pool: mp.Pool) -> int:
    return sum(mp.gather([pool.submit(add_at_the_end, start) for start in range(TASKS)]))


if __name__ == "__main__":
    compare(before, after)
