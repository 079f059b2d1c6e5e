"""What stress programs share: rounds with their checks, jitter in every thread, and a watchdog for hangs.

A program that derives its rounds from `Program` and ends in `main` has them checked after each round: every handle
has finished and agrees with the statistics, no body ran twice (I2), the invariants hold, no thread is left, and
everything that the program is about has really happened.
"""

import argparse
import atexit
import faulthandler
import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import makeparallel as mp
from makeparallel._core.entries import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT
from makeparallel._core.scheduler import Scheduler
from makeparallel._diagnosis import check_at_rest, describe
from makeparallel._stats import take_statistics

Handle = mp.AsyncHandle[Any]
#: What an operation may raise while others cancel, time out, shut down.
EXPECTED = (mp.TaskError, mp.PoolShutdownError, mp.PoolFullError, TimeoutError, ValueError)
#: A run so long, in seconds, must have seen everything that its program is about.
LONG = 10.0

PACKAGE = os.path.dirname(mp.__file__)


def check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def poll(what: str, ask: Callable[[], object], seconds: float = 10.0) -> None:
    """Ask until it holds, for some seconds: threads may be on their way to rest.

    Raises:
        AssertionError: it still does not hold.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            ask()
            return
        except AssertionError as error:
            if time.monotonic() > until:
                raise AssertionError(f"{what}: {error}") from None
        time.sleep(0.001)


def read_options(description: str | None, **switches: str) -> argparse.Namespace:
    """Read the command line, and set up the process as it says; `switches` are options of one program."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--workers", type=int, default=4, help="the largest pool")
    parser.add_argument("--rounds", type=int, help="stop after so many, to repeat a failure")
    parser.add_argument("--jitter", type=float, default=0.0, help="fraction of lines at which a thread sleeps")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds after which a round counts as hung")
    parser.add_argument("--switch-interval", type=float, help="seconds between switches of threads, with the GIL")
    parser.add_argument("--one-cpu", action="store_true", help="stay on one CPU")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    options = parser.parse_args()
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    if options.one_cpu:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    return options


def jitter(fraction: float) -> None:
    """Sleep a moment at a fraction of the library's lines, in every thread, until the process exits."""
    if not fraction:
        return
    rng = Random(0)

    def on_line(code: Any, line: int) -> object:
        # Not where the gate is closed: the callback is a place for interrupts, in code that must have none.
        if not code.co_filename.startswith(PACKAGE) or code.co_filename.endswith("gate.py"):
            return sys.monitoring.DISABLE
        if rng.random() < fraction:
            time.sleep(rng.random() * 0.002)
        return None

    sys.monitoring.use_tool_id(5, "stress-jitter")
    sys.monitoring.register_callback(5, sys.monitoring.events.LINE, on_line)
    sys.monitoring.set_events(5, sys.monitoring.events.LINE)
    atexit.register(sys.monitoring.set_events, 5, 0)


