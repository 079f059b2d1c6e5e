"""Ctrl-C, and finalizers, at every instruction of the library's public calls.

Each call is repeated with the break one instruction later, until it ends without one. After each, all
seats of the pool must work at the same time (capacity); at the end, conservation and `_check()`.
"""

import threading
from collections.abc import Callable

import pytest
from helpers_breaks import Injector, in_own_thread
from helpers_waiting import eventually

import makeparallel as mp
from makeparallel._process import _supervisor

pytestmark = [pytest.mark.slow, pytest.mark.thread_unsafe(reason="monitors all threads of the process")]
WORKERS = 2


def nothing() -> None:
    """Do nothing."""


def interrupt() -> None:
    """Do what a signal handler does."""
    raise KeyboardInterrupt


def prove_capacity(pool: mp.Pool, where: object) -> None:
    """All seats at once, or a broken barrier."""
    barrier = threading.Barrier(WORKERS)
    handles = [pool.submit(barrier.wait, 20) for _ in range(WORKERS)]
    errors = [handle.exception(25) for handle in handles]
    assert [None] * WORKERS == errors, f"a seat is lost after a break at {where}"


def break_everywhere(
    pool: mp.Pool, prepare: Callable[[], Callable[[], object]], *, only_real_places: bool = False
) -> int:
    """Run what `prepare` returns with a break at each instruction; how many there were.

    Where a `with lock` is involved, only where CPython can break: between its taking and its block it can't (C8).
    """
    nth = 0
    with Injector(interrupt, only_real_places) as injector:
        while True:
            nth += 1
            call = prepare()
            try:
                broken = injector.run(nth, call)
            except KeyboardInterrupt:
                broken = True
            except mp.TaskError:  # a break in the main thread may have cancelled what was submitted
                broken = injector.fired is not None
            prove_capacity(pool, injector.fired)
            if not broken:
                return nth


def finish(pool: mp.Pool) -> None:
    """Conservation: the pool drains, so no count is missing or doubled; then every invariant."""
    assert pool.shutdown(timeout_secs=20), pool
    pool._check()


@pytest.mark.proves("I1")
@in_own_thread
def test_break_in_submit_loses_no_seat_and_no_count() -> None:
    """A submit that is broken anywhere leaves the task cancelled or running, and the pool whole."""
    pool = mp.Pool(WORKERS)
    assert break_everywhere(pool, lambda: lambda: pool.submit(nothing)) > 50
    finish(pool)


@pytest.mark.proves("I1")
@in_own_thread
def test_break_in_decorated_call_loses_no_seat_and_no_count() -> None:
    """The same for calling a decorated function with a timeout."""
    pool = mp.Pool(WORKERS)
    function = pool.parallel(nothing)
    assert break_everywhere(pool, lambda: lambda: function(timeout=30)) > 50
    finish(pool)


@pytest.mark.proves("I1")
@in_own_thread
def test_break_in_first_submit_starts_no_half_pool() -> None:
    """A break while the first thread starts leaves a pool that can start it again."""
    nth = 0
    with Injector(interrupt) as injector:
        while True:
            nth += 1
            pool = mp.Pool(WORKERS)
            try:
                broken = injector.run(nth, lambda: pool.submit(nothing))  # noqa: B023  # called at once
            except KeyboardInterrupt:
                broken = True
            prove_capacity(pool, injector.fired)
            finish(pool)
            if not broken:
                break


@pytest.mark.proves("I1")
@in_own_thread
def test_break_in_bounded_submit_loses_no_permit() -> None:
    """A bounded pool still holds as many tasks as before, after a break anywhere in a submit."""
    pool = mp.Pool(WORKERS, max_pending=2)
    assert break_everywhere(pool, lambda: lambda: pool.submit(nothing)) > 50
    finish(pool)


@pytest.mark.proves("I3")
@in_own_thread
def test_break_in_get_leaves_no_wait_behind() -> None:
    """A `get` that is broken anywhere can be repeated, and the task runs."""
    pool = mp.Pool(WORKERS)

    def prepare() -> Callable[[], object]:
        handle = pool.submit(nothing)
        return lambda: handle.get(20)

    break_everywhere(pool, prepare)
    finish(pool)


