"""The handle, member by member: waiting, states, cancelling, facts, callbacks, progress."""

import concurrent.futures
import contextvars
import gc
import logging
import math
import os
import re
import subprocess
import sys
import threading
import time
import traceback
import weakref
from functools import partial

import pytest
from helpers_waiting import LIMIT, eventually, eventually_freed

import makeparallel as mp
from makeparallel._callbacks import ProgressCallback

ROUNDS = 200


class Gate:
    """A body that says that it has begun, and stays until it is let go."""

    def __init__(self, error=None):
        self.begun, self.go, self.error = threading.Event(), threading.Event(), error

    def __call__(self, result=None):
        self.begun.set()
        assert self.go.wait(LIMIT)
        if self.error is not None:
            raise self.error
        return result

    def start(self, pool, *args, **options):
        """Submit the body, and return its handle once it runs."""
        handle = pool.parallel(name="gate", **options)(self)(*args)
        assert self.begun.wait(LIMIT)
        return handle


class Payload:
    """Something weakly referable, to see whether it is kept."""


def seven():
    """A body that takes nothing."""
    return 7


def fail(message="wrong"):
    """A body that fails."""
    raise ValueError(message)


def in_threads(*jobs):
    """Run jobs at the same time; their results in order; the first error is raised here."""
    outcomes = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs), timeout=LIMIT)

    def run(index, job):
        try:
            barrier.wait()
            outcomes[index] = (job(), None)
        except BaseException as error:
            outcomes[index] = (None, error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes]


# --- making -------------------------------------------------------------------------------------------


def test_handle_is_made_by_hand():
    """A handle can't be made directly; the message says how one is made."""
    with pytest.raises(TypeError, match=r"parallel.*submit"):
        mp.AsyncHandle()


def test_handle_is_not_hashable_or_weakly_referable(pool):
    """Handles serve as keys, compare by identity, and can be weakly referred to."""
    first, second = pool.submit(int), pool.submit(int)
    assert 2 == len({first, second, first})
    assert first != second
    assert first is weakref.ref(first)()


# --- get ----------------------------------------------------------------------------------------------


def test_second_get_has_nothing(pool):
    """`get` may be called any number of times, and gives the very same object."""
    result = Payload()
    handle = pool.submit(lambda: result)
    assert [True] * 5 == [handle.get(LIMIT) is result for _ in range(5)]


@pytest.mark.parametrize("result", [None, (), False, 0, ValueError("returned"), (2, ValueError("x"), 0.0)], ids=repr)
def test_odd_result_is_taken_for_none_or_an_error(pool, result):
    """What is false, an exception that is returned, or looks like the library's own record, is a result."""
    handle = pool.submit(lambda: result)
    assert handle.get(LIMIT) is result
    assert handle.try_get("default") is result
    assert handle.exception(LIMIT) is None


def test_get_wakes_one_thread_only(pool):
    """All threads that wait get the result."""
    gate = Gate()
    handle = gate.start(pool, "result")
    jobs = [partial(handle.get, LIMIT)] * 8
    assert ["result"] * 8 == in_threads(*jobs, gate.go.set)[:8]


def test_failed_get_wakes_one_thread_only(pool):
    """All threads that wait get the error, each an instance of its own."""
    gate = Gate(ValueError("wrong"))
    handle = gate.start(pool)
    errors = in_threads(*[partial(handle.exception, LIMIT)] * 6, gate.go.set)[:6]
    assert [mp.TaskError] * 6 == [type(error) for error in errors]
    assert 6 == len(set(map(id, errors)))


def test_timeout_of_get_ends_the_task(pool):
    """If only the waiting timed out it is a builtin TimeoutError, and the task goes on."""
    gate = Gate()
    handle = gate.start(pool, "result")
    for seconds in (0, 0.001):
        with pytest.raises(TimeoutError, match="gate") as caught:
            handle.get(timeout=seconds)
        assert not isinstance(caught.value, mp.TaskError)
    with pytest.raises(TimeoutError):
        handle.exception(timeout=0)
    assert (False, True) == (handle.is_ready(), handle.is_running())
    gate.go.set()
    assert "result" == handle.get(LIMIT)
    assert "result" == handle.get(timeout=0)


def test_timed_out_waits_pile_up(pool):
    """A wait that timed out leaves nothing at the handle."""
    gate = Gate()
    handle = gate.start(pool)
    handle.wait(0)
    size = len(handle._ledger)
    for _ in range(100):
        handle.wait(0)
        with pytest.raises(TimeoutError):
            handle.get(0)
    assert size == len(handle._ledger)
    gate.go.set()


def test_timeouts_of_task_and_wait_look_alike(pool):
    """The task's own timeout is a `TaskTimeoutError`, which the wait's is not."""
    gate = Gate()
    handle = gate.start(pool, timeout=0.01)
    with pytest.raises(mp.TaskTimeoutError):
        handle.get(LIMIT)
    gate.go.set()


@pytest.mark.proves("P4")
def test_get_inside_a_task_deadlocks():
    """With one worker, a task that waits for a task that waits for a task gets its result."""
    with mp.Pool(1) as single:

        def nest(depth):
            return 0 if depth == 0 else 1 + single.submit(nest, depth - 1).get()

        assert 60 == single.submit(nest, 60).get(LIMIT)


@pytest.mark.proves("P4")
def test_task_that_waits_for_itself_hangs(pool):
    """A task that waits for itself gets a RuntimeError that names it."""

    @pool.parallel(name="narcissus")
    def body():
        mp.current_handle().get()

    error = body().exception(LIMIT)
    assert isinstance(error.__cause__, RuntimeError)
    assert "narcissus" in error.error_message


