"""`gather`, `wait` and `as_completed`: order, errors, time limits, duplicates, and what they leave behind."""

import math
import re
import sys
import threading
import time
import weakref
from fractions import Fraction

import pytest
from helpers_waiting import LIMIT, eventually_freed

import makeparallel as mp


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


class Payload:
    """Something weakly referable."""


class Seconds:
    """A number of seconds that can do nothing but become a float."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value


def square(x):
    return x * x


def fail(message="wrong"):
    raise ValueError(message)


# --- gather -------------------------------------------------------------------------------------------


def test_gather_loses_the_order(pool):
    """Results come in the order of the handles, whichever finished first."""
    with mp.Pool(2) as two:
        gates = [Gate(), Gate()]
        handles = [two.submit(gate, index) for index, gate in enumerate(gates)]
        gates[1].go.set()
        assert handles[1].wait(LIMIT)
        gates[0].go.set()
        assert [0, 1] == mp.gather(handles, timeout=LIMIT)
    assert [n * n for n in range(200)] == mp.gather([pool.submit(square, n) for n in range(200)], timeout=LIMIT)


def test_gather_reads_a_generator_twice(pool):
    """Any iterable will do: a generator, a set, a dict's keys, an empty one; handles may come twice."""
    handle = pool.submit(square, 3)
    assert [0, 1, 4] == mp.gather(pool.submit(square, n) for n in range(3))
    assert [9] == mp.gather({handle})
    assert [9] == mp.gather({handle: 1})
    assert [9, 9, 9] == mp.gather([handle] * 3)
    assert [] == mp.gather([])
    assert [] == mp.gather(iter(()), timeout=0)


def test_gather_raises_the_wrong_error(pool):
    """With "raise" it is the first error in the order of the handles, and the others go on."""
    gate = Gate()
    handles = [pool.submit(square, 2), pool.submit(fail, "first"), pool.submit(fail, "second"), pool.submit(gate, 5)]
    with pytest.raises(mp.TaskError, match="first") as caught:
        mp.gather(handles, timeout=LIMIT)
    assert isinstance(caught.value.__cause__, ValueError)
    assert not handles[3].is_cancelled()
    gate.go.set()
    assert 5 == handles[3].get(LIMIT)
    assert isinstance(handles[2].exception(LIMIT), mp.TaskError)


def test_gather_keeps_what_failed(pool):
    """With "skip" only results come, with "return" the error stands in its task's place."""
    gate = Gate()
    cancelled = pool.submit(gate)
    assert cancelled.cancel()
    gate.go.set()
    handles = [pool.submit(square, 2), pool.submit(fail), cancelled, pool.submit(square, 3)]
    assert [4, 9] == mp.gather(handles, on_error="skip", timeout=LIMIT)
    results = mp.gather(handles, on_error="return", timeout=LIMIT)
    assert [int, mp.TaskError, mp.TaskCancelledError, int] == [type(result) for result in results]
    assert (4, "wrong", 9) == (results[0], results[1].error_message, results[3])
    assert [] == mp.gather([cancelled], on_error="skip")


def test_gather_takes_a_returned_error_for_a_failure(pool):
    """An exception that a body returned is a result."""
    error = ValueError("returned")
    handles = [pool.submit(lambda: error)]
    assert [[error]] * 3 == [mp.gather(handles, on_error=mode, timeout=LIMIT) for mode in ("raise", "skip", "return")]


@pytest.mark.parametrize("mode", ["raise", "skip", "return"])
def test_gather_outlasts_its_timeout(pool, mode):
    """At the timeout it raises a builtin TimeoutError, and the tasks go on."""
    gate = Gate()
    handles = [pool.submit(square, 2), pool.submit(gate, 5)]
    for seconds in (0, 0.01):
        with pytest.raises(TimeoutError, match="gather") as caught:
            mp.gather(handles, on_error=mode, timeout=seconds)
        assert not isinstance(caught.value, mp.TaskError)
    gate.go.set()
    assert [4, 5] == mp.gather(handles, on_error=mode, timeout=LIMIT)
    assert [4, 5] == mp.gather(handles, on_error=mode, timeout=0)


