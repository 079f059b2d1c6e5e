"""Faults from outside: no thread, no memory, no stack, raising finalizers, signals, forks, odd clocks, an early exit.

Each fault must leave the pool whole: afterwards every handle has finished, as many bodies run at once as there are
workers, the counts add up, and `_check` finds every invariant to hold.
"""

import dataclasses
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers_waiting import LIMIT, eventually

import makeparallel as mp
from makeparallel import _process, _supervisor
from makeparallel._core import body as body_module
from makeparallel._core import gate, idle, room, shutdown, staff, task, waiting
from makeparallel._supervisor import Supervisor

WORKERS = 3
SOME_ERRORS = [ValueError, SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit]


def nothing() -> None:
    """Do nothing."""


def spin() -> None:
    """Run Python code for ever."""
    while True:
        pass


def prove_whole(pool: mp.Pool, handles: "list[mp.AsyncHandle[Any]]", where: object = "") -> None:
    """Every handle has finished, and all workers work at once, or a barrier is broken."""
    for handle in handles:
        assert handle.wait(LIMIT), f"{handle!r} does not finish after {where}"
    workers = pool.statistics().workers
    barrier = threading.Barrier(workers)
    bodies = [pool.submit(barrier.wait, LIMIT) for _ in range(workers)]
    assert [None] * workers == [handle.exception(LIMIT) for handle in bodies], f"a seat is lost after {where}"


def finish(pool: mp.Pool) -> None:
    """The pool drains, so no count is missing or doubled; then every invariant."""
    assert pool.shutdown(LIMIT), pool
    pool._check()


# --- threads that cannot start --------------------------------------------------------------------------


class Starts:
    """Makes threads, of which some can't start: those whose place in the order of all starts is in `failing`."""

    def __init__(self, failing: "set[int] | range", error: Exception) -> None:
        self.real = staff.new_thread
        self.failing = failing
        self.error = error
        self.made: list[None] = []
        self.refused: list[int] = []

    def __call__(self, *args: Any) -> threading.Thread:
        self.made.append(None)
        thread = self.real(*args)
        if len(self.made) in self.failing:
            thread.start = self.refuse  # type: ignore[method-assign]
        return thread

    def refuse(self) -> None:
        self.refused.append(len(self.made))
        raise self.error


@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="replaces a function of the library")
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=["system", "memory"])
@pytest.mark.parametrize(
    "failing",
    [{1}, {2}, {3}, {1, 2}, {2, 3}, {1, 2, 3}, range(1, 99, 2), range(2, 99, 2), range(3, 10**9), range(1, 10**9)],
    ids=["first", "second", "third", "first two", "next two", "three", "odd", "even", "all but two", "all"],
)
def test_thread_that_cannot_start_costs_a_task_or_a_seat(
    monkeypatch: pytest.MonkeyPatch, failing: "set[int] | range", error: Exception
) -> None:
    """Whichever starts fail, every task runs; once threads are to be had again, all seats are filled."""
    starts = Starts(failing, error)
    monkeypatch.setattr(staff, "new_thread", starts)
    pool = mp.Pool(WORKERS)

    def split(n: int) -> int:
        return n if n < 2 else sum(mp.gather([pool.submit(split, n - 1), pool.submit(split, n - 2)]))

    handles: list[mp.AsyncHandle[Any]] = []
    for _ in range(3):
        handles += [pool.submit(split, 5) for _ in range(4)]
        handles += [pool.parallel(nothing, timeout=LIMIT)() for _ in range(4)]
        assert [5] * 4 == mp.gather(handles[-8:-4], timeout=LIMIT)
    # A wait lends the seat, so that the blocked one is not the only thread.
    nested = pool.submit(lambda: pool.submit(pow, 2, 3).get(LIMIT))
    assert 8 == nested.get(LIMIT)
    assert starts.refused or 1 not in failing  # the first thread may have done it all
    monkeypatch.setattr(staff, "new_thread", starts.real)
    prove_whole(pool, handles, f"starts {starts.refused} of {len(starts.made)} failed")
    finish(pool)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Supervisor]":
    """A supervisor of its own for the pools of a test, not yet started."""
    fresh = Supervisor()
    monkeypatch.setattr(_process, "_supervisor", [fresh])
    yield fresh
    fresh.stop()