@pytest.mark.proves("P4")
def test_tasks_that_wait_for_each_other_hang():
    """Of two tasks that wait for each other, at least one gets a RuntimeError, and both end."""
    with mp.Pool(2) as two:
        handles = []
        ready = threading.Event()

        def body(other):
            assert ready.wait(LIMIT)
            return handles[other].get()

        handles += [two.parallel(name=f"task{index}")(body)(1 - index) for index in range(2)]
        ready.set()
        errors = [handle.exception(LIMIT) for handle in handles]
        assert any(isinstance(error.__cause__, RuntimeError) for error in errors)


# --- try_get, exception, wait ---------------------------------------------------------------------------


def test_try_get_waits(pool):
    """`try_get` of an unfinished task gives the default at once, afterwards the result."""
    gate = Gate()
    handle = gate.start(pool, "result")
    default = Payload()
    assert handle.try_get() is None
    assert handle.try_get(default) is default
    assert handle.try_get(default=default) is default
    gate.go.set()
    assert handle.wait(LIMIT)
    assert "result" == handle.try_get(default)


def test_try_get_hides_a_failure(pool):
    """`try_get` raises like `get`, if the task failed or was cancelled."""
    handle = pool.submit(fail)
    handle.wait(LIMIT)
    with pytest.raises(mp.TaskError, match="wrong"):
        handle.try_get("default")
    gate = Gate()
    cancelled = gate.start(pool)
    cancelled.cancel()
    with pytest.raises(mp.TaskCancelledError):
        cancelled.try_get("default")
    gate.go.set()


def test_exception_raises(pool):
    """`exception` returns the error of every kind, and None after success."""
    gate = Gate()
    cancelled = gate.start(pool)
    cancelled.cancel()
    gate.go.set()
    assert pool.submit(int).exception(LIMIT) is None
    assert mp.TaskError is type(pool.submit(fail).exception(LIMIT))
    assert mp.TaskCancelledError is type(cancelled.exception(LIMIT))
    assert mp.TaskTimeoutError is type(pool.parallel(seven)(timeout=0).exception(LIMIT))


def test_wait_raises_the_error(pool):
    """`wait` tells whether the task finished in time, and never raises its error."""
    gate = Gate(ValueError("wrong"))
    handle = gate.start(pool)
    assert [False, False] == [handle.wait(0), handle.wait(timeout=0.001)]
    gate.go.set()
    assert [True, True, True] == [handle.wait(LIMIT), handle.wait(), handle.wait(0)]
    assert isinstance(handle.exception(), mp.TaskError)