def test_gather_timeout_restarts_for_each_handle():
    """The timeout is for the whole wait: handles that finish one after the other don't stretch it."""
    with mp.Pool(1) as single:
        stop = threading.Event()
        handles = [single.submit(stop.wait, 0.05) for _ in range(40)]
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            mp.gather(handles, timeout=0.1)
        stopped = time.monotonic() - began
        finished = sum(handle.is_ready() for handle in handles)
        stop.set()
    assert finished < 40
    assert stopped < LIMIT


@pytest.mark.proves("P4")
def test_gather_in_a_task_deadlocks():
    """With one worker, a task may gather its own subtasks, nested."""
    with mp.Pool(1) as single:

        def tree(depth):
            if depth == 0:
                return 1
            return sum(mp.gather([single.submit(tree, depth - 1) for _ in range(3)]))

        assert 27 == single.submit(tree, 3).get(LIMIT)


@pytest.mark.proves("I5")
def test_gather_error_keeps_the_other_results(pool):
    """The error that `gather` raised doesn't keep the results before it."""

    def result():
        payload = Payload()
        references.append(weakref.ref(payload))
        return payload

    references = []
    try:
        mp.gather([pool.submit(result), pool.submit(fail)], timeout=LIMIT)
    except mp.TaskError as raised:
        error = raised.with_traceback(None)
    assert eventually_freed(lambda: references[0]() is None)
    assert "wrong" == error.error_message


# --- wait ---------------------------------------------------------------------------------------------


def test_wait_for_all_returns_early(pool):
    """ALL_COMPLETED: everything is done, whatever its outcome; it is the default."""
    handles = [pool.submit(square, 2), pool.submit(fail)]
    assert (set(handles), set()) == mp.wait(handles)
    assert (set(handles), set()) == mp.wait(handles, LIMIT, "ALL_COMPLETED")
    assert (set(), set()) == mp.wait([])
    assert (set(), set()) == mp.wait([], return_when="FIRST_COMPLETED")
    assert isinstance(handles[1].exception(), mp.TaskError)


def test_wait_for_first_waits_for_all():
    """FIRST_COMPLETED: it returns as soon as one is done, with the others in the second set."""
    with mp.Pool(2) as two:
        gates = [Gate(), Gate()]
        handles = [two.submit(gate) for gate in gates]
        gates[1].go.set()
        assert ({handles[1]}, {handles[0]}) == mp.wait(handles, LIMIT, return_when="FIRST_COMPLETED")
        assert ({handles[1]}, {handles[0]}) == mp.wait(handles, return_when="FIRST_COMPLETED")
        gates[0].go.set()
        assert (set(handles), set()) == mp.wait(handles, LIMIT)


@pytest.mark.parametrize("ending", ["failure", "cancel", "timeout"])
def test_wait_for_first_exception_misses_it(ending):
    """FIRST_EXCEPTION: a success doesn't end the wait; a failure, cancellation or timeout does."""
    with mp.Pool(3) as three:
        stays, ends = Gate(), Gate(ValueError("wrong"))
        fine = three.submit(square, 2)
        staying = three.submit(stays)
        ending_badly = three.parallel(ends)(timeout=0.05 if ending == "timeout" else None)
        assert fine.wait(LIMIT)
        assert ends.begun.wait(LIMIT)
        if ending == "failure":
            ends.go.set()
        elif ending == "cancel":
            threading.Timer(0.01, ending_badly.cancel).start()
        done, pending = mp.wait([fine, staying, ending_badly], LIMIT, return_when="FIRST_EXCEPTION")
        assert ({fine, ending_badly}, {staying}) == (done, pending)
        stays.go.set()
        ends.go.set()
        assert isinstance(ending_badly.exception(LIMIT), mp.TaskError)


def test_wait_for_first_exception_hangs_without_one(pool):
    """FIRST_EXCEPTION without an exception is ALL_COMPLETED."""
    handles = [pool.submit(square, n) for n in range(20)]
    assert (set(handles), set()) == mp.wait(handles, LIMIT, return_when="FIRST_EXCEPTION")


