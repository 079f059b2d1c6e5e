"""A number that the program computed, in a global: each use counts references to it.

Small integers (-5 to 256) and numbers written in the program's main file aren't counted; what is computed, parsed or
read from a file is. Before: every task uses the module's number. After: each task makes a number of its own from it.
"""

import os

from compare import compare

import makeparallel as mp

STEPS, TASKS = 200_000, 8
MODULUS = int(os.environ.get("MODULUS", "1000003"))


def mix_with_shared(seed: int) -> int:
    for step in range(STEPS):
        seed = (seed * 31 + step) % MODULUS
    return seed


def mix_with_own(seed: int) -> int:
    modulus = MODULUS + 0  # an equal number, but this task's own
    for step in range(STEPS):
        seed = (seed * 31 + step) % modulus
    return seed


def before(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(mix_with_shared, seed) for seed in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(mix_with_own, seed) for seed in range(TASKS)])


if __name__ == "__main__":
    compare(before, after)