@pytest.mark.parametrize("method", ["get", "exception", "wait"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", TypeError), (True, TypeError), (b"", TypeError), ([1], TypeError), (1j, TypeError),
        (-1, ValueError), (-1e-9, ValueError), (math.nan, ValueError), (-math.inf, ValueError),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("finished", [True, False])
def test_bad_timeout_passes_when_finished(pool, method, value, kind, finished):
    """A wrong timeout is an error that names it and its value, whether or not the task has finished."""
    gate = Gate()
    handle = gate.start(pool)
    if finished:
        gate.go.set()
        assert handle.wait(LIMIT)
    with pytest.raises(kind, match=re.escape(f"timeout={value!r}")):
        getattr(handle, method)(timeout=value)
    gate.go.set()


@pytest.mark.parametrize("value", [math.inf, None, 1e300, 10**9])
def test_endless_wait_overflows(pool, value):
    """Infinity and every large number of seconds can be waited for."""
    gate = Gate()
    handle = gate.start(pool, "result")
    timer = threading.Timer(0.01, gate.go.set)
    timer.start()
    assert "result" == handle.get(value)
    assert handle.wait(value)
    timer.join()


# --- states -------------------------------------------------------------------------------------------


def states(handle):
    """Ready, running, cancelled."""
    return handle.is_ready(), handle.is_running(), handle.is_cancelled()


def test_states_of_success_are_wrong():
    """Pending, running, finished: each state shows as itself."""
    with mp.Pool(1) as single:
        gate = Gate()
        running = gate.start(single)
        pending = single.submit(int)
        assert (False, False, False) == states(pending)
        assert (False, True, False) == states(running)
        gate.go.set()
        pending.get(LIMIT)
        assert (True, False, False) == states(running)
        assert eventually(lambda: (True, False, False) == states(pending))


def test_failure_shows_as_cancelled(pool):
    """A failed and a timed-out task are ready, and not cancelled."""
    failed, overdue = pool.submit(fail), pool.parallel(seven)(timeout=0)
    assert failed.wait(LIMIT)
    assert overdue.wait(LIMIT)
    assert eventually(lambda: (True, False, False) == states(failed))
    assert eventually(lambda: (True, False, False) == states(overdue))
    assert isinstance(failed.exception(), mp.TaskError)


def test_left_body_is_not_seen_after_cancel(pool):
    """After a cancel `is_running` stays True until the body has left."""
    gate = Gate()
    handle = gate.start(pool)
    assert handle.cancel()
    assert (True, True, True) == states(handle)
    gate.go.set()
    assert eventually(lambda: (True, False, True) == states(handle))


def test_left_body_is_not_seen_after_timeout(pool):
    """After a timeout `is_running` stays True until the body has left."""
    gate = Gate()
    handle = gate.start(pool, timeout=0.01)
    assert handle.wait(LIMIT)
    assert (True, True, False) == states(handle)
    gate.go.set()
    assert eventually(lambda: (True, False, False) == states(handle))


def test_waiting_task_counts_as_left():
    """A body that waits for another task inline is still running; so is the other one."""
    with mp.Pool(1) as single:
        gate = Gate()
        inner = []

        def body():
            inner.append(single.parallel(gate)("inner"))
            return inner[0].get()

        outer = single.submit(body)
        assert gate.begun.wait(LIMIT)
        assert [(False, True, False)] * 2 == [states(outer), states(inner[0])]
        gate.go.set()
        assert "inner" == outer.get(LIMIT)


# --- cancel -------------------------------------------------------------------------------------------


@pytest.mark.proves("P1")
def test_cancelled_pending_task_runs():
    """A pending task that is cancelled never runs, and is finished at once."""
    with mp.Pool(1) as single:
        gate, ran = Gate(), []
        gate.start(single)
        pending = single.submit(ran.append, 1)
        assert pending.cancel() is True
        assert (True, False, True) == states(pending)
        with pytest.raises(mp.TaskCancelledError):
            pending.get(0)
        gate.go.set()
    assert [] == ran


def test_cancelled_body_holds_up_the_handle(pool):
    """Cancelling a running task finishes the handle though the body goes on; its result is dropped."""
    gate = Gate()
    handle = gate.start(pool, "result")
    assert handle.cancel() is True
    with pytest.raises(mp.TaskCancelledError):
        handle.get(0)
    gate.go.set()
    assert eventually(lambda: not handle.is_running())
    with pytest.raises(mp.TaskCancelledError):
        handle.get(0)


def test_cancel_wakes_nobody(pool):
    """Threads that wait are woken by a cancel."""
    gate = Gate()
    handle = gate.start(pool)
    results = in_threads(*[partial(handle.exception, LIMIT)] * 4, handle.cancel)
    assert [mp.TaskCancelledError] * 4 == [type(error) for error in results[:4]]
    gate.go.set()


def test_cancel_of_a_finished_task_changes_it(pool):
    """Cancelling what has succeeded, failed, timed out or was cancelled returns False and changes nothing."""
    gate = Gate()
    cancelled = gate.start(pool)
    assert cancelled.cancel()
    gate.go.set()
    succeeded, failed = pool.submit(int, 7), pool.submit(fail)
    overdue = pool.parallel(seven)(timeout=0)
    handles = [succeeded, failed, overdue, cancelled]
    assert [True] * 4 == [handle.wait(LIMIT) for handle in handles]
    assert [False] * 4 == [handle.cancel() for handle in handles]
    assert [False, False, False, True] == [handle.is_cancelled() for handle in handles]
    assert 7 == succeeded.get()
    assert [mp.TaskError, mp.TaskTimeoutError] == [type(handle.exception()) for handle in (failed, overdue)]


@pytest.mark.proves("P1")
def test_two_cancels_win(pool):
    """Of many threads that cancel at once, exactly one is told that it did it."""
    gate = Gate()
    for _ in range(30):
        handle = pool.submit(gate) if gate.begun.is_set() else gate.start(pool)
        results = in_threads(*[handle.cancel] * 4)
        assert [False, False, False, True] == sorted(results)
    gate.go.set()


@pytest.mark.proves("P1")
def test_cancel_races_finish():
    """Cancel and the body's end at the same moment: one wins, and everybody agrees which."""
    with mp.Pool(1) as single:
        for _ in range(ROUNDS):
            barrier = threading.Barrier(2, timeout=LIMIT)
            completed, errors = [], []
            handle = single.submit(barrier.wait)
            handle.on_complete(completed.append)
            handle.on_error(errors.append)
            barrier.wait()
            won = handle.cancel()
            assert won == handle.is_cancelled() == isinstance(handle.exception(LIMIT), mp.TaskCancelledError)
            assert eventually(lambda done=completed, bad=errors: 1 == len(done) + len(bad))
            assert ([], 1) == (completed, len(errors)) if won else (1, []) == (len(completed), errors)
    single._check()


@pytest.mark.proves("P1")
def test_cancel_races_start():
    """A cancel that comes as the task is claimed: either the body never runs, or the cancel says it ran."""
    with mp.Pool(1) as single:
        for _ in range(ROUNDS):
            ran = []
            handle = single.submit(ran.append, 1)
            won = handle.cancel()
            assert won == handle.is_cancelled()
            if not won:
                assert handle.get(LIMIT) is None
                assert [1] == ran
    single._check()


def test_cancel_of_itself_hangs(pool):
    """A body may cancel its own task, and is told by `checkpoint`."""
    left = []

    def body():
        left.append(mp.current_handle().cancel())
        left.append(mp.cancel_requested())
        mp.checkpoint()
        left.append("went on")

    handle = pool.parallel(body, interrupt=False)()
    assert isinstance(handle.exception(LIMIT), mp.TaskCancelledError)
    assert eventually(lambda: not handle.is_running())
    assert [True, True] == left


def test_cancel_from_a_callback_deadlocks(pool):
    """A callback may cancel its own task, which is too late, and another one, which is not."""
    gate = Gate()
    other = gate.start(pool)
    results = []
    handle = pool.submit(int)
    handle.on_complete(lambda result: results.extend((handle.cancel(), other.cancel())))
    assert eventually(lambda: 2 == len(results))
    assert [False, True] == results
    assert isinstance(other.exception(0), mp.TaskCancelledError)
    gate.go.set()


def test_cancelled_error_is_unknown_to_futures(pool):
    """Who catches the standard library's CancelledError catches ours."""
    gate = Gate()
    handle = gate.start(pool)
    handle.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        handle.get()
    gate.go.set()


# --- facts --------------------------------------------------------------------------------------------


def test_task_ids_repeat(pool):
    """Ids are unique over threads and pools, and stay the same."""
    with mp.Pool(1) as other:

        def submit():
            return [each.submit(int) for each in (pool, other) for _ in range(100)]

        handles = [handle for made in in_threads(*[submit] * 4) for handle in made]
        handles += [handle for made in pool.map(lambda _: submit(), range(2)) for handle in made]
        ids = [handle.get_task_id() for handle in handles]
        mp.gather(handles, timeout=LIMIT)
    assert 1200 == len(set(ids))
    assert [str] * 1200 == [type(each) for each in ids]
    assert ids == [handle.get_task_id() for handle in handles]


def test_name_and_timeout_are_forgotten(pool):
    """The name is the one given, or the function's; the timeout is a number, or None."""
    handle = pool.parallel(name="given", timeout=7)(int)()
    assert ("given", 7.0) == (handle.get_name(), handle.get_timeout())
    handle = pool.submit(fail)
    assert ("fail", None) == (handle.get_name(), handle.get_timeout())
    assert isinstance(handle.exception(LIMIT), mp.TaskError)


def test_elapsed_time_runs_on():
    """Zero while pending, growing while the body runs, constant once finished."""
    with mp.Pool(1) as single:
        gate = Gate()
        running = gate.start(single)
        pending = single.submit(int)
        assert 0.0 == pending.elapsed_time()
        assert eventually(lambda: running.elapsed_time() > 0.002)
        first = running.elapsed_time()
        assert eventually(lambda: running.elapsed_time() > first)
        gate.go.set()
        mp.wait([running, pending], LIMIT)
        stopped = running.elapsed_time()
        single.submit(time.sleep, 0.01).get(LIMIT)
        assert stopped == running.elapsed_time()
        assert stopped >= first
        assert float is type(pending.elapsed_time())


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_elapsed_time_runs_on_with_the_body(pool, how):
    """A cancel or timeout stops the clock, though the body goes on."""
    gate = Gate()
    handle = gate.start(pool, timeout=0.01 if how == "timeout" else None)
    if how == "cancel":
        handle.cancel()
    assert handle.wait(LIMIT)
    stopped = handle.elapsed_time()
    time.sleep(0.01)
    assert stopped == handle.elapsed_time()
    gate.go.set()
    assert eventually(lambda: not handle.is_running())
    assert stopped == handle.elapsed_time()


def test_elapsed_time_of_what_never_ran():
    """A task that was cancelled before it began, or had no time at all, took no time."""
    with mp.Pool(1) as single:
        gate = Gate()
        gate.start(single)
        pending, overdue = single.submit(int), single.parallel(seven)(timeout=0)
        pending.cancel()
        gate.go.set()
        assert overdue.wait(LIMIT)
        assert [0.0, 0.0] == [pending.elapsed_time(), overdue.elapsed_time()]


# --- metadata -----------------------------------------------------------------------------------------


def test_metadata_is_lost_or_shared(pool):
    """Any value under any string key; the dict is a copy; handles don't share it."""
    handle, other = pool.submit(int), pool.submit(int)
    value = Payload()
    handle.set_metadata("", value)
    handle.set_metadata("key", None)
    handle.set_metadata("key", 2)
    assert handle.get_metadata("") is value
    assert 2 == handle.get_metadata("key", "default")
    assert (None, "default") == (handle.get_metadata("none"), handle.get_metadata("none", "default"))
    taken = handle.get_all_metadata()
    assert {"": value, "key": 2} == taken
    taken["more"] = 1
    assert {"": value, "key": 2} == handle.get_all_metadata()
    assert {} == other.get_all_metadata()
    assert "default" == other.get_metadata("key", default="default")
    handle.set_metadata("None", None)
    assert handle.get_metadata("None", "default") is None


@pytest.mark.parametrize("key", [1, None, b"key", ("key",), True], ids=repr)
def test_key_that_is_no_string_is_taken(pool, key):
    """Keys are strings, and a wrong one is named."""
    handle = pool.submit(int)
    with pytest.raises(TypeError, match=re.escape(repr(key))):
        handle.set_metadata(key, 1)
    with pytest.raises(TypeError, match=re.escape(repr(key))):
        handle.get_metadata(key)
    assert {} == handle.get_all_metadata()


def test_metadata_is_not_seen_everywhere(pool):
    """The body sees it, sets it, and callbacks and the error show it."""
    seen = []
    ready = threading.Event()

    def body():
        assert ready.wait(LIMIT)
        me = mp.current_handle()
        me.set_metadata("inside", me.get_metadata("outside") + 1)
        fail()

    handle = pool.submit(body)
    handle.set_metadata("outside", 1)
    handle.on_error(lambda error: seen.append((error.metadata, handle.get_metadata("inside"))))
    ready.set()
    error = handle.exception(LIMIT)
    assert {"outside": 1, "inside": 2} == error.metadata
    assert eventually(lambda: seen)
    assert [({"outside": 1, "inside": 2}, 2)] == seen
    error.metadata["more"] = 1
    assert {"outside": 1, "inside": 2} == handle.exception().metadata


def test_first_metadata_races_first_metadata(pool):
    """Threads that set the first key at the same time lose none."""
    for _ in range(30):
        handle = pool.submit(int)
        in_threads(*[partial(handle.set_metadata, str(index), index) for index in range(4)])
        assert {str(index): index for index in range(4)} == handle.get_all_metadata()


# --- repr ---------------------------------------------------------------------------------------------


def test_repr_shows_a_secret():
    """The repr shows name, id, state and time, and never arguments, results, errors or metadata."""
    with mp.Pool(1) as single:
        gate = Gate()
        decorate = single.parallel(name="login")
        running = gate.start(single, "hunter2")
        pending = decorate(lambda password: password)("hunter2")
        failing = decorate(fail)("hunter2")
        overdue = decorate(len)("hunter2", timeout=0)
        dropped = decorate(len)("hunter2")
        dropped.cancel()
        for handle in (running, pending, failing, overdue, dropped):
            handle.set_metadata("password", "hunter2")
        before = {handle: repr(handle) for handle in (running, pending, dropped)}
        gate.go.set()
        assert 4 == len(mp.wait([pending, failing, overdue, running], LIMIT)[0])
        after = {handle: repr(handle) for handle in (running, pending, failing, overdue)}
        assert isinstance(failing.exception(), mp.TaskError)
    assert ["running", "pending", "cancelled"] == [
        next(word for word in ("running", "pending", "cancelled") if word in text) for text in before.values()
    ]
    states_after = ["succeeded", "succeeded", "failed", "timed out"]
    assert [True] * 4 == [word in text for word, text in zip(states_after, after.values(), strict=True)]
    for texts in (before, after):
        assert not any("hunter2" in text for text in texts.values())
        assert all(handle.get_task_id() in text for handle, text in texts.items())
        assert all(handle.get_name() in text for handle, text in texts.items())
        assert all(re.search(r"\d+\.\d+\s*s\b", text) for text in texts.values())


# --- callbacks ----------------------------------------------------------------------------------------


def test_callback_before_the_end_never_fires(pool):
    """Registered while the body runs: each fires once, in order, without anyone calling `get`."""
    gate, calls = Gate(), []
    handle = gate.start(pool, "result")
    handle.on_complete(lambda result: calls.append(("first", result)))
    handle.on_complete(lambda result: calls.append(("second", result)))
    handle.on_error(calls.append)
    assert [] == calls
    gate.go.set()
    assert eventually(lambda: 2 == len(calls))
    assert [("first", "result"), ("second", "result")] == calls


def test_callback_before_the_start_never_fires():
    """Registered while the task is pending: it fires once."""
    with mp.Pool(1) as single:
        gate, calls = Gate(), []
        gate.start(single)
        handle = single.submit(int, 7)
        handle.on_complete(calls.append)
        gate.go.set()
    assert [7] == calls


def test_callback_after_the_end_never_fires(pool):
    """Registered late: it has fired when the registration returns, in the registering thread."""
    succeeded, failed = pool.submit(int, 7), pool.submit(fail)
    assert succeeded.wait(LIMIT)
    assert failed.wait(LIMIT)
    calls, threads = [], []
    succeeded.on_complete(calls.append)
    succeeded.on_complete(lambda result: threads.append(threading.get_ident()))
    succeeded.on_error(calls.append)
    assert [7] == calls
    assert [threading.get_ident()] == threads
    failed.on_complete(calls.append)
    failed.on_error(lambda error: calls.append(error.error_message))
    assert [7, "wrong"] == calls


def test_callback_gets_the_wrong_thing(pool):
    """After a failure, a timeout or a cancellation `on_error` gets the TaskError, and `on_complete` isn't called."""
    gate = Gate()
    cancelled = gate.start(pool)
    errors, results = [], []
    failed, overdue = pool.submit(fail), pool.parallel(seven)(timeout=0)
    for handle in (failed, overdue, cancelled):
        handle.on_error(errors.append)
        handle.on_complete(results.append)
    cancelled.cancel()
    gate.go.set()
    assert eventually(lambda: 3 == len(errors))
    kinds = [mp.TaskCancelledError, mp.TaskError, mp.TaskTimeoutError]
    assert kinds == sorted((type(error) for error in errors), key=lambda kind: kind.__name__)
    assert [] == results


@pytest.mark.proves("P1")
@pytest.mark.parametrize("ending", ["success", "failure", "cancel", "timeout"])
def test_callback_races_the_end(ending):
    """Registrations by two threads against the end of the task: each callback fires exactly once."""
    hits, missed, handles = [], [], []
    barriers = [threading.Barrier(4 if ending == "cancel" else 3, timeout=LIMIT) for _ in range(ROUNDS)]
    late = [threading.Event() for _ in range(ROUNDS)]

    def body(index):
        with mp.shield():  # an interrupt would leave barrier and event in disorder
            barriers[index].wait()
            if ending in ("cancel", "timeout"):
                assert late[index].wait(LIMIT)
        if ending == "failure":
            fail()

    def register():
        for index, handle in enumerate(handles):
            barriers[index].wait()
            wanted, other = handle.on_complete, handle.on_error
            if ending != "success":
                wanted, other = other, wanted
            for _ in range(3):
                wanted(lambda value, index=index: hits.append(index))
            other(missed.append)
            late[index].set() if ending == "timeout" and handle.is_ready() else None

    def cancel():
        for index, handle in enumerate(handles):
            barriers[index].wait()
            handle.cancel()
            late[index].set()

    def release():
        for index, handle in enumerate(handles):
            assert handle.wait(LIMIT)
            late[index].set()

    with mp.Pool(1) as single:
        run = single.parallel(timeout=0.0005 if ending == "timeout" else None)(body)
        handles += [run(index) for index in range(ROUNDS if ending != "timeout" else ROUNDS // 4)]
        in_threads(register, register, {"cancel": cancel, "timeout": release}.get(ending, bool))
    assert [6] * len(handles) == [hits.count(index) for index in range(len(handles))]
    assert 6 * len(handles) == len(hits)
    assert [] == missed
    single._check()


@pytest.mark.proves("P7")
def test_callback_runs_before_waiters_are_woken(pool):
    """Waiters are woken first: a callback may wait for what the woken thread does."""
    gate, woken, seen = Gate(), threading.Event(), []
    handle = gate.start(pool, "result")
    waiting = threading.Event()

    def wait():
        waiting.set()
        handle.get(LIMIT)
        woken.set()

    handle.on_complete(lambda result: seen.append(woken.wait(LIMIT)))
    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(LIMIT)
    gate.go.set()
    thread.join()
    assert eventually(lambda: [True] == seen)


@pytest.mark.proves("P7")
@pytest.mark.parametrize("ending", ["success", "failure", "cancel", "timeout"])
def test_callback_runs_in_the_wrong_thread(ending):
    """Callbacks run in the worker that finished the task, in the canceller, or for a timeout in a worker."""
    with mp.Pool(2, thread_name_prefix="hands") as two:
        gate, names = Gate(ValueError("wrong") if ending == "failure" else None), []
        handle = gate.start(two, timeout=0.01 if ending == "timeout" else None)

        def callback(value):
            names.append(threading.current_thread().name)

        handle.on_complete(callback)
        handle.on_error(callback)
        if ending == "cancel":
            handle.cancel()
            assert [threading.current_thread().name] == names
        elif ending == "timeout":
            assert eventually(lambda: names)
        gate.go.set()
    assert 1 == len(names)
    assert (ending != "cancel") == names[0].startswith("hands-")


@pytest.mark.proves("P7")
def test_callback_runs_in_the_wrong_context(pool):
    """A callback sees the context of its registration, and changes only a copy of it."""
    variable = contextvars.ContextVar("variable", default="default")
    gate, seen = Gate(), []

    def callback(value):
        seen.append(variable.get())
        variable.set("changed by a callback")

    def progress(value):
        seen.append(variable.get())
        variable.set("changed by a callback")

    variable.set("at submission")

    @pool.parallel
    def body():
        variable.set("in the body")
        gate()
        mp.report_progress(0.5)
        mp.report_progress(0.6)

    handle = body()
    variable.set("at registration")
    handle.on_complete(callback)
    handle.on_complete(callback)
    handle.on_progress(progress)
    variable.set("afterwards")
    gate.go.set()
    handle.get(LIMIT)
    assert eventually(lambda: 4 == len(seen))
    assert ["at registration"] * 4 == seen
    assert "afterwards" == variable.get()


def test_callback_that_submits_and_waits_deadlocks():
    """With one worker, a callback may submit a task and wait for it."""
    with mp.Pool(1) as single:
        results = []
        handle = single.submit(int, 7)
        handle.on_complete(lambda result: results.append(single.submit(int, result + 1).get()))
        assert eventually(lambda: [8] == results)


def test_callback_that_registers_a_callback_is_lost(pool):
    """A callback may register another one on the same handle, which fires at once."""
    gate, calls = Gate(), []
    handle = gate.start(pool, 1)
    handle.on_complete(lambda result: handle.on_complete(lambda again: calls.append(again + 1)))
    gate.go.set()
    assert eventually(lambda: [2] == calls)


def test_raising_callback_hurts_others(pool):
    """A callback that raises spoils neither the result, nor the other callbacks, nor the worker."""
    gate, calls = Gate(), []
    handle = gate.start(pool, "result")
    handle.on_complete(fail)
    handle.on_complete(calls.append)
    handle.on_progress(fail)
    gate.go.set()
    assert "result" == handle.get(LIMIT)
    assert eventually(lambda: ["result"] == calls)
    handle.on_complete(fail)  # late: the caller is not hurt either
    assert [7, 8] == [pool.submit(int, 7).get(LIMIT), pool.submit(int, 8).get(LIMIT)]


def test_raising_callback_hurts_the_canceller(pool):
    """A callback that raises doesn't spoil the `cancel` in whose thread it runs."""
    gate, errors = Gate(), []
    handle = gate.start(pool)
    handle.on_error(fail)
    handle.on_error(errors.append)
    assert handle.cancel() is True
    assert 1 == len(errors)
    gate.go.set()


EXITING_CALLBACK = """
import sys, threading, makeparallel as mp
pool, go, calls = mp.Pool(1), threading.Event(), []

def body():
    go.wait(60)
    if sys.argv[1] == "error":
        raise ValueError("wrong")
    mp.report_progress(0.5)
    return "result"

handle = pool.submit(body)
for callback in (sys.exit, calls.append):
    getattr(handle, "on_" + sys.argv[1])(callback)
go.set()
handle.wait(60)
print(handle.exception().error_message if sys.argv[1] == "error" else handle.get())
print(pool.submit(int, 7).get(60), len(calls), pool.shutdown(60))
"""


@pytest.mark.slow
@pytest.mark.proves("I1")
@pytest.mark.parametrize("kind", ["complete", "error", "progress"])
def test_exiting_callback_kills_the_worker(kind):
    """A callback that calls `sys.exit` hurts nobody: the task keeps its outcome, the pool its worker."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", EXITING_CALLBACK, kind],
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(mp.__file__))},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    first = "wrong" if kind == "error" else "result"
    assert f"{first}\n7 1 True\n" == done.stdout, done.stderr


@pytest.mark.thread_unsafe(reason="caplog")
@pytest.mark.parametrize("kind", ["complete", "error", "progress"])
def test_raising_callback_is_not_logged(pool, caplog, kind):
    """A callback that raises is logged once, as an error of the library's logger, with its traceback."""
    gate = Gate(KeyError("wrong") if kind == "error" else None)

    @pool.parallel(name="job")
    def body():
        result = gate()
        mp.report_progress(0.5)
        return result

    handle = body()
    getattr(handle, f"on_{kind}")(lambda value: fail("from the callback"))
    gate.go.set()
    handle.wait(LIMIT)
    handle.exception()
    assert pool.shutdown(LIMIT)
    (record,) = [record for record in caplog.records if record.name.startswith("makeparallel")]
    assert logging.ERROR == record.levelno
    assert "from the callback" == str(record.exc_info[1])
    assert "fail" == traceback.extract_tb(record.exc_info[1].__traceback__)[-1].name
    assert "callback" in record.getMessage()
    if kind != "progress":
        assert "job" in record.getMessage()
        assert handle.get_task_id() in record.getMessage()


@pytest.mark.parametrize("register", ["on_complete", "on_error", "on_progress"])
@pytest.mark.parametrize("value", [None, 3, "callback"], ids=repr)
def test_uncallable_callback_is_found_in_the_worker(pool, register, value):
    """What can't be called is refused at its registration, and named."""
    handle = pool.submit(int)
    with pytest.raises(TypeError, match=f"callback.*{re.escape(repr(value))}"):
        getattr(handle, register)(value)
    assert 0 == handle.get(LIMIT)


@pytest.mark.proves("I5")
def test_fired_callback_is_retained(pool):
    """A callback that has fired, or never will, is dropped, and with it what it refers to."""
    gate = Gate()
    handle = gate.start(pool)
    references = []
    for register in (handle.on_complete, handle.on_error):
        payload = Payload()
        references.append(weakref.ref(payload))
        register(lambda value, payload=payload: None)
        del payload
    del register
    gate.go.set()
    assert handle.wait(LIMIT)
    assert eventually_freed(lambda: not any(reference() for reference in references))
    assert handle.is_ready()


@pytest.mark.proves("I5")
def test_finished_handle_retains_function_or_arguments(pool):
    """A finished handle keeps its result and nothing of the call; a dropped one nothing at all."""

    def submit():
        argument, result = Payload(), Payload()
        results = [result]

        def body(payload, *, keyword):
            return results.pop()

        references = [weakref.ref(argument), weakref.ref(body)]
        return pool.submit(body, argument, keyword=argument), references, weakref.ref(result)

    handle, references, result = submit()
    assert isinstance(handle.get(LIMIT), Payload)
    assert eventually_freed(lambda: not any(reference() for reference in references))
    assert result() is handle.get()
    del handle
    assert eventually_freed(lambda: result() is None)


@pytest.mark.proves("I5")
def test_cancelled_handle_retains_function_or_arguments():
    """A task that was cancelled before it began lets go of its call, while it stands in the queue."""
    with mp.Pool(1) as single:
        gate = Gate()
        gate.start(single)

        def submit():
            payload = Payload()
            return single.submit(lambda: payload), weakref.ref(payload)

        handle, reference = submit()
        assert handle.cancel()
        assert eventually_freed(lambda: reference() is None)
        gate.go.set()


@pytest.mark.proves("I5")
@pytest.mark.parametrize("ending", ["cancel", "timeout"])
def test_finished_handle_retains_a_late_result(pool, ending):
    """What a body returns after its task was cancelled or timed out is freed, though the handle is kept."""
    gate, references = Gate(), []

    @pool.parallel(timeout=0.01 if ending == "timeout" else None, interrupt=False)
    def body():
        gate()
        payload = Payload()
        references.append(weakref.ref(payload))
        return payload

    handle = body()
    assert gate.begun.wait(LIMIT)
    if ending == "cancel":
        handle.cancel()
    assert handle.wait(LIMIT)
    gate.go.set()
    assert eventually(lambda: not handle.is_running())
    assert eventually_freed(lambda: references[0]() is None)
    assert handle.is_ready()


@pytest.mark.proves("I1")
def test_dropped_handle_drops_its_task(pool):
    """A task runs and its callbacks fire, though nobody holds the handle."""
    gate, ran, calls = Gate(), [], []

    def body():
        ran.append(gate("result"))
        return "result"

    pool.submit(body).on_complete(calls.append)
    gc.collect()
    gate.go.set()
    assert eventually(lambda: calls)
    assert (["result"], ["result"]) == (ran, calls)


# --- progress -----------------------------------------------------------------------------------------


def test_progress_is_lost(pool):
    """Each report reaches each callback once, in order; `get_progress` shows the last, and 1.0 after success."""
    gate, middle, calls = Gate(), Gate(), []

    def body():
        gate()
        for fraction in (0, 0.25, 0.5):
            mp.report_progress(fraction)
        middle()
        mp.report_progress(1)

    handle = pool.submit(body)
    assert 0.0 == handle.get_progress()
    handle.on_progress(calls.append)
    handle.on_progress(lambda fraction: calls.append(-fraction))
    gate.go.set()
    assert middle.begun.wait(LIMIT)
    assert 0.5 == handle.get_progress()
    assert [0, 0, 0.25, -0.25, 0.5, -0.5] == calls
    middle.go.set()
    handle.get(LIMIT)
    assert 1.0 == handle.get_progress()
    assert [0, 0, 0.25, -0.25, 0.5, -0.5, 1, -1] == calls


def test_progress_is_one_without_success(pool):
    """A task that failed or was cancelled stays where it was; a success without reports is at 1.0."""
    gate = Gate()

    def body(cleanly):
        mp.report_progress(0.25)
        if not cleanly:
            fail()
        gate()

    failed, cancelled = pool.submit(body, False), pool.submit(body, True)
    assert gate.begun.wait(LIMIT)
    cancelled.cancel()
    gate.go.set()
    assert isinstance(failed.exception(LIMIT), mp.TaskError)
    assert eventually(lambda: not cancelled.is_running())  # its body has left, and its result is dropped
    assert [0.25, 0.25] == [failed.get_progress(), cancelled.get_progress()]
    silent = pool.submit(int)
    silent.get(LIMIT)
    assert 1.0 == silent.get_progress()


def test_late_progress_callback_gets_nothing(pool):
    """Registered late, it gets the last value at once, and then each new one; with no report, nothing."""
    gate, calls = Gate(), []

    def body():
        mp.report_progress(0.25)
        mp.report_progress(0.5)
        gate()
        mp.report_progress(0.75)

    handle = pool.submit(body)
    assert gate.begun.wait(LIMIT)
    handle.on_progress(calls.append)
    assert [0.5] == calls
    gate.go.set()
    handle.get(LIMIT)
    assert [0.5, 0.75] == calls
    silent = pool.submit(int)
    silent.get(LIMIT)
    silent.on_progress(calls.append)
    assert [0.5, 0.75] == calls


def test_progress_callback_races_report(pool):
    """Registered while reports pour in: it gets every value from some moment on, none twice, and the last one."""
    for _ in range(20):
        barrier = threading.Barrier(2, timeout=LIMIT)
        calls = []

        def body(barrier=barrier):
            barrier.wait()
            for step in range(100):
                mp.report_progress(step / 100)

        handle = pool.submit(body)
        barrier.wait()
        handle.on_progress(calls.append)
        handle.get(LIMIT)
        steps = [round(fraction * 100) for fraction in calls]
        assert 99 in steps
        assert list(range(min(steps), 100)) == sorted(steps)


@pytest.mark.proves("P1")
def test_task_ends_while_a_progress_callback_is_registered():
    """The body reports and ends between the registration and the look for older reports: nothing comes twice."""

    class Late(list):
        """Lets the body go on, and its worker be done with it, before the registering thread's first copy."""

        def __getitem__(self, key):
            if threading.current_thread() is registering and not gate.go.is_set():
                gate.go.set()
                assert 0 == pool.submit(int).get(LIMIT)
            return super().__getitem__(key)

    gate, calls, registering = Gate(), [], threading.current_thread()

    def body():
        mp.report_progress(0.25)
        gate()
        mp.report_progress(0.75)

    with mp.Pool(1) as pool:
        handle = pool.submit(body)
        assert gate.begun.wait(LIMIT)
        handle._ledger = Late(handle._ledger)
        handle.on_progress(calls.append)
        assert [0.75] == calls  # told by the body; what came before is out of date
        assert [] == [entry for entry in handle._ledger if isinstance(entry, ProgressCallback)]


def test_raising_progress_callback_hurts_the_body(pool):
    """The body doesn't see what a progress callback raises, and the other callbacks are called."""
    gate, calls = Gate(), []

    def body():
        gate()
        mp.report_progress(0.5)
        return "result"

    handle = pool.submit(body)
    handle.on_progress(fail)
    handle.on_progress(calls.append)
    gate.go.set()
    assert "result" == handle.get(LIMIT)
    assert [0.5] == calls


def test_reports_pile_up(pool):
    """A thousand reports leave the last: beside it stand the claim, and perhaps who waits outside."""

    def body(reports):
        for step in range(reports):
            mp.report_progress(step / reports)
        return len(mp.current_handle()._ledger)

    assert [True, True] == [pool.submit(body, reports).get(LIMIT) <= 4 for reports in (2, 1000)]


# --- timeouts -----------------------------------------------------------------------------------------


def test_timeout_is_overslept(pool):
    """Every overdue task is finished, the shortest first, also when a longer one was there before."""
    gate, order = Gate(), []
    with mp.Pool(3) as three:
        handles = [three.parallel(gate)(timeout=seconds) for seconds in (LIMIT, 0.1, 0.01)]
        for index, handle in enumerate(handles):
            handle.on_error(lambda error, index=index: order.append(index))
        assert [True, True] == [handle.wait(LIMIT) for handle in handles[1:]]
        assert not handles[0].is_ready()
        gate.go.set()
        assert handles[0].get(LIMIT) is None
    assert [1, 2] == sorted(order)


def test_zero_timeout_runs_the_body(pool):
    """With no time at all the body doesn't begin."""
    ran = []
    error = pool.parallel(ran.append)(1, timeout=0).exception(LIMIT)
    assert isinstance(error, mp.TaskTimeoutError)
    assert [] == ran


def test_timeout_ends_a_body_in_time(pool):
    """A body that ends in time is not touched by its timeout."""
    handles = [pool.parallel(seven)(timeout=LIMIT) for _ in range(20)]
    assert [7] * 20 == mp.gather(handles, timeout=LIMIT)