@pytest.mark.slow
@pytest.mark.proves("I3")
@pytest.mark.thread_unsafe(reason="replaces a function of the library")
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=["system", "memory"])
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_supervisor_that_cannot_start_is_given_up(
    monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor, fails: int, error: Exception
) -> None:
    """The next timeout or cancel starts it, and it then finds the deadlines that were missed."""
    starts = Starts(range(1, fails + 1), error)
    monkeypatch.setattr(_supervisor, "new_thread", starts)
    pool = mp.Pool(WORKERS)
    timed: list[mp.AsyncHandle[Any]] = [pool.parallel(spin, timeout=0.001)() for _ in range(WORKERS)]
    assert eventually(lambda: len(starts.made) > min(fails, WORKERS - 1))
    if fails >= WORKERS:  # each task has asked for the supervisor, in vain
        assert not any(handle.is_ready() for handle in timed)
        assert timed[0].cancel() is True  # which asks once more
    assert all(handle.wait(LIMIT) for handle in timed)
    assert fails == len(starts.refused)
    assert {mp.TaskTimeoutError} == {type(handle.exception()) for handle in timed[1:]}
    assert eventually(lambda: not any(handle.is_running() for handle in timed))
    prove_whole(pool, timed, f"{fails} failing starts")
    finish(pool)


# --- callbacks and finalizers that raise ----------------------------------------------------------------


class Raising:
    """Raises when it is called."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __call__(self, value: object) -> None:
        raise self.kind("on purpose")


class Dying(Raising):
    """Raises when it is freed, as long as that is expected."""

    expected = False

    def __init__(self, kind: type[BaseException], freed: "list[None]") -> None:
        super().__init__(kind)
        self.freed = freed

    def __call__(self, value: object) -> None:
        """Can be called, but raises only when it is freed."""

    def __del__(self) -> None:
        self.freed.append(None)
        if Dying.expected:
            raise self.kind("from a finalizer")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised on purpose is told to nobody, who might keep it."""
    monkeypatch.setattr(logging.getLogger("makeparallel"), "disabled", True)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    monkeypatch.setattr(Dying, "expected", True)


@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="replaces the hook for unraisable exceptions")
@pytest.mark.parametrize("kind", SOME_ERRORS, ids=lambda kind: kind.__name__)
def test_callback_that_raises_stops_the_others(pool: mp.Pool, silent: None, kind: type[BaseException]) -> None:
    """Whatever a callback raises on a worker, it is logged; each of the others is called exactly once."""
    calls: list[object] = []
    go = threading.Lock()
    go.acquire()

    def report(fails: bool) -> int:
        with go:
            pass
        mp.report_progress(0.25)
        if fails:
            raise ValueError("wrong")
        return 7

    handles = [pool.submit(report, fails) for fails in (False, True)]
    for handle in handles:
        for callback in (Raising(kind), calls.append, Raising(kind), calls.append):
            handle.on_complete(callback)
            handle.on_error(callback)
            handle.on_progress(callback)
    del callback
    go.release()
    prove_whole(pool, list(handles), kind)
    error = handles[1].exception()
    assert eventually(lambda: len(calls) == 8)
    assert (4, 2, 2) == (calls.count(0.25), calls.count(7), sum(isinstance(call, mp.TaskError) for call in calls))
    assert isinstance(error, mp.TaskError)
    # A late one runs right here, where Ctrl-C is the user's own and goes on; anything else does not.
    for register in (handles[0].on_complete, handles[1].on_error, handles[0].on_progress):
        try:
            register(Raising(kind))
        except KeyboardInterrupt:
            assert kind is KeyboardInterrupt
    prove_whole(pool, list(handles), kind)