@pytest.mark.parametrize("mode", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_wait_raises_at_its_timeout(pool, mode):
    """At the timeout it returns what there is."""
    gate = Gate()
    handle = pool.submit(gate)
    assert (set(), {handle}) == mp.wait([handle], 0, mode)
    assert (set(), {handle}) == mp.wait([handle], timeout=0.01, return_when=mode)
    gate.go.set()
    assert ({handle}, set()) == mp.wait([handle], LIMIT, mode)
    assert ({handle}, set()) == mp.wait([handle], 0, mode)


def test_wait_counts_duplicates(pool):
    """A handle that comes twice stands in one set once."""
    gate = Gate()
    done, running = pool.submit(square, 2), pool.submit(gate)
    assert done.wait(LIMIT)
    assert ({done}, {running}) == mp.wait([done, running, done, running], 0)
    gate.go.set()
    assert ({done, running}, set()) == mp.wait((handle for handle in [done, running, done]), LIMIT)


def test_wait_sees_the_end_before_the_handle(pool):
    """What stands in the first set is finished, and what stands in the second was not when the wait ended."""
    for _ in range(100):
        handles = [pool.submit(square, n) for n in range(4)]
        done, pending = mp.wait(handles, LIMIT, "FIRST_COMPLETED")
        assert done
        assert all(handle.is_ready() for handle in done)
        assert set(handles) == done | pending
        assert set() == done & pending


# --- as_completed ---------------------------------------------------------------------------------------


def test_as_completed_loses_the_order():
    """Handles come in the order in which they finish, those that had finished first of all."""
    with mp.Pool(4) as four:
        gates = [Gate() for _ in range(4)]
        handles = [four.submit(gate) for gate in gates]
        order = [2, 0, 3, 1]
        gates[2].go.set()
        assert handles[2].wait(LIMIT)
        iterator = mp.as_completed(handles, timeout=LIMIT)
        for index in order:
            gates[index].go.set()
            assert handles[index] is next(iterator)
        assert [] == list(iterator)


def test_as_completed_waits_for_the_slowest():
    """A handle comes as soon as it has finished, while the others still run."""
    with mp.Pool(2) as two:
        gate = Gate()
        slow, fast = two.submit(gate), two.submit(square, 3)
        iterator = mp.as_completed([slow, fast])
        assert fast is next(iterator)
        assert not slow.is_ready()
        gate.go.set()
        assert slow is next(iterator)


def test_as_completed_raises_the_tasks_error(pool):
    """Handles come whatever their outcome; looking is left to the caller; duplicates come once."""
    handles = [pool.submit(square, 3), pool.submit(fail)]
    cancelled = pool.submit(square, 4)
    cancelled.cancel()
    handles.append(cancelled)
    got = list(mp.as_completed([*handles, *handles], timeout=LIMIT))
    assert (3, set(handles)) == (len(got), set(got))
    assert [] == list(mp.as_completed([]))
    assert [handles[0]] == list(mp.as_completed(handle for handle in handles[:1]))
    assert isinstance(handles[1].exception(), mp.TaskError)


def test_as_completed_outlasts_its_timeout(pool):
    """At the timeout the iterator raises a TimeoutError; what had finished before came before; tasks go on."""
    gate = Gate()
    fast, slow = pool.submit(square, 3), pool.submit(gate, 5)
    assert fast.wait(LIMIT)
    iterator = mp.as_completed([slow, fast], timeout=0.01)
    assert fast is next(iterator)
    with pytest.raises(TimeoutError, match="as_completed") as caught:
        next(iterator)
    assert not isinstance(caught.value, mp.TaskError)
    gate.go.set()
    assert 5 == slow.get(LIMIT)
    assert 2 == len(list(mp.as_completed([slow, fast], timeout=0)))


def test_as_completed_timeout_starts_at_the_first_next(pool):
    """The time counts from the call, not from the first `next`."""
    gate = Gate()
    handle = pool.submit(gate)
    iterator = mp.as_completed([handle], timeout=0.05)
    assert not handle.wait(0.1)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        next(iterator)
    assert time.monotonic() - began < LIMIT
    gate.go.set()


def test_as_completed_checks_at_the_first_next(pool):
    """Wrong arguments are an error at the call, not at the first `next`."""
    with pytest.raises(TypeError, match="AsyncHandle"):
        mp.as_completed([1])
    with pytest.raises(ValueError, match="timeout=-1"):
        mp.as_completed([], timeout=-1)


def test_abandoned_iterator_stays_at_the_handles():
    """An iterator that is dropped, never begun or closed leaves nothing at the handles."""
    with mp.Pool(2) as pool:  # one of its own: beside a gate there must always be a free worker
        gate = Gate()
        handle, done = pool.submit(gate), pool.submit(square, 3)
        assert gate.begun.wait(LIMIT)
        assert done.wait(LIMIT)
        sizes = [len(handle._ledger), len(done._ledger)]
        for end in (lambda iterator: None, lambda iterator: iterator.close(), lambda iterator: next(iterator)):
            for _ in range(10):
                iterator = mp.as_completed([handle, done])
                end(iterator)
                iterator.close()
                del iterator
        with pytest.raises(TimeoutError):
            list(mp.as_completed([handle, done], timeout=0))
        mp.wait([handle, done], 0)
        mp.wait([handle, done], return_when="FIRST_COMPLETED")
        assert sizes == [len(handle._ledger), len(done._ledger)]
        gate.go.set()


@pytest.mark.proves("I5")
def test_as_completed_keeps_what_it_handed_out():
    """A handle that was handed out and dropped is freed while the iteration goes on."""
    pool = mp.Pool(2)  # one of its own: beside a gate there must always be a free worker
    gate = Gate()
    iterator = mp.as_completed([pool.submit(gate), pool.submit(Payload)])
    handle = next(iterator)
    result = weakref.ref(handle.get(LIMIT))
    del handle
    assert eventually_freed(lambda: result() is None)
    gate.go.set()
    assert next(iterator).get(LIMIT) is None
    assert pool.shutdown(60)


@pytest.mark.proves("P4")
def test_as_completed_in_a_task_deadlocks():
    """With one worker, a task may iterate over its own subtasks, and wait for them."""
    with mp.Pool(1) as single:

        def body():
            handles = [single.submit(square, n) for n in range(10)]
            done, pending = mp.wait([single.submit(square, n) for n in range(5)])
            return sum(handle.get() for handle in mp.as_completed(handles)), len(done), len(pending)

        assert (285, 5, 0) == single.submit(body).get(LIMIT)


def test_one_handle_in_many_iterations(pool):
    """Several threads may wait for the same handles in different ways."""
    gate = Gate()
    handles = [pool.submit(gate, 1), pool.submit(square, 3)]
    results = []

    def collect(function):
        results.append(function())

    jobs = [
        lambda: sorted(handle.get() for handle in mp.as_completed(handles, LIMIT)),
        lambda: sorted(handle.get() for handle in mp.wait(handles, LIMIT)[0]),
        lambda: mp.gather(handles, timeout=LIMIT),
    ] * 2
    threads = [threading.Thread(target=collect, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    gate.go.set()
    for thread in threads:
        thread.join()
    assert [[1, 9]] * 6 == results


class Clock:
    """The processor time of the calling thread, for comparisons that a busy machine doesn't disturb."""

    def __enter__(self):
        self.began = time.thread_time()
        return self

    def __exit__(self, *exc_info):
        self.seconds = time.thread_time() - self.began


ITERATIONS = {
    "as_completed": lambda handles: sum(1 for _ in mp.as_completed(handles)),
    "wait": lambda handles: len(mp.wait(handles)[0]),
    "gather": lambda handles: len(mp.gather(handles)),
}


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "running"])
@pytest.mark.parametrize("iteration", ITERATIONS)
def test_many_handles_cost_their_square(iteration, finished):
    """Ten times the handles cost about ten times the processor time, generously less than sixty times."""
    seconds = []
    with mp.Pool(1) as single:
        for count in (2_000, 20_000):
            best = math.inf
            for _ in range(3):
                handles = [single.submit(square, n) for n in range(count)]
                if finished:
                    handles[-1].get(LIMIT)
                with Clock() as clock:
                    assert count == ITERATIONS[iteration](handles)
                best = min(best, clock.seconds)
            seconds.append(best)
    assert seconds[1] < 60 * max(seconds[0], 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ALL_COMPLETED", "FIRST_EXCEPTION"])
def test_handles_that_finish_one_by_one_cost_their_square(mode):
    """The same, when the waiting thread is woken for each handle."""
    seconds = []
    for count in (500, 5_000):
        with mp.Pool(1) as single:
            handles = [single.submit(time.sleep, 0) for _ in range(count)]
            with Clock() as clock:
                assert count == len(mp.wait(handles, LIMIT, mode)[0])
            seconds.append(clock.seconds)
    assert seconds[1] < 60 * max(seconds[0], 0.002)


# --- bad input ----------------------------------------------------------------------------------------

FUNCTIONS = {"gather": mp.gather, "wait": mp.wait, "as_completed": mp.as_completed}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [3, None, object, 1.5], ids=repr)
def test_handles_that_cannot_be_iterated_are_named_badly(function, value):
    """What is not iterable is named, with the function."""
    with pytest.raises(TypeError, match=f"{function}.*{re.escape(repr(value))}"):
        FUNCTIONS[function](value)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_single_handle_is_iterated(pool, function):
    """A single handle in place of a list is an error that says so."""
    handle = pool.submit(square, 3)
    with pytest.raises(TypeError, match=f"{function}.*list"):
        FUNCTIONS[function](handle)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [3, None, "text", square, mp.parallel(square)], ids=["3", "None", "text", "f", "mp"])
