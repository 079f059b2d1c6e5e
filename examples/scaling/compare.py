"""Time two ways of doing the same, in turns: what the scripts of this folder share.

python examples/scaling/NAME.py [--workers N] [--rounds N]

One line comes out: the median times of both ways, and how many times as fast the second is (the median of the rounds).
Then how many times as fast each way is with all workers as with one: what does not scale stays near 1, or below.
"""

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median

import makeparallel as mp

#: Does the work on a pool; gives a result that must not depend on the way.
Way = Callable[[mp.Pool], object]


def compare(before: Way, after: Way) -> None:
    """Time both ways, with one worker and with several, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with mp.Pool(options.workers) as several, mp.Pool(1) as one:
        turns = [(before, several), (after, several), (before, one), (after, one)]
        assert len({repr(way(pool)) for way, pool in turns}) == 1, "both ways must give the same"
        rounds = []
        for number in range(options.rounds):
            first = number % len(turns)  # another one begins each time
            times = [seconds(way, pool) for way, pool in turns[first:] + turns[:first]]
            rounds.append(times[-first:] + times[:-first])
    old, new, old_alone, new_alone = zip(*rounds, strict=True)
    print(
        f"before {median(old):.3f} s, after {median(new):.3f} s, ratio {ratio(old, new):.2f}; "
        f"gain of {options.workers} workers: before {ratio(old_alone, old):.2f}, after {ratio(new_alone, new):.2f}"
    )


def ratio(above: tuple[float, ...], below: tuple[float, ...]) -> float:
    """How many times as long the first takes, in the middle of the rounds."""
    return median(over / under for over, under in zip(above, below, strict=True))


def seconds(way: Way, pool: mp.Pool) -> float:
    """How long one way takes."""
    gc.collect()  # not what an earlier turn has left
    start = time.perf_counter()
    way(pool)
    return time.perf_counter() - start