@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="replaces the hook for unraisable exceptions")
@pytest.mark.parametrize("kind", SOME_ERRORS, ids=lambda kind: kind.__name__)
def test_callback_that_raises_spoils_the_cancel(silent: None, kind: type[BaseException]) -> None:
    """A cancel whose callback raises has cancelled; the other callbacks are called once, by somebody."""
    pool = mp.Pool(1)
    calls: list[object] = []
    lock = threading.Lock()
    lock.acquire()
    held: mp.AsyncHandle[Any] = pool.submit(lock.acquire, timeout=LIMIT)
    pending = [pool.submit(nothing) for _ in range(3)]
    for handle in pending:
        handle.on_error(calls.append)
        handle.on_error(Raising(kind))
        handle.on_error(calls.append)
        try:
            assert handle.cancel() is True
        except KeyboardInterrupt:
            assert kind is KeyboardInterrupt
        assert handle.is_cancelled()
    lock.release()
    prove_whole(pool, [held, *pending], kind)
    finish(pool)
    assert 6 == len(calls)


@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="replaces the hook for unraisable exceptions")
@pytest.mark.parametrize("kind", SOME_ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("what", ["argument", "function", "result", "error", "metadata", "callback"])
def test_finalizer_that_raises_kills_the_worker(
    pool: mp.Pool, silent: None, what: str, kind: type[BaseException]
) -> None:
    """A `__del__` may raise anything, in whichever thread it runs: that hurts nobody."""
    freed: list[None] = []

    def give(make: bool, *arguments: object) -> object:
        return Dying(kind, freed) if make else None

    class DyingError(Exception):
        """Takes along what raises when it is freed."""

    def fail() -> None:
        raise DyingError(Dying(kind, freed))

    if what == "argument":
        handles: list[mp.AsyncHandle[Any]] = [pool.submit(give, False, Dying(kind, freed)) for _ in range(5)]
    elif what == "function":
        handles = [pool.submit(Dying(kind, freed), 1) for _ in range(5)]
    elif what == "result":
        handles = [pool.submit(give, True) for _ in range(5)]
    elif what == "error":
        handles = [pool.submit(fail) for _ in range(5)]
    else:
        handles = [pool.submit(give, False) for _ in range(5)]
        for handle in handles:
            if what == "metadata":
                handle.set_metadata("key", Dying(kind, freed))
            else:
                handle.on_complete(Dying(kind, freed))
                handle.on_progress(Dying(kind, freed))
        del handle
    for unseen in handles:
        unseen.exception(LIMIT)
    prove_whole(pool, handles, f"{what} {kind}")
    del unseen
    handles.clear()

    def all_freed() -> bool:
        prove_whole(pool, [])  # what a worker made is freed by that worker, when it is awake
        return len(freed) >= 5

    assert eventually(all_freed)


# --- errors of bodies -----------------------------------------------------------------------------------


class Unmakeable(Exception):
    """Can't be constructed."""

    def __init__(self, kind: type[BaseException]) -> None:
        raise kind("no exception to be had")


class Mute(BaseException):
    """Has no text."""

    def __str__(self) -> str:
        raise MemoryError

    __repr__ = __str__


def dive(levels: int, function: Callable[[], object]) -> object:
    """Call `function` so many levels deeper in the stack."""
    return function() if levels <= 0 else dive(levels - 1, function)


def stack_depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return depth


@pytest.mark.proves("I1")
@pytest.mark.parametrize("depth", [0, 1, 50, 240, 260, 500, 900])
def test_error_deep_in_the_stack_is_lost(pool: mp.Pool, depth: int) -> None:
    """What a body raises, however deep and however odd, fails its task, which keeps it."""

    def fail_with(error: BaseException) -> None:
        def fail() -> None:
            raise error

        dive(depth, fail)

    errors = [MemoryError(), RecursionError(), Mute(), GeneratorExit(), SystemExit(1), KeyboardInterrupt()]
    handles: list[mp.AsyncHandle[Any]] = [pool.submit(fail_with, error) for error in errors]
    assert errors == [handle.exception(LIMIT).__cause__ for handle in handles]  # type: ignore[union-attr]
    # In a child that runs inline, or is waited for.
    nested = [pool.submit(lambda error=error: dive(depth, pool.submit(fail_with, error).get)) for error in errors]
    inner = [handle.exception(LIMIT).__cause__ for handle in nested]  # type: ignore[union-attr]
    assert errors == [None if error is None else error.__cause__ for error in inner]
    made: list[mp.AsyncHandle[Any]] = [
        pool.submit(dive, depth, lambda kind=kind: Unmakeable(kind)) for kind in SOME_ERRORS
    ]
    assert SOME_ERRORS == [type(handle.exception(LIMIT).__cause__) for handle in made]  # type: ignore[union-attr]
    prove_whole(pool, [*handles, *nested, *made], f"errors at depth {depth}")


CALLS: "dict[str, Callable[[mp.Pool, list[mp.AsyncHandle[Any]]], object]]" = {
    "submit": lambda pool, made: made.append(pool.submit(nothing)),
    "call": lambda pool, made: made.append(pool.parallel(nothing, timeout=LIMIT)()),
    "get": lambda pool, made: made[-1].get(),
    "get with a limit": lambda pool, made: made[-1].get(LIMIT),
    "cancel": lambda pool, made: made[-1].cancel(),
    "map": lambda pool, made: pool.map(abs, [1, 2, 3], chunksize=1),
    "gather": lambda pool, made: mp.gather(made[-3:], timeout=LIMIT),
    "as_completed": lambda pool, made: list(mp.as_completed(made[-3:], timeout=LIMIT)),
    "wait": lambda pool, made: mp.wait(made[-3:], timeout=LIMIT),
    "callbacks": lambda pool, made: (made[-1].on_complete(repr), made[-1].on_error(repr), made[-1].on_progress(repr)),
    "progress": lambda pool, made: mp.current_handle() and mp.report_progress(0.5),
    "facts": lambda pool, made: (made[-1].set_metadata("key", 1), repr(made[-1]), pool.statistics(), mp.checkpoint()),
    "sleep": lambda pool, made: mp.sleep(0.0),
    "resize": lambda pool, made: (pool.resize(WORKERS + 1), pool.resize(WORKERS)),
    "shut another pool down": lambda pool, made: mp.Pool(1).shutdown(),
}


@pytest.mark.slow
@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="as many threads as there are copies would need a lot of stack")
@pytest.mark.parametrize("where", ["in a task", "outside"])
@pytest.mark.parametrize("name", CALLS)
def test_call_at_the_end_of_the_stack_does_half_of_its_work(name: str, where: str) -> None:
    """At each of the last 70 levels a call works or raises RecursionError, and then has done nothing."""
    pool = mp.Pool(WORKERS)
    made: list[mp.AsyncHandle[Any]] = []

    def reach_the_end(left: int) -> None:
        with_prepared = [pool.submit(nothing) for _ in range(3)] if name != "submit" else []
        made.extend(with_prepared)
        try:
            dive(sys.getrecursionlimit() - stack_depth() - left, lambda: CALLS[name](pool, made))
        except (RecursionError, mp.TaskError):  # a child may have been cancelled, or have met the end itself
            pass

    for left in range(1, 71):
        if where == "outside":
            reach_the_end(left)
        else:
            handle = pool.submit(reach_the_end, left)  # not one of `made`: it would wait for itself
            assert handle.exception(LIMIT) is None
        if name == "resize":  # a half of it may be done: the size is one of the two
            assert pool.statistics().workers in (WORKERS, WORKERS + 1)
            pool.resize(WORKERS)
        prove_whole(pool, made, f"{name} {where}, {left} levels from the end")
        made.clear()
    finish(pool)


