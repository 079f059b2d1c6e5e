"""An object that all workers use: each call of a method and each `self.x` counts references to it.

Before: all tasks get one model. After: each task copies it first.
"""

from copy import copy

from compare import compare

import makeparallel as mp

STEPS, TASKS = 100_000, 8


class Model:
    """A straight line."""

    def __init__(self, slope: int, offset: int) -> None:
        self.slope = slope
        self.offset = offset

    def predict(self, x: int) -> int:
        """The line at x."""
        return x * self.slope + self.offset


def add_predictions(model: Model) -> int:
    return sum(model.predict(x) for x in range(STEPS))


def add_own_predictions(model: Model) -> int:
    return add_predictions(copy(model))


def before(pool: mp.Pool) -> list[int]:
    model = Model(3, 1)
    return mp.gather([pool.submit(add_predictions, model) for _ in range(TASKS)])


def after(pool: mp.Pool) -> list[int]:
    model = Model(3, 1)
    return mp.gather([pool.submit(add_own_predictions, model) for _ in range(TASKS)])


if __name__ == "__main__":
    compare(before, after)
