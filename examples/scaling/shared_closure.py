"""A nested function that all workers call: each call counts references to the function and to what it encloses.

Before: one closure for all tasks. After: each task makes its own. A function of a module needs none of that: references
to it aren't counted.
"""

from collections.abc import Callable

from compare import compare

import makeparallel as mp

STEPS, TASKS = 100_000, 8


def make_score(weights: list[int]) -> Callable[[int], int]:
    def score(number: int) -> int:
        return number * weights[number % 3] % 7

    return score


def add_scores(score: Callable[[int], int]) -> int:
    return sum(score(number) for number in range(STEPS))


def add_own_scores(weights: list[int]) -> int:
    return add_scores(make_score(weights.copy()))  # a list of its own, too


def before(pool: mp.Pool) -> list[int]:
    score = make_score([2, 3, 5])
    return mp.gather([pool.submit(add_scores, score) for _ in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    weights = [2, 3, 5]
    return mp.gather([pool.submit(add_own_scores, weights) for _ in range(TASKS)])


if __name__ == "__main__":
    compare(before, after)
