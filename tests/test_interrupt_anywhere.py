"""An interrupt at every place of every public call that a body may make.

Each call is repeated in a fresh body, whose task is cancelled and interrupted one place later each time, until the
call ends without having come there. The places are those where CPython can break a thread, within the library (C4).
Another thread does the cancelling and the sending, as the supervisor would, while the body stands still. After each
one the body must have left, all seats must work at once, and the pool must be at rest with all its invariants.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import pytest
from helpers_breaks import Injector

import makeparallel as mp
from makeparallel._core.entries import CANCELLED
from makeparallel._interrupt import urge

pytestmark = [pytest.mark.slow, pytest.mark.thread_unsafe(reason="monitors all threads of the process")]
LIMIT = 30
WORKERS = 2


def nothing() -> None:
    """Do nothing."""


class Ender:
    """Another thread, which ends the running task and interrupts its body when it is asked to."""

    def __init__(self, pool: mp.Pool) -> None:
        self.pool = pool
        #: Whose body makes the call; not what may run inline in it.
        self.handle: Any = None
        self.asked: SimpleQueue[tuple[Any, threading.Event]] = SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def ask(self) -> None:
        """Have it done before the caller goes on, unless the caller stands in the other thread's way."""
        held = self.handle._claimant().lock.locked()
        done = threading.Event()
        self.asked.put((self.handle, done))
        # The body may hold its gate's lock at this place: then the sender waits for it, as it should.
        done.wait(0.02 if held else LIMIT)

    def run(self) -> None:
        """End the task, then do what the supervisor does."""
        while True:
            handle, done = self.asked.get()
            worker = handle._claimant()
            handle.end(CANCELLED, fire=False)
            urge(self.pool._scheduler, worker, handle)
            done.set()


def submit(pool: mp.Pool) -> object:
    return pool.submit(nothing)


def call(pool: mp.Pool) -> object:
    return pool.parallel(nothing, timeout=LIMIT)()


def get_inline(pool: mp.Pool) -> object:
    return pool.submit(nothing).get()


def get_blocking(pool: mp.Pool) -> object:
    return pool.submit(nothing).get(LIMIT)


def get_twice(pool: mp.Pool) -> object:
    child = pool.submit(nothing)
    child.wait()
    return child.exception(), child.try_get()


def cancel(pool: mp.Pool) -> object:
    child = pool.submit(nothing)
    child.on_error(repr)
    return child.cancel()


def gather(pool: mp.Pool) -> object:
    return mp.gather([pool.submit(nothing) for _ in range(2)])


def as_completed(pool: mp.Pool) -> object:
    return list(mp.as_completed([pool.submit(nothing) for _ in range(2)], timeout=LIMIT))


def wait(pool: mp.Pool) -> object:
    return mp.wait([pool.submit(nothing) for _ in range(2)], timeout=LIMIT)


def parallel_map(pool: mp.Pool) -> object:
    return pool.map(abs, [1, 2], chunksize=1)


def parallel_imap(pool: mp.Pool) -> object:
    return [*pool.imap(abs, [-1, -2, -3]), *pool.imap(abs, [-1, -2], ordered=False, buffersize=1)]


def callbacks(pool: mp.Pool) -> object:
    child = pool.submit(nothing)
    child.on_complete(repr)
    child.on_progress(repr)
    child.wait()
    return child.on_complete(repr)


def progress(pool: mp.Pool) -> object:
    me = mp.current_handle()
    assert me is not None
    me.on_progress(repr)
    mp.report_progress(0.5)
    return me.get_progress()


def facts(pool: mp.Pool) -> object:
    me = mp.current_handle()
    assert me is not None
    me.set_metadata("key", 1)
    me.get_metadata("key")
    mp.cancel_requested()
    mp.get_current_task_id()
    repr(me)
    return me.is_running(), me.elapsed_time(), pool.statistics(), pool.get_active_task_count()


def checkpoint(pool: mp.Pool) -> object:
    return mp.checkpoint()


def sleep(pool: mp.Pool) -> object:
    return mp.sleep(0.0)


def shield(pool: mp.Pool) -> object:
    with mp.shield():
        inside.append(1)
        with mp.shield():
            pool.submit(nothing).cancel()
        inside.append(-1)
    return None


def blocking(pool: mp.Pool) -> object:
    with mp.blocking():
        pass
    return None


def another_pool(pool: mp.Pool) -> object:
    with mp.Pool(1) as other:
        others.append(other)
        return other.submit(nothing).get()


def resize(pool: mp.Pool) -> object:
    pool.resize(WORKERS + 1)
    return pool.resize(WORKERS)


def failing(pool: mp.Pool) -> object:
    return pool.submit(int, "no number").exception()


inside: list[int] = []
others: list[mp.Pool] = []
CALLS: list[Callable[[mp.Pool], object]] = [
    submit, call, get_inline, get_blocking, get_twice, cancel, gather, as_completed, wait, parallel_map,
    parallel_imap, callbacks,    progress, facts, checkpoint, sleep, shield, blocking, another_pool, resize, failing,
]  # fmt: skip


def prove_capacity(pool: mp.Pool, where: object) -> None:
    """All seats at once, or a broken barrier."""
    barrier = threading.Barrier(WORKERS)
    handles = [pool.submit(barrier.wait, LIMIT) for _ in range(WORKERS)]
    assert [None] * WORKERS == [handle.exception(LIMIT) for handle in handles], f"a seat is lost after {where}"


def settle(pool: mp.Pool, where: object) -> None:
    """Wait until the pool is at rest; every invariant holds then."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        with suppress(AssertionError):
            return pool._check()
        time.sleep(0.0005)
    raise AssertionError(f"not at rest after an interrupt at {where}")


@pytest.mark.proves("I4")
@pytest.mark.proves("P5")
@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_interrupt_anywhere_in_a_call_changes_half_of_something(function: Callable[[mp.Pool], object]) -> None:
    """Wherever it arrives, the pool is whole, and no interrupt reaches anything else."""
    inside.clear()
    others.clear()
    pool = mp.Pool(WORKERS, hard_grace_secs=None)
    ender = Ender(pool)
    nth, going = 0, True
    with Injector(ender.ask, only_real_places=True) as injector:
        while going:
            nth += 1

            def body(nth: int = nth) -> None:
                injector.thread = threading.get_ident()
                ender.handle = mp.current_handle()
                injector.run(nth, lambda: function(pool))

            handle = pool.submit(body)
            with suppress(mp.TaskError):
                handle.get(LIMIT)
            going = injector.fired is not None
            assert handle.is_cancelled() == going, f"{handle!r} after {injector.fired}"
            settle(pool, injector.fired)
            prove_capacity(pool, injector.fired)
            for other in others:
                assert other.shutdown(LIMIT), f"the other pool does not end after an interrupt at {injector.fired}"
                other._check()
            others.clear()
    assert nth > 3
    assert 0 == sum(inside)
    assert 0 == pool.statistics().abandoned_workers
    assert pool.shutdown(LIMIT)
    pool._check()
