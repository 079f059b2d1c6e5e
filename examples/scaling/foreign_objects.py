"""Objects that another thread made: to count references to them takes atomic operations, also where nobody else does.

Before: the main thread makes a list of numbers, and the tasks work it through. After: each task makes its numbers.
"""

from compare import compare

import makeparallel as mp

ITEMS, TASKS = 1_600_000, 8
PART = ITEMS // TASKS


def add_given(numbers: list[int]) -> int:
    total = 0
    for _ in range(4):
        for number in numbers:
            total += number
    return total


def add_own(start: int) -> int:
    return add_given(list(range(start, start + PART)))


NUMBERS = [list(range(start, start + PART)) for start in range(0, ITEMS, PART)]


def before(pool: mp.Pool) -> int:
    return sum(mp.gather([pool.submit(add_given, numbers) for numbers in NUMBERS]))


def after(pool: mp.Pool) -> int:
    return sum(mp.gather([pool.submit(add_own, start) for start in range(0, ITEMS, PART)]))


if __name__ == "__main__":
    compare(before, after)
