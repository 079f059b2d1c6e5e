"""Random programs against one pool after another, until the time is up: the stress test of the core.

    python stress/stress_core.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round makes a pool at random, lets a few threads run random operations on it, and shuts it down in one of several
ways, sometimes while they still run. After it every handle has finished and agrees with `pool.statistics()`, no body
ran twice (I2), every callback fired once (P7), `pool._check()` holds, and as many tasks as there are seats can meet
(I3). A watchdog reports a hang with the round's seed and the pool's state. With `--jitter` every thread sleeps for a
moment at that fraction of the library's lines, which widens every race there is.

Stresses: I1, I2, I3, P2, P3, P6.
"""

import gc
import logging
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

from harness import check, jitter, poll, read_options, watchdog

import makeparallel as mp
from makeparallel._core.entries import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT
from makeparallel._default import default_pool
from makeparallel._diagnosis import describe

EXPECTED = (mp.TaskError, mp.PoolShutdownError, mp.PoolFullError, TimeoutError, ValueError)
Handle = mp.AsyncHandle[Any]


class Program:
    """One round: a pool, and what was done to it."""

    def __init__(self, seed: str, most_workers: int) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.resizes = self.rng.random() < 0.3
        self.most_workers = most_workers
        workers = self.rng.randint(1, most_workers)
        if self.rng.random() < 0.15:
            mp.configure(workers=workers)
            self.pool = default_pool()
        else:
            room, when_full = self.rng.choice([None, None, 1, 3, 20]), self.rng.choice(["wait", "wait", "raise"])
            self.pool = mp.Pool(workers, max_pending=room, when_full=when_full)
        self.handles: list[Handle] = []
        self.runs: list[int] = []
        self.refused: list[None] = []
        self.watched: list[list[None]] = []  # for each handle with callbacks, an entry for each that fired
        self.problems: list[str] = []

    def body(self, number: int, seed: float, depth: int) -> int:
        """Do something, perhaps with children; a task waits for its own children only."""
        self.runs.append(number)
        rng = Random(seed)
        kind = rng.random()
        if kind < 0.1:
            raise ValueError(number)
        if kind < 0.2:
            time.sleep(rng.random() * 0.002)
        elif kind < 0.3:
            mp.sleep(rng.random() * 0.004)
        elif kind < 0.4:
            with mp.blocking():
                time.sleep(rng.random() * 0.002)
        elif kind < 0.45:
            with mp.shield():
                mp.checkpoint()
        if depth and rng.random() < 0.6:
            self.wait_for_some([self.submit(rng, depth - 1) for _ in range(rng.randint(1, 4))], rng)
        if rng.random() < 0.1:
            mp.report_progress(rng.random())
        mp.checkpoint()
        return number

    def submit(self, rng: Random, depth: int) -> Handle:
        """Submit one task, with or without a timeout, callbacks, a cancellation; note it, whatever interrupts us."""
        with mp.shield():
            return self.submit_and_note(rng, depth)

    def submit_and_note(self, rng: Random, depth: int) -> Handle:
        """Do what `submit` says."""
        number = rng.getrandbits(62)
        try:
            if rng.random() < 0.15:
                limit = rng.choice([0.0, 0.0005, 0.002, 5.0])
                handle = self.pool.parallel(self.body, timeout=limit)(number, rng.random(), depth)  # type: ignore[call-overload]
            else:
                handle = self.pool.submit(self.body, number, rng.random(), depth)
        except (mp.PoolShutdownError, mp.PoolFullError):
            self.refused.append(None)
            raise
        self.handles.append(handle)
        if rng.random() < 0.2:
            fired: list[None] = []
            self.watched.append(fired)
            handle.on_complete(lambda value: fired.append(None))
            handle.on_error(lambda error: fired.append(None))
        if rng.random() < 0.1:
            handle.cancel()
        return handle  # type: ignore[no-any-return]

    def wait_for_some(self, handles: list[Handle], rng: Random) -> None:
        """Wait in one of the ways there are."""
        how = rng.randrange(7)
        if how == 0:
            mp.gather(handles, on_error=rng.choice(["raise", "skip", "return"]), timeout=rng.choice([None, 0.001, 9.0]))
        elif how == 1:
            for handle in mp.as_completed(handles, timeout=rng.choice([None, 0.001])):
                handle.exception()
        elif how == 2:
            mp.wait(handles, rng.choice([None, 0.001]), rng.choice(["ALL_COMPLETED", "FIRST_COMPLETED"]))
        elif how == 3:
            rng.choice(handles).cancel()
        else:
            for handle in rng.sample(handles, len(handles)):
                handle.wait(rng.choice([None, None, 0.0, 0.001, 9.0]))

    def client(self, seed: float, operations: int) -> None:
        """Be one thread from outside."""
        rng = Random(seed)
        mine: list[Handle] = []
        for _ in range(operations):
            try:
                with suppress(*EXPECTED):
                    mine += self.operation(rng, mine)
            except BaseException as error:
                self.problems.append(f"a client got {error!r}")

    def operation(self, rng: Random, mine: list[Handle]) -> list[Handle]:
        """Do one random thing; the new handles."""
        kind = rng.random()
        if kind < 0.6:
            return [self.submit(rng, rng.choice([0, 0, 1, 2, 3])) for _ in range(rng.choice([1, 1, 2, 8]))]
        if kind < 0.75 and mine:
            self.wait_for_some(rng.sample(mine, min(len(mine), 5)), rng)
        elif kind < 0.85 and mine:
            rng.choice(mine).cancel()
        elif kind < 0.9 and self.resizes:
            self.pool.resize(rng.randint(1, self.most_workers))
        elif kind < 0.95:
            Finalizer(self, rng.random())  # dropped at once, or in a cycle by the collector
            if rng.random() < 0.05:
                gc.collect()
        elif self.pool.get_active_task_count() < 0 or min(self.pool.statistics()[:8]) < 0:
            self.problems.append("a count fell below zero")
        return []

    def run(self) -> None:
        """Run the clients and the shutdown, then check everything."""
        rng = self.rng
        calls = [(rng.random(), rng.choice([3, 10, 40])) for _ in range(rng.randint(1, 3))]
        clients = [threading.Thread(target=self.client, args=call, daemon=True) for call in calls]
        early = rng.random() < 0.4
        for thread in clients:
            thread.start()
        if early:
            time.sleep(rng.random() * 0.01)
            self.shut_down()
        for thread in clients:
            thread.join()
        if not early:
            for handle in self.handles:
                handle.wait()
            poll("at rest, before the shutdown", self.pool._check)
            self.meet()
            self.shut_down()
        poll("done", lambda: check(self.pool.get_active_task_count() == 0, "tasks are active"))
        poll("outcomes", self.compare)
        poll("at rest", self.pool._check)

    def shut_down(self) -> None:
        """End the pool in one of the ways there are; a second call must do no harm."""
        how, pool = self.rng.randrange(5), self.pool
        if how == 0:
            pool.shutdown(cancel_pending=True)
        elif how == 1:
            pool.shutdown(self.rng.random() * 0.01)
        elif how == 2:
            second = threading.Thread(target=pool.shutdown, daemon=True)
            second.start()
            pool.shutdown(cancel_pending=self.rng.random() < 0.5)
            second.join()
        elif how == 3 and pool._scheduler.room is None:
            self.handles.append(pool.submit(pool.shutdown))
            self.handles[-1].wait()
        pool.shutdown()
        mp.reset_shutdown()

    def meet(self) -> None:
        """Have a task on every seat at once, while nobody waits for a handle."""
        count = self.pool.statistics().workers if self.pool._scheduler.room is None else 0
        barrier = threading.Barrier(count + 1)
        self.handles += [self.pool.submit(barrier.wait) for _ in range(count)]
        barrier.wait()
        mp.gather(self.handles[-count:] if count else [])

    def compare(self) -> None:
        """Assert that the handles, the counts, the bodies and the callbacks agree."""
        found = Counter(outcome[0] for outcome in (handle._outcome() for handle in self.handles) if outcome)
        facts = self.pool.statistics()
        check(sum(found.values()) == len(self.handles), "a handle is unfinished")
        check(len(set(self.runs)) == len(self.runs), "a body ran twice")
        check(all(len(fired) == 1 for fired in self.watched), "a callback fired not exactly once")
        extra = facts.submitted - len(self.handles)  # refused after they were counted: cancelled, and no handle
        check(0 <= extra <= len(self.refused), f"{extra} submits without a handle")
        counted = (facts.succeeded, facts.failed, facts.cancelled - extra, facts.timed_out)
        expected = tuple(found[state] for state in (SUCCEEDED, FAILED, CANCELLED, TIMED_OUT))
        check(counted == expected, f"statistics say {counted}, the handles {expected}")

    def describe(self) -> str:
        """The round's seed, and the state of its pool."""
        return f"round {self.seed}\n{describe(self.pool._scheduler)}"


