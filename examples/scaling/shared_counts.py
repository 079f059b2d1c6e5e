"""Counts in one dict: a plain `counts[word] += 1` loses some when several threads do it, so it needs a lock.

Before: all tasks count in one dict, under a lock. After: each task has a `Counter`, and they are added up.
"""

from collections import Counter
from threading import Lock

from compare import compare

import makeparallel as mp

WORDS, TASKS = 40_000, 8
TEXT = ["the", "cat", "and", "the", "dog", "and", "the", "bird"]


def count_into(counts: Counter[str], lock: Lock) -> None:
    for place in range(WORDS):
        with lock:
            counts[TEXT[place % 8]] += 1


def count_own() -> Counter[str]:
    counts: Counter[str] = Counter()
    count_into(counts, Lock())
    return counts


def before(pool: mp.Pool) -> Counter[str]:
    counts: Counter[str] = Counter()
    lock = Lock()
    mp.gather([pool.submit(count_into, counts, lock) for _ in range(TASKS)])
    return counts


def after(pool: mp.Pool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for found in mp.gather([pool.submit(count_own) for _ in range(TASKS)]):
        counts.update(found)
    return counts


if __name__ == "__main__":
    compare(before, after)
