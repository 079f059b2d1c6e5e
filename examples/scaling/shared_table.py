"""A dict that all workers only read: each look counts references to the dict.

Before: every task reads the one dict of the module. After: every task copies it first, and reads its own.
"""

from compare import compare

import makeparallel as mp

STEPS, TASKS = 200_000, 8
PRICES = {letter: ord(letter) for letter in "abcdefgh"}


def total_of_shared(letters: str) -> int:
    return sum(PRICES[letters[step % 8]] for step in range(STEPS))


def total_of_own(letters: str) -> int:
    prices = PRICES.copy()
    return sum(prices[letters[step % 8]] for step in range(STEPS))


def before(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(total_of_shared, "abcdefgh") for _ in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(total_of_own, "abcdefgh") for _ in range(TASKS)])


if __name__ == "__main__":
    compare(before, after)