def test_item_that_is_no_handle_is_waited_for(pool, function, value):
    """An item that is no handle is named by its index and itself."""
    with pytest.raises(TypeError, match=f"{function}.*1.*{re.escape(repr(value))}.*AsyncHandle"):
        FUNCTIONS[function]([pool.submit(square, 3), value])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("error", [TypeError, ValueError, KeyError], ids=lambda kind: kind.__name__)
def test_error_of_the_generator_is_hidden(pool, function, error):
    """What the user's own generator raises comes through as it is."""

    def handles():
        yield pool.submit(square, 3)
        raise error("my own mistake")

    with pytest.raises(error, match="my own mistake"):
        FUNCTIONS[function](handles())


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("value", "kind"),
    [("5", TypeError), (True, TypeError), ([1], TypeError), (-1, ValueError), (math.nan, ValueError)],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_bad_timeout_is_taken(function, value, kind):
    """A wrong timeout is named with its value, also when there is nothing to wait for."""
    with pytest.raises(kind, match=re.escape(f"timeout={value!r}")):
        FUNCTIONS[function]([], timeout=value)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "value", [Fraction(1, 100), Seconds(0.01), sys.float_info.min], ids=["fraction", "float", "min"]
)
def test_odd_number_of_seconds_spoils_the_message(pool, function, value):
    """Any number of seconds can pass, and what is raised then is a TimeoutError."""
    gate = Gate()
    handle = pool.submit(gate)
    if function == "wait":
        assert (set(), {handle}) == mp.wait([handle], value)
    else:
        with pytest.raises(TimeoutError):
            list(FUNCTIONS[function]([handle], timeout=value))
    gate.go.set()


