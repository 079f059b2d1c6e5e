"""A dict that all workers write to: each append takes the list's lock, and what is put there belongs to another thread.

Before: all tasks put their items into one dict of lists. After: each has a dict of its own, and they are merged.
"""

from compare import compare

import makeparallel as mp

ITEMS, TASKS = 50_000, 8
KEYS = 10


def put_into(groups: dict[int, list[int]], start: int) -> None:
    for number in range(start, start + ITEMS):
        groups[number % KEYS].append(number % 100)


def make_groups(start: int) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {key: [] for key in range(KEYS)}
    put_into(groups, start)
    return groups


def before(pool: mp.Pool) -> list[int]:
    groups: dict[int, list[int]] = {key: [] for key in range(KEYS)}
    mp.gather([pool.submit(put_into, groups, task * ITEMS) for task in range(TASKS)])
    return [len(groups[key]) for key in range(KEYS)]


def after(pool: mp.Pool) -> list[int]:
    groups: dict[int, list[int]] = {key: [] for key in range(KEYS)}
    for found in mp.gather([pool.submit(make_groups, task * ITEMS) for task in range(TASKS)]):
        for key, numbers in found.items():
            groups[key] += numbers
    return [len(groups[key]) for key in range(KEYS)]


if __name__ == "__main__":
    compare(before, after)