# --- clocks ---------------------------------------------------------------------------------------------


class Clock:
    """Stands in for the library's clock: it can jump forward, and stand still."""

    def __init__(self) -> None:
        self.real = time.perf_counter
        self.offset = 0.0
        self.stopped: float | None = None

    def __call__(self) -> float:
        stopped = self.stopped
        return self.real() + self.offset if stopped is None else stopped

    def stop(self) -> None:
        self.stopped = self()

    def go_on(self) -> None:
        """Go on from where it stands."""
        stopped = self.stopped
        assert stopped is not None
        self.offset = stopped - self.real()
        self.stopped = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Clock]":
    """The clock of all modules that look at it; it goes on after the test, so that nobody waits for it."""
    from makeparallel import _combinators, _handle, _interrupt, _map

    false = Clock()
    core = (body_module, gate, idle, room, shutdown, staff, task, waiting)
    for module in (_combinators, _handle, _interrupt, _map, _supervisor, *core):
        monkeypatch.setattr(module, "now", false)
    yield false
    if false.stopped is not None:
        false.go_on()


class Held:
    """A body that stays until it may go."""

    def __init__(self) -> None:
        self.go: list[None] = []

    def __call__(self) -> int:
        while not self.go:
            time.sleep(0.001)
        return 7


def run_waits(pool: mp.Pool, held: "mp.AsyncHandle[Any]", seconds: float) -> None:
    """Every wait with a limit, for a task that does not finish, gives up."""
    assert held.wait(seconds) is False
    with pytest.raises(TimeoutError):
        held.get(seconds)
    with pytest.raises(TimeoutError):
        mp.gather([held], timeout=seconds)
    with pytest.raises(TimeoutError):
        list(mp.as_completed([held], timeout=seconds))
    assert (set(), {held}) == mp.wait([held], timeout=seconds)


