"""Nothing is kept: no thread, no reference, no memory (I5)."""

import gc
import os
import sys
import threading
import weakref

import psutil
import pytest

import makeparallel as mp

pytestmark = pytest.mark.thread_unsafe(reason="counts threads and memory of the whole process")


class Big:
    """Something to hold on to."""


def echo(big: object) -> object:
    """Return the argument."""
    return big


def nothing() -> None:
    """Do nothing."""


def rest(pool: mp.Pool) -> None:
    """Let every worker pass on to its next sleep: what a thread has made is freed when it runs again."""
    barrier = threading.Barrier(2)
    mp.gather([pool.submit(barrier.wait, 20) for _ in range(2)])
    gc.collect()


@pytest.mark.slow
@pytest.mark.proves("I5")
def test_two_hundred_thousand_tasks_leave_nothing_behind() -> None:
    """No thread, no tracked object, no growing memory."""
    process = psutil.Process(os.getpid())
    threads = threading.active_count()
    with mp.Pool(2) as pool:

        def batch(size: int) -> None:
            for handle in [pool.submit(nothing) for _ in range(size)]:
                handle.get()

        for _ in range(4):
            batch(10_000)
        rest(pool)
        objects, memory = len(gc.get_objects()), process.memory_info().rss
        for _ in range(20):
            batch(10_000)
        rest(pool)
        assert len(gc.get_objects()) - objects < 500
        assert process.memory_info().rss - memory < 8 * 2**20  # 40 bytes a task would be as much
    assert threads == threading.active_count()


@pytest.mark.proves("I5")
@pytest.mark.parametrize("ending", ["success", "failure", "cancel", "timeout"])
def test_finished_task_keeps_neither_function_nor_arguments(ending: str) -> None:
    """While the handle lives, its arguments die as soon as the task has finished."""
    with mp.Pool(1) as pool:
        gate = threading.Event()

        def work(big: Big) -> None:
            if ending == "failure":
                del big
                raise ValueError

        argument = Big()
        ref = weakref.ref(argument)
        blocker = pool.submit(gate.wait, 30)
        handle = pool.parallel(work).options(timeout=0 if ending == "timeout" else None)(argument)
        del argument
        if ending == "cancel":
            handle.cancel()
            assert ref() is None
        gate.set()
        assert blocker.get(30)
        handle.wait(30)
        pool.submit(nothing).wait(30)
        gc.collect()
        assert ref() is None


@pytest.mark.proves("I5")
def test_dropped_handle_frees_its_result_without_the_collector() -> None:
    """No cycle: reference counts alone free a result, an error's frames and a callback's handle."""
    gc.collect()
    gc.disable()
    try:
        with mp.Pool(1) as pool:

            def fail(big: Big) -> None:
                raise ValueError("with a traceback")

            def nested(big: Big) -> None:
                try:
                    pool.submit(fail, big).get()
                except mp.TaskError:
                    pass

            refs = []
            for function in (echo, fail, nested):
                for _ in range(3):
                    big = Big()
                    refs.append(weakref.ref(big))
                    handle = pool.submit(function, big)
                    handle.on_complete(lambda result, handle=handle: None)
                    handle.on_error(lambda error, handle=handle: None)
                    try:
                        handle.get(30)
                    except mp.TaskError:
                        pass
                    del handle, big
            for _ in range(3):
                pool.submit(nothing).get(30)
            assert [] == [index for index, ref in enumerate(refs) if ref() is not None]
    finally:
        gc.enable()


@pytest.mark.proves("I5")
def test_sleeping_worker_keeps_no_task() -> None:
    """The last task's result dies with its handle, though the worker sleeps."""
    with mp.Pool(1) as pool:
        handle = pool.submit(Big)
        ref = weakref.ref(handle.get(30))
        pool.submit(nothing).get(30)
        del handle
        gc.collect()
        assert ref() is None


def test_many_short_threads_that_submit_leave_few_tallies() -> None:
    """A server that starts a thread per request does not grow the pool's books for each."""
    with mp.Pool(1) as pool:
        for _ in range(200):
            thread = threading.Thread(target=lambda: pool.submit(nothing).get(30))
            thread.start()
            thread.join(30)
        assert len(pool._scheduler.tallies) < 100


def test_wrapper_made_for_one_call_is_not_kept() -> None:
    """Decorating inside a request handler retains nothing."""
    with mp.Pool(1) as pool:

        def handle_request() -> "weakref.ref[object]":
            wrapper = pool.parallel(nothing)
            wrapper().get(30)
            return weakref.ref(wrapper)

        assert handle_request()() is None


@pytest.mark.proves("I5")
def test_a_hundred_gets_of_one_error_grow_nothing() -> None:
    """Every raise is a fresh instance; the cause's traceback stays as it was."""

    def fail() -> None:
        raise ValueError("again")

    def frames(error: BaseException) -> int:
        count, trace = 0, error.__traceback__
        while trace is not None:
            count, trace = count + 1, trace.tb_next
        return count

    with mp.Pool(1) as pool:
        handle = pool.submit(fail)
        seen = []
        for _ in range(100):
            with pytest.raises(mp.TaskError) as caught:
                handle.get(30)
            assert caught.value.__cause__ is not None
            seen.append((frames(caught.value.__cause__), sys.getsizeof(handle)))
        assert 1 == len(set(seen))
        assert 1 == seen[0][0]


@pytest.mark.proves("I5")
def test_failed_map_keeps_its_items() -> None:
    """The items of a chunk that failed are freed without the garbage collector."""
    big = Big()
    kept = weakref.ref(big)

    def fail(item: object) -> None:
        raise ValueError("wrong")

    with mp.Pool(1) as pool:
        with pytest.raises(mp.TaskError):
            pool.map(fail, [big])
        del big
        pool.submit(nothing).get(20)
    gc.disable()
    try:
        assert kept() is None
    finally:
        gc.enable()
