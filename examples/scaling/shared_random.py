"""The functions of `random`: they are methods of one hidden generator, with a lock around its state.

Before: `random.random()`. After: a `random.Random` for each task, which makes the result repeatable besides.
"""

import random

from compare import compare

import makeparallel as mp

POINTS, TASKS = 40_000, 8


def throw_with_shared(points: int) -> int:
    return sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(points))


def throw_with_own(points: int, seed: int) -> int:
    draw = random.Random(seed).random
    return sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(points))


def before(pool: mp.Pool) -> float:
    hits = sum(mp.gather([pool.submit(throw_with_shared, POINTS) for _ in range(TASKS)]))
    return round(4 * hits / (POINTS * TASKS), 1)


def after(pool: mp.Pool) -> float:
    hits = sum(mp.gather([pool.submit(throw_with_own, POINTS, seed) for seed in range(TASKS)]))
    return round(4 * hits / (POINTS * TASKS), 1)


if __name__ == "__main__":
    compare(before, after)