@pytest.mark.parametrize("value", [math.inf, 1e300, 10**12, None])
def test_endless_timeout_overflows(pool, value):
    """Infinity and every large number of seconds can be waited for."""
    handles = [pool.submit(square, 3)]
    assert [9] == mp.gather(handles, timeout=value)
    assert handles == list(mp.as_completed([pool.submit(square, 3)][:0] + handles, timeout=value))
    assert (set(handles), set()) == mp.wait(handles, value)
    for running in (pool.submit(time.sleep, 0.005), pool.submit(time.sleep, 0.005)):
        assert ({running}, set()) == mp.wait([running], value)


@pytest.mark.parametrize("value", ["", "Raise", "ignore"])
def test_unknown_on_error_means_something(value):
    """An unknown `on_error` is named, with the choices."""
    with pytest.raises(ValueError, match=f"on_error={value!r}.*raise.*skip.*return"):
        mp.gather([], on_error=value)


@pytest.mark.parametrize("value", ["", "all_completed", "FIRST"])
def test_unknown_return_when_means_something(value):
    """An unknown `return_when` is named, with the choices."""
    with pytest.raises(ValueError, match=f"return_when={value!r}.*ALL_COMPLETED.*FIRST_COMPLETED.*FIRST_EXCEPTION"):
        mp.wait([], return_when=value)


@pytest.mark.parametrize("value", [None, 1, True, b"raise"])
def test_choice_that_is_no_string_means_something(value):
    """A choice that is no string is a TypeError that names it."""
    with pytest.raises(TypeError, match=re.escape(f"on_error={value!r}")):
        mp.gather([], on_error=value)
    with pytest.raises(TypeError, match=re.escape(f"return_when={value!r}")):
        mp.wait([], return_when=value)