@pytest.mark.proves("I3")
@in_own_thread
def test_break_in_cancel_still_wakes_who_waits() -> None:
    """Whoever waits for a task is woken, and its callback fires, wherever its cancel is broken."""
    pool = mp.Pool(WORKERS)
    gate = threading.Event()
    calls: list[object] = []
    handles: list[mp.AsyncHandle[object]] = []
    waiters: list[threading.Thread] = []

    def prepare() -> Callable[[], object]:
        for _ in range(WORKERS):
            pool.submit(gate.wait, 30)
        handle: mp.AsyncHandle[object] = pool.submit(nothing)
        handle.on_error(calls.append)
        handles.append(handle)
        waiter = threading.Thread(target=handle.wait, args=(30,))
        waiter.start()
        waiters.append(waiter)

        def cancel() -> None:
            try:
                handle.cancel()
            finally:
                gate.set()

        return cancel

    nth = 0
    with Injector(interrupt) as injector:
        broken = True
        while broken:
            nth += 1
            gate.clear()
            call = prepare()
            try:
                broken = injector.run(nth, call)
            except KeyboardInterrupt:
                broken = True
            waiters[-1].join(25)
            assert not waiters[-1].is_alive(), f"a waiter sleeps on after a break at {injector.fired}"
            prove_capacity(pool, injector.fired)
    finish(pool)
    cancelled = sum(handle.is_cancelled() for handle in handles)
    assert cancelled == len(calls)
    assert cancelled > 10


@pytest.mark.proves("I3")
@in_own_thread
def test_break_in_gather_and_map_loses_nothing() -> None:
    """`gather` and `parallel_map` that are broken anywhere leave a whole pool."""
    pool = mp.Pool(WORKERS)

    def prepare_gather() -> Callable[[], object]:
        handles = [pool.submit(nothing) for _ in range(3)]
        return lambda: mp.gather(handles)

    break_everywhere(pool, prepare_gather)
    break_everywhere(pool, lambda: lambda: pool.map(abs, [1, 2, 3], chunksize=2), only_real_places=True)  # a lock: C8
    break_everywhere(pool, lambda: lambda: list(pool.imap(abs, [1, 2, 3])), only_real_places=True)
    break_everywhere(pool, lambda: lambda: list(pool.imap(abs, [1, 2], ordered=False)), only_real_places=True)
    finish(pool)


@pytest.mark.proves("I3")
@in_own_thread
def test_break_in_as_completed_and_wait_loses_nothing() -> None:
    """`as_completed` and `wait` that are broken anywhere leave a whole pool."""
    pool = mp.Pool(WORKERS)

    def prepare_completed() -> Callable[[], object]:
        handles = [pool.submit(nothing) for _ in range(3)]
        return lambda: list(mp.as_completed(handles, timeout=20))

    def prepare_wait() -> Callable[[], object]:
        handles = [pool.submit(nothing) for _ in range(3)]
        return lambda: mp.wait(handles, timeout=20)

    break_everywhere(pool, prepare_completed)
    break_everywhere(pool, prepare_wait)
    finish(pool)


#: Calls on a pool and a handle, whose task waits at a gate; each also undoes, or may do twice, what it does.
OTHERS: dict[str, Callable[[mp.Pool, "mp.AsyncHandle[None]"], object]] = {
    "resize": lambda pool, handle: (pool.resize(WORKERS + 1), pool.resize(WORKERS)),
    "on_complete": lambda pool, handle: handle.on_complete(lambda result: None),
    "on_error": lambda pool, handle: handle.on_error(lambda error: None),
    "on_progress": lambda pool, handle: handle.on_progress(lambda fraction: None),
    "metadata": lambda pool, handle: (handle.set_metadata("key", 1), handle.get_metadata("key")),
    "wait": lambda pool, handle: handle.wait(0.0),
    "facts": lambda pool, handle: (
        pool.statistics(),
        pool.get_active_task_count(),
        handle.elapsed_time(),
        repr(handle),
    ),
}


@pytest.mark.proves("I1")
@pytest.mark.parametrize("name", OTHERS)
@in_own_thread
def test_break_in_other_calls_loses_nothing(name: str) -> None:
    """Every other call that changes something or asks for something may be broken anywhere."""
    pool = mp.Pool(WORKERS)
    gates = []

    def prepare() -> Callable[[], object]:
        gates.append(threading.Lock())
        gates[-1].acquire()
        handle = pool.submit(gates[-1].acquire, True, 20.0)

        def call() -> None:
            try:
                OTHERS[name](pool, handle)  # type: ignore[arg-type]
            finally:
                gates[-1].release()

        return call

    assert break_everywhere(pool, prepare, only_real_places=True) > 5
    assert pool.resize(WORKERS) is None  # type: ignore[func-returns-value]  # a break may have left the other size
    finish(pool)


