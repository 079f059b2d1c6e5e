"""A log record for every item: records of all threads go through the logger's and the handler's lock.

Before: a record for each item. After: each task collects its lines, and logs them as one record.
"""

import logging
import os

from compare import compare

import makeparallel as mp

ITEMS, TASKS = 4_000, 8
LOG = logging.getLogger("scaling")


def log_each(start: int) -> int:
    for number in range(start, start + ITEMS):
        LOG.info("item %d has value %d", number, number % 7)
    return start


def log_once(start: int) -> int:
    lines = [f"item {number} has value {number % 7}" for number in range(start, start + ITEMS)]
    LOG.info("%s", "\n".join(lines))
    return start


def before(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(log_each, start) for start in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(log_once, start) for start in range(TASKS)])


if __name__ == "__main__":
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        logging.basicConfig(level=logging.INFO, stream=nowhere, format="%(asctime)s %(message)s")
        compare(before, after)
