"""Shutdown (P6): every way to call it, and what a submit that races with it gets."""

import threading
import time

import pytest

import makeparallel as mp
from makeparallel._core import staff


def test_shutdown_waits_for_pending_and_running_tasks() -> None:
    """Without cancel_pending, everything that was accepted runs."""
    pool = mp.Pool(1)
    done: list[int] = []
    handles = [pool.submit(done.append, n) for n in range(50)]
    assert pool.shutdown() is True
    assert list(range(50)) == sorted(done)
    assert all(handle.is_ready() for handle in handles)
    pool._check()


@pytest.mark.proves("I1")
def test_cancel_pending_leaves_no_handle_hanging() -> None:
    """What had not begun is cancelled; what ran ends."""
    pool = mp.Pool(1)
    started, release = threading.Event(), threading.Event()

    def hold() -> str:
        started.set()
        assert release.wait(30)
        return "held"

    running = pool.submit(hold)
    pending = [pool.submit(abs, -1) for _ in range(20)]
    assert started.wait(30)
    watcher = threading.Thread(target=lambda: [handle.wait(30) for handle in pending] and release.set())
    watcher.start()
    assert pool.shutdown(cancel_pending=True) is True
    watcher.join(30)
    assert "held" == running.get()
    assert all(handle.is_cancelled() for handle in pending)
    pool._check()


@pytest.mark.proves("I1")
def test_timeout_cancels_the_rest_and_returns_at_once() -> None:
    """At the timeout running and pending tasks are cancelled, and the call returns False."""
    pool = mp.Pool(1)
    release = threading.Event()
    started = threading.Event()

    def hold() -> None:
        started.set()
        release.wait(30)

    handles = [pool.submit(hold), pool.submit(abs, -1)]
    assert started.wait(30)
    begin = time.perf_counter()
    assert pool.shutdown(timeout_secs=0.05) is False
    assert time.perf_counter() - begin < 5  # the promise is 0.15 s; the machine may be busy
    assert [True, True] == [handle.is_cancelled() for handle in handles]
    assert pool.shutdown() is False  # it was given up: not waited for again without a limit
    assert 1 == pool.statistics().abandoned_workers
    release.set()
    deadline = time.monotonic() + 30
    while not pool.shutdown(timeout_secs=30):  # until the abandoned thread is home
        assert time.monotonic() < deadline
    pool._check()


def test_submit_after_shutdown_is_refused_with_the_remedy() -> None:
    """The error names the pool and says what to do."""
    pool = mp.Pool(1, name="closed-shop")
    pool.shutdown()
    with pytest.raises(mp.PoolShutdownError, match=r"'closed-shop'.*make a new Pool"):
        pool.submit(abs, -1)


def test_shutdown_of_an_unused_pool_starts_nothing() -> None:
    """A pool that never ran anything shuts down without a thread."""
    pool = mp.Pool(2)
    assert pool.shutdown() is True
    assert () == pool.statistics().per_worker


def test_shutdown_again_and_from_many_threads_is_harmless() -> None:
    """All callers get True, once everything has ended."""
    pool = mp.Pool(2)
    handles = [pool.submit(time.sleep, 0.001) for _ in range(50)]
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(pool.shutdown())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [True] * 6 == results
    assert all(handle.is_ready() for handle in handles)
    assert pool.shutdown() is True
    pool._check()


@pytest.mark.proves("P6")
def test_shutdown_from_a_task_does_not_wait_for_itself() -> None:
    """A task may shut its own pool down; the others end first."""
    pool = mp.Pool(2)
    others: list[int] = []

    def close() -> bool:
        for n in range(10):
            pool.submit(others.append, n)
        return pool.shutdown()

    assert pool.submit(close).get(30) is True
    assert 10 == len(others)
    assert pool.shutdown(timeout_secs=30) is True
    pool._check()


@pytest.mark.proves("P6")
def test_shutdown_from_an_inlined_child_does_not_wait_for_its_parents() -> None:
    """The tasks that wait inline for the caller are exempt too."""
    with mp.Pool(1) as pool:

        def parent() -> bool:
            return pool.submit(pool.shutdown).get()

        assert pool.submit(parent).get(30) is True
    pool._check()