@pytest.mark.proves("I3")
@pytest.mark.thread_unsafe(reason="replaces the library's clock")
@pytest.mark.parametrize("jump", [0.1, 3600.0, 1e9], ids=["a bit", "an hour", "decades"])
def test_clock_that_jumps_forward_ends_what_has_no_timeout(clock: Clock, supervisor: Supervisor, jump: float) -> None:
    """Tasks without a timeout go on; those with one end, at once or in their time; waits give up or get the result."""
    pool = mp.Pool(WORKERS, hard_grace_secs=None)  # or a body that is told is abandoned as the clock jumps
    body = Held()
    plain = pool.submit(body)
    timed = [pool.parallel(body, timeout=seconds)() for seconds in (0.05, 0.2)]
    assert eventually(plain.is_running)
    clock.offset += jump
    run_waits(pool, plain, 0.001)
    waiter = pool.submit(plain.get)  # in a task, without a limit
    assert [mp.TaskTimeoutError] * 2 == [type(handle.exception(LIMIT)) for handle in timed]
    clock.offset += jump
    assert [1, 2] == pool.map(abs, [-1, -2], timeout=LIMIT)
    assert pool.parallel(nothing, timeout=LIMIT)().exception(LIMIT) is None
    assert (False, False) == (plain.is_ready(), waiter.is_ready())
    body.go.append(None)
    assert [7, 7] == mp.gather([plain, waiter], timeout=LIMIT)
    assert plain.elapsed_time() >= jump
    prove_whole(pool, [plain, waiter, *timed], jump)
    clock.offset += jump
    finish(pool)


@pytest.mark.slow
@pytest.mark.proves("I3")
@pytest.mark.thread_unsafe(reason="replaces the library's clock")
def test_clock_that_stood_still_ends_nothing_any_more(clock: Clock, supervisor: Supervisor) -> None:
    """While it stands, tasks run, and waits give up by the system's clock; when it goes on, timeouts are kept."""
    pool = mp.Pool(WORKERS, hard_grace_secs=None)
    body = Held()
    clock.stop()
    plain = pool.submit(body)
    timed = pool.parallel(body, timeout=0.005)()
    assert eventually(lambda: plain.is_running() and timed.is_running())
    run_waits(pool, plain, 0.001)
    assert [1, 2] == pool.map(abs, [-1, -2], timeout=LIMIT)
    assert not timed.is_ready()
    clock.go_on()
    assert isinstance(timed.exception(LIMIT), mp.TaskTimeoutError)
    assert not plain.is_ready()
    clock.stop()
    body.go.append(None)
    assert plain.wait(LIMIT)
    prove_whole(pool, [plain, timed], "a clock that stood still")
    ended: list[bool] = []
    ender = threading.Thread(target=lambda: ended.append(pool.shutdown(LIMIT)))
    ender.start()
    clock.go_on()
    ender.join(LIMIT)
    assert [True] == ended
    pool._check()


# --- processes of their own -----------------------------------------------------------------------------