class Finalizer:
    """Submits and cancels from `__del__` (I9)."""

    def __init__(self, program: Program, seed: float) -> None:
        self.program, self.rng = program, Random(seed)
        if self.rng.random() < 0.5:
            self.cycle = self

    def __del__(self) -> None:
        with suppress(*EXPECTED):
            if self.program.pool._scheduler.room is None:  # a full pool would have a finalizer wait
                self.program.submit(self.rng, 0).cancel()


def main() -> int:
    options = read_options(__doc__)
    logging.getLogger("makeparallel").setLevel(logging.CRITICAL)  # errors nobody looked at are part of the program
    jitter(options.jitter)
    start, rounds, tasks = time.monotonic(), 0, 0
    while time.monotonic() - start < options.seconds and (options.rounds is None or rounds < options.rounds):
        program = Program(f"{options.seed}/{rounds}", options.workers)
        try:
            with watchdog(options.hang, program.describe):
                program.run()
                check(not program.problems, "; ".join(program.problems))
        except AssertionError as error:
            print(f"FAILED: {error}\n{program.describe()}", file=sys.stderr, flush=True)
            os._exit(1)  # not by the exit handler, which could hang now
        rounds += 1
        tasks += len(program.handles)
    print(f"ok: {rounds} rounds, {tasks} tasks in {time.monotonic() - start:.1f} s, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
