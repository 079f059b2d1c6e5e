"""An object for each row: memory is taken and given back, references are counted, the collector stops all threads.

Before: a task makes a dict for each row, then looks at all. After: it keeps two arrays of numbers.
"""

from array import array
from typing import Any

from compare import compare

import makeparallel as mp

ROWS, TASKS = 60_000, 8


def sum_dicts(seed: int) -> int:
    rows: list[dict[str, Any]] = [{"key": number, "values": [seed]} for number in range(ROWS)]
    return sum(row["key"] + row["values"][0] for row in rows)


def sum_arrays(seed: int) -> int:
    keys = array("q", range(ROWS))
    values = array("q", [seed]) * ROWS
    return sum(keys) + sum(values)


def before(pool: mp.Pool) -> list[int]:
    return pool.map(sum_dicts, range(TASKS), chunksize=1)


def after(pool: mp.Pool) -> list[int]:
    return pool.map(sum_arrays, range(TASKS), chunksize=1)


if __name__ == "__main__":
    compare(before, after)