#: What each program begins with. `prove` is `prove_whole` and `finish` in one.
HEAD = """
import gc, os, random, signal, sys, threading, time
import makeparallel as mp

def prove(pool, handles):
    for handle in handles:
        assert handle.wait(30), handle
    workers = pool.statistics().workers
    barrier = threading.Barrier(workers)
    bodies = [pool.submit(barrier.wait, 30) for _ in range(workers)]
    assert [None] * workers == [handle.exception(30) for handle in bodies]
    assert pool.shutdown(30), pool
    pool._check()

def spend(n):
    return sum(range(n))

"""


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a program that begins with `HEAD`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.dirname(os.path.dirname(mp.__file__)),
        "PYTHONWARNINGS": "ignore",
        "COVERAGE_PROCESS_CONFIG": "",  # its own state survives neither forks nor signals at any place
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-c", HEAD + textwrap.dedent(code), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]", seconds: float = 60) -> tuple[str, str, int]:
    """Wait for its end; what it wrote, and its status. One that hangs is killed, and is a failure."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"hangs; it wrote {out!r} and {err}") from None
    return out, err, process.returncode


def run(code: str, *arguments: str) -> tuple[str, str, int]:
    """Run a program to its end."""
    return end(start(code, *arguments))


@pytest.mark.slow
@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("where", ["body", "main"])
def test_fork_in_the_middle_of_everything_hangs(where: str) -> None:
    """Forks while tasks are submitted, run and cancelled: each child has a fresh pool, the parent loses nothing."""
    out, err, status = run(
        """
        pool = mp.Pool(3)
        mp.parallel(spend)(1).get()  # the default pool has threads, too
        go_on = True
        made = []

        def fan(n):
            return n if n < 2 else pool.submit(fan, n - 1).get() + pool.submit(fan, n - 2).get()

        def load():
            while go_on:
                handles = [pool.submit(fan, 4), pool.parallel(spend, timeout=10)(100), pool.submit(spend, 50)]
                handles[2].cancel()
                handles[0].wait()
                made.extend(handles)

        def child():
            assert 6 == pool.submit(fan, 4).get(20) + mp.parallel(spend)(3).get(20)
            assert [7, 8] == pool.map(abs, [-7, -8], timeout=20)
            assert pool.shutdown(20) and mp.shutdown(20)
            pool._check()

        def split():
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    child()
                    code = 0
                finally:
                    os.write(2, b"" if code == 0 else b"child failed\\n")
                    os._exit(code)
            return pid

        loaders = [threading.Thread(target=load) for _ in range(2)]
        for loader in loaders:
            loader.start()
        for _ in range(6):
            pids = [split()] if sys.argv[1] == "main" else mp.gather([pool.submit(split) for _ in range(2)])
            for pid in pids:
                until = time.monotonic() + 30
                while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
                    time.sleep(0.002)
                if ended == (0, 0):
                    os.kill(pid, signal.SIGABRT)  # with faulthandler it says where
                    os.waitpid(pid, 0)
                    print("a child hangs", flush=True)
                elif ended[1]:
                    print("a child failed", flush=True)
        go_on = False
        for loader in loaders:
            loader.join()
        prove(pool, made)
        print(len(made) > 0)
        """,
        where,
    )
    assert ("True\n", 0) == (out, status), err


SIGNALS = """
class Alarm(Exception):
    pass

pool = mp.Pool(2)
made, inner, count = [], [], [0]

def handler(*args):
    count[0] += 1
    if sys.argv[2] == "raises":
        raise Alarm
    if sys.argv[2] == "submits and waits":
        inner.append(pool.submit(spend, 10))
        assert 45 == inner[-1].get(30)
        inner.append(pool.submit(spend, 10))
        inner[-1].cancel()

def stay():
    time.sleep(0.002)
    return 7

def submit():
    handle = pool.submit(stay)
    made.append(handle)
    return handle

WAITS = {
    "get": lambda handles: [handle.get(30) for handle in handles],
    "gather": lambda handles: mp.gather(handles),
    "as_completed": lambda handles: [handle.get() for handle in mp.as_completed(handles, timeout=30)],
    "wait": lambda handles: [handle.get() for handle in mp.wait(handles, timeout=30)[0]],
    "map": lambda handles: pool.map(lambda n: stay(), range(4), chunksize=1),
}

def bout(wait):
    handles = [submit() for _ in range(4)]
    assert [7] * 4 == wait(handles)

def quiet():
    while True:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        except Alarm:
            pass