@pytest.mark.proves("P6")
def test_shutdown_from_a_task_does_not_wait_for_who_waits_for_it() -> None:
    """A task that blocks on the one that calls shutdown is exempt, on another thread as well."""
    pool = mp.Pool(2)
    running = threading.Event()
    may_close = threading.Event()

    def close() -> bool:
        running.set()
        assert may_close.wait(30)
        return pool.shutdown(timeout_secs=20)

    def wait_for(handle: mp.AsyncHandle[bool]) -> bool:
        may_close.set()
        return handle.get(30)

    closer = pool.submit(close)
    assert running.wait(30)
    assert pool.submit(wait_for, closer).get(30) is True
    assert closer.get() is True


@pytest.mark.proves("P6")
def test_two_tasks_that_shut_down_do_not_wait_for_each_other() -> None:
    """Callers of shutdown are exempt from each other's wait."""
    pool = mp.Pool(2)
    barrier = threading.Barrier(2)

    def close() -> bool:
        barrier.wait(30)
        return pool.shutdown(timeout_secs=20)

    assert [True, True] == mp.gather([pool.submit(close), pool.submit(close)], timeout=30)


def test_subtasks_are_accepted_while_draining() -> None:
    """A running task may still fan out after shutdown began."""
    pool = mp.Pool(1)
    started, closing = threading.Event(), threading.Event()

    def fan_out() -> int:
        started.set()
        assert closing.wait(30)
        return sum(mp.gather([pool.submit(pow, n, 2) for n in range(4)]))

    handle = pool.submit(fan_out)
    assert started.wait(30)

    def shut() -> None:
        results.append(pool.shutdown())

    results: list[bool] = []
    thread = threading.Thread(target=shut)
    thread.start()
    while not pool._scheduler.state:  # the refusal has begun
        time.sleep(0)
    closing.set()
    assert 14 == handle.get(30)
    thread.join(30)
    assert [True] == results
    pool._check()


def test_subtasks_are_refused_with_cancel_pending() -> None:
    """With cancel_pending, a running task can't start new ones."""
    pool = mp.Pool(1)
    started, closing = threading.Event(), threading.Event()

    def fan_out() -> None:
        started.set()
        assert closing.wait(30)
        pool.submit(abs, -1)

    handle = pool.submit(fan_out)
    assert started.wait(30)
    thread = threading.Thread(target=lambda: pool.shutdown(cancel_pending=True))
    thread.start()
    while not pool._scheduler.state:
        time.sleep(0)
    closing.set()
    error = handle.exception(30)
    thread.join(30)
    assert error is not None
    assert "PoolShutdownError" == error.error_type
    pool._check()


