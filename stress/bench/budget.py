#!/usr/bin/env python3
"""Where the time of one task goes: the price of each step, and how many instructions of the interpreter it takes.

    .venv/bin/python stress/bench/budget.py

Prices are the best of several rounds, one thread, nothing else running; instructions are counted with
`sys.monitoring`. Prints two tables in Markdown, for the page on performance.
"""

import gc
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import copy_context
from types import CodeType

import makeparallel as mp
from makeparallel._core.body import run_body
from makeparallel._core.gate import WORKERS, close, open_again
from makeparallel._core.task import Task
from makeparallel._handle import AsyncHandle

ROUNDS, TIMES = 7, 20_000
TOOL = 4


def empty() -> None:
    """Do nothing."""


def price(step: Callable[[], object]) -> float:
    """Nanoseconds of a step, the call of it included."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(TIMES):
            step()
        best = min(best, (time.perf_counter() - start) / TIMES)
    return best * 1e9


def prices(pool: mp.Pool) -> dict[str, float]:
    """Run in a task: what its steps cost there."""
    worker = WORKERS[threading.get_ident()]
    function = pool.parallel(empty)
    context, queue = copy_context(), deque([None])
    done = function()
    done.get()

    def make() -> Task:
        return AsyncHandle.make(context, empty, (), {}, "empty")

    def claim_and_run() -> None:
        task = make()
        task._home = worker.home
        task._claim(worker)
        run_body(task, worker)

    def close_and_open() -> None:
        close(worker)
        open_again(worker)

    gc.disable()
    found = {
        "a call of an empty function": price(empty),
        "`get_ident()`": price(threading.get_ident),
        "the clock": price(time.perf_counter),
        "`copy_context()`": price(copy_context),
        "`context.run` of an empty function": price(lambda: context.run(empty)),
        "`deque.rotate(0)`, a look under a lock": price(lambda: queue.rotate(0)),
        "the gate, closed and opened": price(close_and_open),
        "a handle": price(make),
        "`get` of a finished task": price(done.get),
    }
    close(worker)
    found["a handle, claimed, run and settled"] = price(claim_and_run)
    open_again(worker)
    found["a submit in a task, and the join"] = price(lambda: function().get())
    gc.enable()
    return found


def instructions(pool: mp.Pool) -> dict[str, Counter[str]]:
    """Run in a task: the instructions of a submit and of a join, by function."""
    function, me = pool.parallel(empty), threading.get_ident()
    counts: Counter[str] = Counter()
    counting: list[None] = []

    def count(code: CodeType, offset: int) -> None:
        if counting and threading.get_ident() == me:
            counts[code.co_qualname] += 1

    for _ in range(100):
        function().get()
    monitoring = sys.monitoring
    monitoring.use_tool_id(TOOL, "budget")
    monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, count)
    monitoring.set_events(TOOL, monitoring.events.INSTRUCTION)
    found = {}
    counting.append(None)
    handle = function()
    counting.clear()
    found["submit"] = Counter(counts)
    counts.clear()
    counting.append(None)
    handle.get()
    counting.clear()
    found["join"] = Counter(counts)
    monitoring.set_events(TOOL, 0)
    monitoring.free_tool_id(TOOL)
    for counter in found.values():
        counter.pop(instructions.__qualname__, None)
    return found


def main() -> int:
    pool = mp.Pool(1)
    print(f"Python {sys.version.split()[0]}, GIL {'on' if sys._is_gil_enabled() else 'off'}\n")
    print("| step | ns |\n| --- | --- |")
    for name, nanoseconds in pool.submit(prices, pool).get().items():
        print(f"| {name} | {nanoseconds:,.0f} |")
    print("\n| | instructions | of them |\n| --- | --- | --- |")
    for name, counter in pool.submit(instructions, pool).get().items():
        print(f"| {name} | {counter.total()} | {', '.join(f'`{code}` {n}' for code, n in counter.most_common())} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