@contextmanager
def watchdog(seconds: float, describe: Callable[[], str]) -> Iterator[None]:
    """End the process if the block takes longer, with `describe()` and the stacks of all threads."""
    timer = threading.Timer(seconds, _report_hang, (describe,))
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + 30, exit=True)  # where not even that thread can run
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _report_hang(describe: Callable[[], str]) -> None:
    print(f"HANG in {describe()}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(2)


class Program:
    """One round: its pools, its handles, and what was seen. What it does stands in `run`."""

    def __init__(self, seed: str, most_workers: int) -> None:
        self.seed, self.rng, self.most_workers = seed, Random(seed), most_workers
        self.homes: list[Scheduler] = []  # not the pools, which may be dropped
        self.handles: dict[Handle, int] = {}  # each with its number, which its body returns
        self.tries: list[int] = []  # for each submit, noted before it: how many tasks it may make
        self.runs: list[int] = []  # the number of each body that began
        self.notes: list[str] = []  # what happened, to count it
        self.problems: list[str] = []
        self.threads = set(threading.enumerate())

    def run(self) -> None:
        """Do everything; what is left over must end by itself."""
        raise NotImplementedError

    def make_pool(self, workers: int, **options: Any) -> mp.Pool:
        pool = mp.Pool(workers, **options)
        self.homes.append(pool._scheduler)
        return pool

    # --- tasks -----------------------------------------------------------------------------------

    def body(self, number: int, work: Callable[..., object], args: tuple[Any, ...]) -> int:
        self.runs.append(number)
        work(*args)
        return number

    def submit(
        self, pool: mp.Pool | None, rng: Random, work: Callable[..., object], *args: Any, **options: Any
    ) -> Handle:
        """Submit a task, None for the default pool; note its handle, whatever interrupts us."""
        with mp.shield():
            return self.submit_openly(pool, rng, work, *args, **options)

    def submit_openly(
        self, pool: mp.Pool | None, rng: Random, work: Callable[..., object], *args: Any, **options: Any
    ) -> Handle:
        """Submit a task; an interrupt in between may leave it without a note."""
        self.tries.append(1)
        number = rng.getrandbits(62)
        function = mp.parallel(self.body, pool=pool, **options)
        handle: Handle = function(number, work, args)
        self.handles[handle] = number
        return handle

    # --- threads ---------------------------------------------------------------------------------

    def start(self, work: Callable[[Random], object], times: int) -> threading.Thread:
        """Have a thread of its own do `work` a number of times, each with what it may raise."""
        thread = threading.Thread(target=self._repeat, args=(work, self.rng.random(), times), daemon=True)
        thread.start()
        return thread

    def _repeat(self, work: Callable[[Random], object], seed: float, times: int) -> None:
        rng = Random(seed)
        for _ in range(times):
            try:
                self.attempt(work, rng)
            except BaseException:
                self.problems.append(traceback.format_exc())

    def attempt(self, work: Callable[..., object], *args: Any) -> None:
        """Do something; note how it was refused, if it was, and let pass what is to be expected."""
        try:
            work(*args)
        except mp.PoolShutdownError:
            self.notes.append("refused")
        except mp.PoolFullError:
            self.notes.append("full")
        except EXPECTED:
            pass

    # --- checks ----------------------------------------------------------------------------------

    def meet(self, pool: mp.Pool) -> None:
        """Have a task on every seat at once, while nobody waits for a handle: no seat is lost (I3)."""
        count = pool.statistics().workers
        barrier = threading.Barrier(count + 1, timeout=30)
        meeting: list[Handle] = []
        while len(meeting) < count:
            try:
                meeting.append(self.submit(pool, self.rng, barrier.wait))
            except mp.PoolFullError:
                time.sleep(0.0005)
        barrier.wait()
        mp.gather(meeting, timeout=30)
        self.notes.append("meetings")

    def finish(self) -> None:
        """Check everything; all pools have been shut down or dropped."""
        for handle in list(self.handles):
            check(handle.wait(30), f"{handle!r} does not finish")
        self.homes += {handle._home for handle in self.handles} - set(self.homes)
        for home in self.homes:
            poll("at rest", lambda: check_at_rest(home))  # noqa: B023
        poll("outcomes", self.compare)
        poll("threads", self.check_threads)
        check(not self.problems, "\n".join(self.problems))

    def compare(self) -> None:
        """Assert that the handles, the counts and the bodies agree."""
        found: dict[Scheduler, Counter[int]] = {home: Counter() for home in self.homes}
        ran = set(self.runs)
        check(len(ran) == len(self.runs), "a body ran twice")
        for handle, number in self.handles.items():
            outcome = handle._outcome()
            assert outcome is not None
            found[handle._home][outcome[0]] += 1
            if outcome[0] == SUCCEEDED:
                check(outcome[1] == number and number in ran, f"{handle!r} has a result that is not its own")
        more = 0  # tasks without a handle of ours: refused after they were counted, interrupted, made by a map
        for home in self.homes:
            facts = take_statistics(home)
            counted = (facts.succeeded, facts.failed, facts.cancelled, facts.timed_out)
            expected = [found[home][state] for state in (SUCCEEDED, FAILED, CANCELLED, TIMED_OUT)]
            check(sum(counted) == facts.submitted, f"conservation: {facts}")
            extra = [mine - theirs for mine, theirs in zip(counted, expected, strict=True)]
            check(min(extra) >= 0, f"statistics say {counted}, the handles {expected}")
            more += sum(extra)
        check(more <= sum(self.tries) - len(self.handles), f"{more} tasks too many")

    def check_threads(self) -> None:
        """Assert that no thread is left but the supervisor."""
        # A pool made in one thread and dropped by another goes only when the first one runs again, or now: the
        # free-threaded interpreter leaves the last count to the owner, which may be a worker that sleeps.
        gc.collect()
        left = [thread.name for thread in set(threading.enumerate()) - self.threads]
        check(set(left) <= {"makeparallel-supervisor"} and len(left) <= 1, f"threads are left: {left}")

    def describe(self) -> str:
        """The round's seed, and the state of its pools."""
        homes = {*self.homes, *(handle._home for handle in list(self.handles))}
        unfinished = [handle for handle in list(self.handles) if not handle.is_ready()]
        head = f"round {self.seed}, {dict(Counter(self.notes[:]))}\nunfinished: {unfinished[:20]}"
        return "\n".join([head, *map(describe, homes)])


def fail(message: str, state: str) -> None:
    print(f"FAILED: {message}\n{state}", file=sys.stderr, flush=True)
    os._exit(1)  # not by the exit handler, which could hang now


def main(make: Callable[[str, int], Program], description: str | None, needs: Iterable[str], quiet: bool = True) -> int:
    """Run round after round until the time is up; the last line tells what happened. `needs` is what must have."""
    options = read_options(description)
    if quiet:
        logging.getLogger("makeparallel").setLevel(logging.CRITICAL)  # errors nobody looked at are part of the programs
    jitter(options.jitter)
    start, rounds, tasks = time.monotonic(), 0, 0
    notes: Counter[str] = Counter()
    while time.monotonic() - start < options.seconds and (options.rounds is None or rounds < options.rounds):
        program = make(f"{options.seed}/{rounds}", options.workers)
        with watchdog(options.hang, program.describe):
            program.threads = set(threading.enumerate())  # the watchdog's too
            try:
                program.run()
                program.finish()
            except BaseException as error:
                text = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
                fail(text, program.describe())
        rounds += 1
        tasks += len(program.handles)
        notes.update(program.notes)
    seconds = time.monotonic() - start
    counts = ", ".join(f"{count} {name}" for name, count in sorted(notes.items()))
    missing = [name for name in needs if not notes[name]]
    if missing and seconds >= LONG and options.rounds is None:
        never = f"in {rounds} rounds, {seconds:.1f} s, this never happened: {', '.join(missing)}"
        fail(never, f"{counts}; seed {options.seed}")
    print(f"ok: {rounds} rounds, {tasks} tasks, {counts}, in {seconds:.1f} s, seed {options.seed}")
    return 0