signal.signal(signal.SIGALRM, handler)
until = time.monotonic() + 40
for number, (name, wait) in enumerate(WAITS.items(), 1):
    bouts = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003, float(sys.argv[1]))
        while (count[0] < 40 * number or bouts < 3) and time.monotonic() < until:
            bouts += 1
            try:
                bout(wait)
            except Alarm:
                pass
    except Alarm:
        pass
    quiet()
    assert time.monotonic() < until, (name, bouts, count)
other = mp.Pool(2)
last = [other.submit(time.sleep, 0.1) for _ in range(3)]
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.005)
for _ in range(200):
    try:
        assert other.shutdown(30)
        break
    except Alarm:
        pass
quiet()
assert other.shutdown(30)
assert all(handle.wait(30) for handle in last)
other._check()
prove(pool, made + inner)
print(count[0] > 100)
"""


@pytest.mark.slow
@pytest.mark.proves("I3")
@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs SIGALRM")
@pytest.mark.parametrize("what", ["returns", "raises", "submits and waits"])
def test_signal_during_a_wait_loses_a_wake_up(what: str) -> None:
    """Hundreds of signals a second in every kind of wait; the handler returns, raises, or uses the pool."""
    out, err, status = run(SIGNALS, "0.002", what)
    assert ("True\n", 0) == (out, status), err


@pytest.mark.slow
@pytest.mark.proves("I9")
@pytest.mark.thread_unsafe(reason="starts processes")
def test_collection_in_the_middle_of_a_call_loses_something() -> None:
    """Garbage with finalizers that submit, cancel and drop handles is collected inside many calls, in all threads."""
    out, err, status = run("""
        import logging
        logging.getLogger("makeparallel").disabled = True
        package = os.path.dirname(mp.__file__)
        pool = mp.Pool(3)
        made, spare, freed, inside, kept = [], [], [], [], []

        def count(phase, info):
            if phase == "start" and sys._getframe(1).f_code.co_filename.startswith(package):
                inside.append(None)

        def fail():
            raise ValueError("nobody looks at it")

        class Garbage:
            def __init__(self, n):
                self.n, self.me = n, self

            def __del__(self):
                freed.append(None)
                made.append(pool.submit(spend, 5))
                if self.n % 3 == 0:
                    made[-1].cancel()
                elif self.n % 3 == 1:
                    pool.submit(fail)  # its handle is dropped here
                else:
                    made[-1].on_complete(str)
                    try:
                        spare.pop().cancel()
                    except IndexError:
                        pass

        def grow():
            # On free-threaded builds a thread counts its objects by hundreds: have it come elsewhere each time.
            kept.append([[] for _ in range(random.randrange(256))])

        def litter(n):
            grow()
            Garbage(n)
            spare.append(pool.submit(spend, n))
            return pool.submit(spend, n).get() if n % 2 else n

        gc.callbacks.append(count)
        until = time.monotonic() + 30
        rounds = 0
        while (rounds < 40 or len(inside) < 40 or len(freed) < 100) and time.monotonic() < until:
            gc.set_threshold(1 + rounds % 20, 0)  # 0: also where few objects are new among many
            rounds += 1
            for n in range(5):
                handles = [pool.submit(litter, n + k) for k in range(4)]
                Garbage(n)
                grow()
                handles.append(pool.parallel(litter, timeout=30)(n))
                made.extend(handles)
                mp.gather(handles, timeout=30)
                list(mp.as_completed(handles[:2], timeout=30))
                pool.map(abs, [1, 2, 3], chunksize=1)
                made[-1].cancel()
                pool.submit(fail).wait(30)
        gc.set_threshold(700)
        gc.collect()
        gc.callbacks.clear()
        prove(pool, made + spare)
        print(len(inside) >= 40, len(freed) >= 100)
    """)
    assert ("True True\n", 0) == (out, status), err


#: How a program may end, what it does, and the statuses it may end with.
ENDS = {
    "falls off the end": ("", {0}),
    "sys.exit": ("sys.exit(3)", {3}),
    "unhandled error": ("raise ValueError('on purpose')", {1}),
    "Ctrl-C in the main thread": ("\nwhile True:\n    burst()\n    time.sleep(0.001)", {-signal.SIGINT, 130}),
    "Ctrl-C at the exit": ("mp.parallel(mp.sleep)(1000)", {-signal.SIGINT, 130}),
}
EXIT = """
pool = mp.Pool(3)
dropped = mp.Pool(2)

