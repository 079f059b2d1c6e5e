"""Tasks that spawn tasks and wait for them. The peers can't take part: with all workers waiting, they deadlock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import forkjoin
import makeparallel as mp
from measure import Bench, Check, Contender, Result, Row, Spread, Work, bare, case
from work import empty

MICRO = 1e6
ALONE = "The peers cannot take part: a task that waits for another holds its worker, and soon all of them wait."


@contextmanager
def default_pool(workers: int, work: Work) -> Iterator[Work]:
    """The default pool with so many workers: what functions use that are decorated in a module."""
    mp.configure(workers=workers)
    yield work


def serially(name: str, function: Callable[..., object], *args: object, count: int = 1) -> Contender:
    return Contender(name, lambda: bare(lambda _count: function(*args)), count, warm=0)


def in_tasks(name: str, workers: int, task: Any, *args: object, small: tuple[object, ...] = ()) -> Contender:
    """Run a decorated function, which spawns the others; first a small one, to have the workers there."""

    def work(_count: int) -> object:
        return task(*args).get()

    @contextmanager
    def open_turn() -> Iterator[Work]:
        with default_pool(workers, work):
            task(*(small or args)).get()
            yield work

    return Contender(name, open_turn, 1, warm=0)


@case("fib", "fork-join: fib spawning a task at every level, one worker", "µs a spawn and join")
def fib(bench: Bench) -> Result:
    n, calls = bench.size(22, 14), bench.size(500_000, 50_000)
    assert forkjoin.fib_task(10).get() == forkjoin.fib(10)
    times = bench.compete(
        [
            in_tasks("tasks", 1, forkjoin.fib_task, n, small=(8,)),
            serially("plain", forkjoin.fib, n),
            serially("call", loop_with_calls, calls, count=calls),
            serially("loop", loop_without_calls, calls, count=calls),
        ]
    )
    spawned = forkjoin.spawns(n)
    rounds = range(bench.rounds)
    call = [times["call"][turn] - times["loop"][turn] for turn in rounds]
    cost = [(times["tasks"][turn] - times["plain"][turn]) / spawned for turn in rounds]
    units = Spread([cost[turn] / call[turn] for turn in rounds])
    rows = [
        Row("a spawn and join", Spread([MICRO * value for value in cost]), spawned),
        Row("a plain call of an empty function", Spread([MICRO * value for value in call]), calls),
    ]
    notes = [
        (
            f"fib({n}) spawns {spawned:,} tasks; its plain time is subtracted. A plain call is a loop with it, less "
            "the same loop without."
        )
    ]
    return Result(
        rows, [Check("plain calls a spawn and join", units, 45, 30, at_least=False, unit="calls")], [*notes, ALONE]
    )


def loop_with_calls(count: int) -> None:
    for _ in range(count):
        empty()


def loop_without_calls(count: int) -> None:
    for _ in range(count):
        pass


@case("forkjoin", "fork-join with a sensible cut-off", "x serial")
def fork_join(bench: Bench) -> Result:
    workers = bench.workers
    size = bench.size(12, 8)
    items = forkjoin.numbers(bench.size(200_000, 10_000))
    roots = bench.size(12_000, 200)
    programs: dict[str, tuple[Callable[..., object], tuple[object, ...], Any, tuple[object, ...]]] = {
        "n queens": (forkjoin.queens, ((1 << size) - 1,), forkjoin.queens_task, (size, 3)),
        "quicksort": (forkjoin.quicksort, (items,), forkjoin.quicksort_task, (items,)),
        "unbalanced tree": (forkjoin.forest, (roots,), forkjoin.forest_task, (roots,)),
    }
    small: dict[str, tuple[object, ...]] = {
        "n queens": (4, 2),
        "quicksort": (forkjoin.numbers(1),),
        "unbalanced tree": (5,),
    }
    contenders = []
    mp.configure(workers=workers)
    for name, (serial, plain_args, task, args) in programs.items():
        assert serial(*plain_args) == task(*args).get(), f"{name}: the results differ"
        contenders += [
            serially(f"{name}, serial", serial, *plain_args),
            in_tasks(f"{name}, tasks", workers, task, *args, small=small[name]),
        ]
    times = bench.compete(contenders)
    gains = {name: times.ratios(f"{name}, serial", f"{name}, tasks") for name in programs}
    notes = [
        (
            f"{workers} workers. Queens: {size}, tasks in the first 3 rows. Quicksort: {len(items):,} "
            f"numbers, tasks above {forkjoin.SERIAL:,}; its first division is serial. Tree: "
            f"{forkjoin.forest(roots):,} nodes, shared after {forkjoin.NODES:,}."
        )
    ]
    took = ", ".join(f"{name} {1e3 * min(times[f'{name}, serial']):.0f} ms" for name in programs)
    notes.append(f"The fastest serial rounds: {took}. {ALONE}")
    rows = [Row(name, gain) for name, gain in gains.items()]
    return Result(rows, [Check(f"speed-up, {name}", gain, 1.7, 1.9) for name, gain in gains.items()], notes)
