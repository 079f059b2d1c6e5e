"""Many new lists, dicts and instances: every few thousand may start a garbage collection, which stops all threads.

Before: tasks build nested lists, with the collector as it is. After: the same tasks with the collector off, as a
program may run a phase that makes no cycles; it switches it on again afterwards.
"""

import gc

from compare import compare

import makeparallel as mp

NODES, TASKS = 60_000, 8


def build(seed: int) -> int:
    nodes = [[number, [seed]] for number in range(NODES)]
    return len(nodes)


def before(pool: mp.Pool) -> list[int]:
    return mp.gather([pool.submit(build, seed) for seed in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    gc.disable()
    try:
        return before(pool)
    finally:
        gc.enable()


if __name__ == "__main__":
    compare(before, after)