@pytest.mark.slow
@pytest.mark.proves("I1")
@pytest.mark.parametrize("cancel_pending", [False, True])
def test_submits_that_race_with_shutdown_finish_or_are_refused(cancel_pending: bool) -> None:
    """Each submit either raises, or returns a handle that finishes; the counts agree."""
    for _ in range(30):
        pool = mp.Pool(2)
        handles: list[mp.AsyncHandle[int]] = []
        barrier = threading.Barrier(4)

        def submit(pool: mp.Pool, handles: list[mp.AsyncHandle[int]], barrier: threading.Barrier) -> None:
            barrier.wait(30)
            try:
                while True:
                    handles.append(pool.submit(abs, -1))
            except mp.PoolShutdownError:
                pass

        threads = [threading.Thread(target=submit, args=(pool, handles, barrier)) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait(30)
        assert pool.shutdown(cancel_pending=cancel_pending) is True
        for thread in threads:
            thread.join(30)
        assert all(handle.wait(30) for handle in handles)
        facts = pool.statistics()
        assert facts.succeeded == sum(not handle.is_cancelled() for handle in handles)
        assert facts.submitted == facts.succeeded + facts.cancelled
        pool._check()


def test_shutdown_joins_a_thread_that_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit is starting a worker's thread, which has its ident already, while another thread shuts down."""
    begins, go_on = threading.Event(), threading.Event()

    class Slow(threading.Thread):
        """Stops where its ident is set and `start` does not know yet that it runs."""

        def _set_ident(self) -> None:
            super()._set_ident()  # type: ignore[misc]
            begins.set()
            assert go_on.wait(30)

    monkeypatch.setattr(staff, "new_thread", lambda target, name, *args: Slow(target=target, name=name, args=args))
    pool = mp.Pool(1)
    submitter = threading.Thread(target=lambda: pool.submit(abs, -1))
    submitter.start()
    assert begins.wait(30)
    assert pool.shutdown(timeout_secs=10, cancel_pending=True) is True
    go_on.set()
    submitter.join(30)
    facts = pool.statistics()
    assert (1, 1) == (facts.submitted, facts.cancelled)
    pool._check()


def test_pool_as_context_manager_cancels_pending_on_an_exception() -> None:
    """Leaving the block by an exception does not run what is still queued."""
    started, release = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(30)

    with pytest.raises(KeyError):
        with mp.Pool(1) as pool:
            pool.submit(hold)
            assert started.wait(30)
            pending = pool.submit(abs, -1)
            pending.on_error(lambda error: release.set())
            raise KeyError("left")
    assert pending.is_cancelled()
    pool._check()


@pytest.mark.proves("I1")
def test_dropped_pool_finishes_its_tasks_and_ends_its_threads() -> None:
    """A pool nobody holds any more runs what it accepted, then its threads end."""
    pool = mp.Pool(2, name="dropped")
    release = threading.Event()
    handles = [pool.submit(release.wait, 30) for _ in range(4)]
    scheduler = pool._scheduler
    pool.__del__()
    with pytest.raises(mp.PoolShutdownError):
        pool.submit(abs, -1)
    release.set()
    assert [True] * 4 == mp.gather(handles, timeout=30)
    for worker in scheduler.roster[:]:
        worker.thread.join(30)
        assert not worker.thread.is_alive()


def test_active_count_counts_a_cancelled_body_until_it_has_left() -> None:
    """A cancelled running task is finished for its waiters, and active until its body ends."""
    pool = mp.Pool(1)
    started, release, left = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        release.wait(30)

    handle = pool.submit(hold)
    assert started.wait(30)
    assert handle.cancel() is True
    assert (True, True, 1) == (handle.is_ready(), handle.is_running(), pool.get_active_task_count())
    release.set()
    pool.submit(left.set)
    assert left.wait(30)
    assert pool.shutdown(timeout_secs=30)
    assert (False, 0) == (handle.is_running(), pool.get_active_task_count())


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_bad_timeout_of_shutdown_shuts_nothing_down(value: float) -> None:
    """A wrong argument is refused before anything happens."""
    with mp.Pool(1) as pool:
        with pytest.raises(ValueError, match=r"timeout_secs="):
            pool.shutdown(timeout_secs=value)
        with pytest.raises(TypeError, match=r"cancel_pending="):
            pool.shutdown(cancel_pending="yes")  # type: ignore[arg-type]
        assert 1 == pool.submit(abs, -1).get(30)


@pytest.mark.proves("P6")
def test_shutdown_that_was_broken_off_is_never_completed() -> None:
    """A shutdown in a task that is cancelled stops the pool all the same, once the last task has ended."""
    pool, outer = mp.Pool(1), mp.Pool(1)
    release, started = threading.Event(), threading.Event()
    pool.submit(release.wait, 30)

    def shut() -> None:
        started.set()
        pool.shutdown()

    handle = outer.submit(shut)
    assert started.wait(30)
    while "draining" not in repr(pool):
        assert not handle.is_ready()
    handle.cancel()
    release.set()
    deadline = time.monotonic() + 30
    while "stopped" not in repr(pool):
        assert time.monotonic() < deadline
    assert outer.shutdown(30)


def test_pool_that_was_clogged_a_moment_ago_says_that_it_was_shut_down() -> None:
    """The error of a refused submit speaks of what was the matter, also if it no longer is."""
    with mp.Pool(1, name="moment") as pool:
        assert isinstance(pool._scheduler.refusal(), mp.PoolFullError)
    assert isinstance(pool._scheduler.refusal(), mp.PoolShutdownError)
