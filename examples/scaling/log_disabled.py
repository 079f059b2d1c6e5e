"""A log call that logs nothing, for every step: it still counts references to the logger, which all threads share.

Before: `debug` is called in each step, at level INFO. After: each task asks once whether it would log anything.
"""

import logging

from compare import compare

import makeparallel as mp

STEPS, TASKS = 50_000, 8
LOG = logging.getLogger("scaling")


def ask_each_time(start: int) -> int:
    total = 0
    for number in range(start, start + STEPS):
        total += number % 7
        LOG.debug("total %d", total)
    return total


def ask_once(start: int) -> int:
    total, verbose = 0, LOG.isEnabledFor(logging.DEBUG)
    for number in range(start, start + STEPS):
        total += number % 7
        if verbose:
            LOG.debug("total %d", total)
    return total


def before(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(ask_each_time, start) for start in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(ask_once, start) for start in range(TASKS)])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    compare(before, after)