@pytest.mark.proves("I5")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # breaks in finalizers
@in_own_thread
def test_break_in_new_pool_leaves_it_behind() -> None:
    """A pool whose making or first use is broken anywhere is forgotten by the process, as a dropped one is."""
    mp.Pool(1).submit(nothing).wait(20)
    before = len(_supervisor[0].homes())
    nth, broken = 0, True
    with Injector(interrupt, only_real_places=True) as injector:
        while broken:
            nth += 1
            try:
                broken = injector.run(nth, lambda: mp.Pool(1).submit(nothing).wait(20))
            except KeyboardInterrupt:
                broken = True
            assert nth < 1000, injector.fired
    assert nth > 50
    last = mp.Pool(1)  # a new one has those forgotten that have stopped

    def forgotten() -> bool:
        mp.Pool(1)
        return len(_supervisor[0].homes()) <= before + 3  # the last ones may be on their way

    assert eventually(forgotten)
    finish(last)


@pytest.mark.proves("I1")
@in_own_thread
def test_break_in_shutdown_can_be_repeated() -> None:
    """A shutdown that is broken anywhere is finished by the next one; no handle stays unfinished."""
    nth = 0
    with Injector(interrupt) as injector:
        broken = True
        while broken:
            nth += 1
            pool = mp.Pool(WORKERS)
            handles = [pool.submit(nothing) for _ in range(4)]
            try:
                broken = injector.run(nth, pool.shutdown)
            except KeyboardInterrupt:
                broken = True
            assert pool.shutdown(timeout_secs=20), injector.fired
            assert all(handle.wait(10) for handle in handles), injector.fired
            pool._check()


FINALIZERS = ("submit", "cancel", "drop", "count")


@pytest.mark.proves("I1")
@in_own_thread
def test_break_while_pending_tasks_are_dropped_leaves_none_unfinished() -> None:
    """A shutdown that drops what is pending may be broken with a task in hand; the next one finds it."""
    nth = 0
    with Injector(interrupt) as injector:
        broken = True
        while broken:
            nth += 1
            pool = mp.Pool(1)
            gate, started = threading.Event(), threading.Event()

            def hold(gate: threading.Event = gate, started: threading.Event = started) -> None:
                started.set()
                gate.wait(30)

            pool.submit(hold)
            assert started.wait(30)
            handles = [pool.submit(nothing) for _ in range(2)]
            handles[0].on_error(lambda error, gate=gate: gate.set())  # type: ignore[misc]
            try:
                broken = injector.run(nth, lambda: pool.shutdown(cancel_pending=True))  # noqa: B023  # called at once
            except KeyboardInterrupt:
                broken = True
            gate.set()
            assert pool.shutdown(timeout_secs=20, cancel_pending=True), injector.fired
            assert all(handle.wait(10) for handle in handles), injector.fired
            pool._check()


@pytest.mark.proves("I9")
@pytest.mark.parametrize("what", FINALIZERS)
@in_own_thread
def test_finalizer_inside_any_call_loses_nothing(what: str) -> None:
    """A finalizer that submits, cancels, counts or drops a failed handle may run wherever CPython lets it."""
    pool = mp.Pool(WORKERS)
    gate = threading.Event()
    spare: list[mp.AsyncHandle[object]] = []

    def fail() -> None:
        raise ValueError("nobody looks at this one, on purpose")

    def action() -> None:
        if what == "submit":
            pool.submit(nothing)
        elif what == "cancel":
            spare.pop().cancel()
        elif what == "count":
            pool.statistics()
            pool.get_active_task_count()
        else:
            spare.pop()

    def prepare() -> None:
        spare.append(pool.submit(fail if what == "drop" else nothing))
        if what == "drop":
            spare[-1].wait(20)

    reported: list[object] = []
    pool._scheduler.on_unseen = lambda *facts: reported.append(facts)
    calls: list[Callable[[], object]] = [
        lambda: pool.submit(nothing),
        lambda: pool.submit(nothing).get(20),
        lambda: pool.submit(nothing).cancel(),
        lambda: pool.map(abs, [1, 2, 3], chunksize=2),
        lambda: pool.submit(nothing).on_complete(str),
    ]
    fired = 0
    with Injector(action, only_real_places=True) as injector:
        for call in calls:
            nth, going = 0, True
            while going:
                nth += 1
                prepare()
                going = injector.run(nth, call)
                fired += going
                prove_capacity(pool, injector.fired)
    gate.set()
    finish(pool)
    assert fired > 20
    if what == "drop":
        spare.clear()
        assert eventually(lambda: fired <= len(reported))  # a thread that is gone frees what it made a moment later