def fan(n):
    return n if n < 2 else pool.submit(fan, n - 1).get() + pool.submit(fan, n - 2).get()

def chatter():
    for _ in range(5):
        print(".", end="")

def burst():
    kept.extend([pool.submit(fan, 5), mp.parallel(spend)(1000), pool.submit(chatter), dropped_submit(spend, 100)])
    kept[-1].on_complete(lambda value: None)
    mp.parallel(timeout=0.001)(mp.sleep)(0.003).on_error(lambda error: None)
    pool.parallel(timeout=20)(fan)(3).cancel()

kept = []
dropped_submit = dropped.submit
burst()
os.write(1, b"ready\\n")
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    burst()
    time.sleep(0.0005)
"""


@pytest.mark.slow
@pytest.mark.proves("I1")
@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.parametrize("how", ENDS)
def test_exit_at_any_moment_hangs_or_crashes(how: str) -> None:
    """A program that ends with everything under way ends soon, with its own status, and no fatal error."""
    code, statuses = ENDS[how]
    seed = random.randrange(10**6)
    delays = [random.Random(seed + n).uniform(0, 0.1) for n in range(8)]
    for pair in zip(delays[::2], delays[1::2], strict=True):
        processes = [start(EXIT + code, str(delay)) for delay in pair]
        try:
            for process, delay in zip(processes, pair, strict=True):
                assert process.stdout is not None
                assert "ready" in process.stdout.readline()
                if "Ctrl-C" in how:
                    time.sleep(delay)
                    until = time.monotonic() + LIMIT
                    # A signal in the very moment between two waits may be swallowed there; then the next one counts.
                    while process.poll() is None and time.monotonic() < until:
                        process.send_signal(signal.SIGINT)
                        try:
                            process.wait(3)
                        except subprocess.TimeoutExpired:
                            pass
                _, err, status = end(process)
                assert status in statuses, f"{how}, seed {seed}: status {status}, and {err}"
                assert "Fatal Python error" not in err, f"{how}, seed {seed}: {err}"
                assert ("on purpose" in err) == ("on purpose" in code)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.communicate()


# --- errors and threads that can't be made -----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Refuses every assignment, that of `__traceback__` too."""

    code: int


@pytest.mark.proves("I1")
def test_error_that_refuses_attributes_kills_the_worker() -> None:
    """Neither a body nor a mapped one is hurt by an error that can't be changed."""

    def fail(code: int) -> None:
        raise Frozen(code)

    pool = mp.Pool(1)
    error = pool.submit(fail, 3).exception(LIMIT)
    assert isinstance(error.__cause__, Frozen)
    assert "run_body" not in "".join(traceback.format_exception(error.__cause__))
    with pytest.raises(mp.TaskError) as caught:
        pool.map(fail, [1])
    assert isinstance(caught.value.__cause__, Frozen)
    assert pool.shutdown(LIMIT)
    pool._check()


@pytest.mark.proves("I1")
def test_thread_object_that_cannot_be_made_costs_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other thread's object can't be made for want of memory."""
    made: list[None] = []
    real = staff.new_thread

    def refuse(target: Callable[..., object], name: str, *args: object) -> threading.Thread:
        made.append(None)
        if len(made) % 2 == 0:
            raise MemoryError
        return real(target, name, *args)

    monkeypatch.setattr(staff, "new_thread", refuse)
    pool = mp.Pool(3)
    handles: list[mp.AsyncHandle[int]] = []
    for _ in range(200):
        handles += [pool.submit(abs, -n) for n in range(6)]
    monkeypatch.setattr(staff, "new_thread", real)
    prove_whole(pool, handles)
    assert pool.shutdown(LIMIT)
    pool._check()
    assert len(made) > 1


def test_task_is_counted_twice_as_it_leaves() -> None:
    """Never more tasks are started than submitted, as statistics tell it."""
    pool = mp.Pool(2)
    for _ in range(2000):
        pool.submit(abs, -1).get()
        facts = pool.statistics()
        assert facts.started <= facts.submitted
    assert pool.shutdown(LIMIT)
