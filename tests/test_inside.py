"""What a body may call about itself, in a task and outside one; and which context it runs in."""

import contextvars
import decimal
import math
import re
import threading
import time

import pytest
from helpers_waiting import LIMIT, eventually

import makeparallel as mp


class Gate:
    """Says that somebody has come, and holds him until he is let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go.wait(LIMIT)


def end(handle, gate, ending):
    """Have a task finished from outside while its body is at the gate; then let the body go on."""
    assert gate.begun.wait(LIMIT)
    if ending == "cancel":
        assert handle.cancel()
    assert handle.wait(LIMIT)
    gate.go.set()
    assert eventually(lambda: not handle.is_running())


BOTH = pytest.mark.parametrize("ending", ["cancel", "timeout"])


def timeout_for(ending):
    return {"timeout": 0.01 if ending == "timeout" else None}


# --- outside a task -------------------------------------------------------------------------------------


def test_call_outside_a_task_fails():
    """Outside a task each does something sensible: nothing, False or None."""
    assert (None, False) == (mp.checkpoint(), mp.cancel_requested())
    assert (None, None) == (mp.get_current_task_id(), mp.current_handle())
    with mp.shield() as nothing, mp.shield(), mp.blocking() as nothing_either:
        mp.checkpoint()
    assert (None, None) == (nothing, nothing_either)
    began = time.perf_counter()
    assert mp.sleep(0.01) is None
    assert 0.01 <= time.perf_counter() - began + 0.001


def test_progress_outside_a_task_is_ignored():
    """Outside a task there is no progress to report."""
    with pytest.raises(RuntimeError, match="outside"):
        mp.report_progress(0.5)


def test_thread_of_a_body_counts_as_the_task(pool):
    """A thread that a body starts is no task."""
    seen = []

    def body():
        thread = threading.Thread(target=lambda: seen.append((mp.current_handle(), mp.cancel_requested())))
        thread.start()
        thread.join()

    pool.submit(body).get(LIMIT)
    assert [(None, False)] == seen


def test_task_outlives_itself_on_its_worker():
    """Between tasks, and in the thread that waits, there is no current task."""
    with mp.Pool(1) as single:
        ids = [single.submit(mp.get_current_task_id) for _ in range(3)]
        assert [handle.get_task_id() for handle in ids] == [handle.get(LIMIT) for handle in ids]
    assert mp.get_current_task_id() is None


# --- current ids ----------------------------------------------------------------------------------------


def test_current_handle_is_another_tasks(pool):
    """A body sees its own handle and id, in a pool of several workers as well."""

    def body():
        handle = mp.current_handle()
        return handle, handle.get_task_id(), mp.get_current_task_id(), handle.is_running(), handle.is_ready()

    handles = [pool.submit(body) for _ in range(50)]
    for handle in handles:
        own, *facts = handle.get(LIMIT)
        assert handle is own
        assert [handle.get_task_id(), handle.get_task_id(), True, False] == facts


def test_inline_task_leaves_its_id_behind():
    """A task that runs inline in another one's `get` has its own id; afterwards the outer one's is back."""
    with mp.Pool(1) as single:

        def outer():
            before = mp.get_current_task_id()
            child = single.submit(mp.get_current_task_id)
            return before, child.get(), child.get_task_id(), mp.get_current_task_id()

        handle = single.submit(outer)
        before, inside, child_id, after = handle.get(LIMIT)
    assert (handle.get_task_id(), handle.get_task_id()) == (before, after)
    assert child_id == inside
    assert before != inside


# --- checkpoint and cancel_requested --------------------------------------------------------------------


@BOTH
def test_checkpoint_goes_on(pool, ending):
    """After a cancel or timeout `cancel_requested` is True, and `checkpoint` leaves; `finally` blocks run."""
    gate, path = Gate(), []

    @pool.parallel(**timeout_for(ending), interrupt=False)
    def body():
        mp.checkpoint()
        path.append(mp.cancel_requested())
        gate()
        path.append(mp.cancel_requested())
        try:
            mp.checkpoint()
            path.append("went on")
        finally:
            path.append("finally")

    handle = body()
    end(handle, gate, ending)
    assert [False, True, "finally"] == path
    kind = {"cancel": mp.TaskCancelledError, "timeout": mp.TaskTimeoutError}[ending]
    assert kind is type(handle.exception())


@BOTH
def test_checkpoint_is_swallowed(pool, ending):
    """`except Exception` in a body doesn't hold the checkpoint up."""
    gate, path = Gate(), []

    @pool.parallel(**timeout_for(ending), interrupt=False)
    def body():
        gate()
        try:
            mp.checkpoint()
        except Exception:
            path.append("swallowed")
        path.append("went on")

    end(body(), gate, ending)
    assert [] == path


def test_cancel_of_another_task_is_taken_personally(pool):
    """A cancelled task doesn't disturb the others, before or after it on the same worker."""
    with mp.Pool(1) as single:
        gate = Gate()
        first = single.submit(gate)
        assert gate.begun.wait(LIMIT)
        first.cancel()

        def body():
            mp.checkpoint()
            mp.sleep(0)
            return mp.cancel_requested()

        second = single.submit(body)
        gate.go.set()
        assert second.get(LIMIT) is False


def test_cancelled_parent_takes_its_inline_child_along():
    """A cancel of the outer task doesn't reach the task that runs inline on top of it, and the reverse."""
    with mp.Pool(1) as single:
        gate, path = Gate(), []

        def inner():
            gate()
            path.append(("inner", mp.cancel_requested()))
            mp.checkpoint()
            return "inner"

        def outer():
            child = single.submit(inner)
            path.append(("child", child.get()))
            path.append(("outer", mp.cancel_requested()))
            mp.checkpoint()
            path.append("went on")

        handle = single.parallel(outer, interrupt=False)()
        end(handle, gate, "cancel")
    assert [("inner", False), ("child", "inner"), ("outer", True)] == path


def test_cancelled_inline_child_takes_its_parent_along():
    """A cancelled inline child leaves by its checkpoint; its parent gets the error, and goes on."""
    with mp.Pool(1) as single:
        gate, children = Gate(), []

        def inner():
            gate()
            mp.checkpoint()

        def outer():
            children.append(single.submit(inner))
            error = children[0].exception()
            mp.checkpoint()
            return type(error), mp.cancel_requested()

        handle = single.submit(outer)
        assert gate.begun.wait(LIMIT)
        assert children[0].cancel()
        gate.go.set()
        assert (mp.TaskCancelledError, False) == handle.get(LIMIT)


# --- sleep ----------------------------------------------------------------------------------------------


@BOTH
def test_sleep_outlasts_a_cancel(pool, ending):
    """A sleep wakes at once for a cancel or timeout, and leaves the body."""
    asleep, path = threading.Event(), []

    @pool.parallel(**timeout_for(ending))
    def body():
        asleep.set()
        try:
            mp.sleep(LIMIT * 10)
            path.append("went on")
        finally:
            path.append("finally")

    handle = body()
    assert asleep.wait(LIMIT)
    if ending == "cancel":
        handle.cancel()
    assert handle.wait(LIMIT)
    assert eventually(lambda: not handle.is_running())
    assert ["finally"] == path


def test_sleep_is_too_short(pool):
    """A sleep lasts its time, in a task and outside; zero is allowed; several don't disturb each other."""

    def body():
        began = time.perf_counter()
        mp.sleep(0)
        mp.sleep(0.02)
        mp.sleep(0.01)
        return time.perf_counter() - began

    assert pool.submit(body).get(LIMIT) >= 0.029


def test_sleep_wakes_for_others(pool):
    """What happens to the sleeping task otherwise - waits, callbacks, metadata - doesn't wake it."""
    asleep = threading.Event()

    def body():
        began = time.perf_counter()
        asleep.set()
        mp.sleep(0.05)
        return time.perf_counter() - began

    handle = pool.submit(body)
    assert asleep.wait(LIMIT)
    handle.on_complete(lambda result: None)
    handle.on_error(lambda error: None)
    handle.wait(0)
    handle.set_metadata("key", 1)
    list(mp.as_completed([handle]))
    assert handle.get(LIMIT) >= 0.049


def test_cancelled_task_sleeps(pool):
    """A sleep that begins after the cancel doesn't last."""
    gate, path = Gate(), []

    def body():
        gate()
        mp.sleep(LIMIT * 10)
        path.append("went on")

    end(pool.submit(body), gate, "cancel")
    assert [] == path


def test_sleep_leaves_its_traces(pool):
    """A thousand sleeps leave nothing at the handle: there are the claim, and perhaps who waits outside."""

    def body(sleeps):
        for _ in range(sleeps):
            mp.sleep(0)
        return len(mp.current_handle()._ledger)

    assert [True, True] == [pool.submit(body, sleeps).get(LIMIT) <= 2 for sleeps in (1, 1000)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", TypeError), (None, TypeError), (True, TypeError), ([1], TypeError), (1j, TypeError),
        (-1, ValueError), (-1e-9, ValueError), (math.nan, ValueError), (-math.inf, ValueError),
    ],
    ids=repr,
)  # fmt: skip
def test_bad_sleep_is_no_error(pool, value, kind):
    """A wrong number of seconds is named, in a task and outside."""
    wanted = re.escape(f"secs={value!r}")
    with pytest.raises(kind, match=wanted):
        mp.sleep(value)
    error = pool.submit(mp.sleep, value).exception(LIMIT)
    assert kind is type(error.__cause__)
    assert re.search(wanted, error.error_message)


# --- shield ---------------------------------------------------------------------------------------------


@BOTH
def test_shield_lets_an_interrupt_through(pool, ending):
    """In a shield neither `checkpoint` nor `sleep` leaves, though the request shows; its end does."""
    gate, path = Gate(), []

    @pool.parallel(**timeout_for(ending))
    def body():
        try:
            with mp.shield():
                gate()
                mp.checkpoint()
                mp.sleep(0)
                path.append(mp.cancel_requested())
            path.append("went on")
        finally:
            path.append("finally")

    end(body(), gate, ending)
    assert [True, "finally"] == path


@BOTH
def test_inner_shield_ends_the_outer_one(pool, ending):
    """Shields nest: only the end of the outermost one leaves."""
    gate, path = Gate(), []

    @pool.parallel(**timeout_for(ending))
    def body():
        shield = mp.shield()
        with shield:
            with mp.shield():
                with mp.shield():
                    gate()
                path.append(1)
                mp.checkpoint()
            path.append(2)
            mp.checkpoint()
        path.append("went on")

    end(body(), gate, ending)
    assert [1, 2] == path


def test_one_shield_object_is_used_twice(pool):
    """The same object may be entered again, one after the other and nested."""
    gate, path = Gate(), []

    def body():
        shield = mp.shield()
        with shield:
            mp.checkpoint()
        with shield:
            with shield:
                gate()
            path.append(1)
            mp.checkpoint()
            path.append(2)
        path.append("went on")

    end(pool.submit(body), gate, "cancel")
    assert [1, 2] == path


def test_shield_without_a_cancel_raises(pool):
    """Nothing is due: the end of a shield is nothing."""

    def body():
        with mp.shield():
            mp.sleep(0)
        mp.checkpoint()
        return "done"

    assert "done" == pool.submit(body).get(LIMIT)


def test_shield_hides_the_bodys_own_error(pool):
    """An error inside a shield comes out as itself, though a cancel is due as well."""
    gate, path = Gate(), []

    def body():
        try:
            with mp.shield():
                gate()
                raise KeyError("own")
        except KeyError:
            path.append("own")
        mp.checkpoint()
        path.append("went on")

    end(pool.parallel(body, interrupt=False)(), gate, "cancel")
    assert ["own"] == path


def test_shield_reaches_the_inline_child():
    """A shield is the task's own: an inline child of a shielded task can be cancelled."""
    with mp.Pool(1) as single:
        gate, children, path = Gate(), [], []

        def inner():
            gate()
            mp.checkpoint()
            path.append("went on")

        def outer():
            with mp.shield():
                children.append(single.submit(inner))
                error = children[0].exception()
                mp.checkpoint()
                path.append(type(error))

        handle = single.submit(outer)
        assert gate.begun.wait(LIMIT)
        assert children[0].cancel()
        assert handle.cancel()
        gate.go.set()
        assert eventually(lambda: not handle.is_running())
    assert [mp.TaskCancelledError] == path


def test_leaked_shield_covers_the_next_task():
    """A shield that a body never leaves ends with the task: the next one on the worker is not shielded."""
    with mp.Pool(1) as single:
        single.submit(lambda: mp.shield().__enter__()).get(LIMIT)
        gate, path = Gate(), []

        def body():
            with mp.shield():
                mp.checkpoint()
            gate()
            mp.checkpoint()
            path.append("went on")

        end(single.submit(body), gate, "cancel")
    assert [] == path
    single._check()


# --- blocking -------------------------------------------------------------------------------------------


@pytest.mark.proves("P4")
def test_blocking_keeps_the_worker():
    """While a task blocks, a spare worker runs the others; with one worker, on any depth."""
    with mp.Pool(1) as single:
        go = threading.Event()

        def body():
            with mp.blocking(), mp.blocking():
                return go.wait(LIMIT)

        blocked = [single.submit(body) for _ in range(5)]
        handle = single.submit(go.set)
        assert handle.wait(LIMIT)
        assert [True] * 5 == mp.gather(blocked, timeout=LIMIT)
    single._check()


def test_sleep_lends_the_worker():
    """`sleep` keeps the worker taken: with one worker nothing else runs meanwhile."""
    with mp.Pool(1) as single:
        path = []

        def body():
            path.append("begin")
            mp.sleep(0.02)
            path.append("end")

        mp.gather([single.submit(body) for _ in range(3)], timeout=LIMIT)
    assert ["begin", "end"] * 3 == path


def test_blocking_swallows_an_error(pool):
    """An error inside the block comes out, and the task keeps its id and its handle inside."""

    def body():
        handle = mp.current_handle()
        with mp.blocking():
            assert mp.current_handle() is handle
            mp.checkpoint()
            raise KeyError("own")

    error = pool.submit(body).exception(LIMIT)
    assert KeyError is type(error.__cause__)
    assert "body" == error.task_name


def test_blocking_leaves_the_pool_smaller():
    """After many blocks, failed ones too, all seats of the pool still work at the same time."""
    with mp.Pool(2) as two:

        def body(fails):
            with mp.blocking():
                time.sleep(0.001)
                if fails:
                    raise KeyError("own")

        handles = [two.submit(body, index % 2) for index in range(40)]
        assert 20 == len(mp.gather(handles, on_error="skip", timeout=LIMIT))
        barrier = threading.Barrier(2, timeout=LIMIT)
        mp.gather([two.submit(barrier.wait) for _ in range(2)], timeout=LIMIT)
    two._check()


def test_blocking_submits_get_lost():
    """Tasks that are submitted from inside a block run."""
    with mp.Pool(1) as single:

        def body():
            with mp.blocking():
                handles = [single.submit(int, n) for n in range(10)]
            return [handle.get() for handle in handles]

        assert list(range(10)) == single.submit(body).get(LIMIT)


# --- progress -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0.5", TypeError), (None, TypeError), (True, TypeError), ([0], TypeError), (1j, TypeError),
        (-0.001, ValueError), (1.001, ValueError), (50, ValueError), (math.nan, ValueError), (math.inf, ValueError),
    ],
    ids=repr,
)  # fmt: skip
def test_bad_progress_is_taken(pool, value, kind):
    """A fraction outside [0, 1] is named with its value, in a task and outside; nothing is reported."""
    calls = []
    wanted = re.escape(f"fraction={value!r}")
    with pytest.raises(kind, match=wanted):
        mp.report_progress(value)
    gate = Gate()

    def body():
        gate()
        mp.report_progress(value)

    handle = pool.submit(body)
    handle.on_progress(calls.append)
    gate.go.set()
    error = handle.exception(LIMIT)
    assert kind is type(error.__cause__)
    assert re.search(wanted, error.error_message)
    assert ([], 0.0) == (calls, handle.get_progress())


def test_progress_goes_to_the_outer_task():
    """A report belongs to the task that makes it, also when it runs inline."""
    with mp.Pool(1) as single:

        def inner():
            mp.report_progress(0.75)
            return mp.current_handle().get_progress()

        def outer():
            mp.report_progress(0.25)
            child = single.submit(inner)
            return child.get(), mp.current_handle().get_progress()

        assert (0.75, 0.25) == single.submit(outer).get(LIMIT)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, decimal.Decimal("0.5")], ids=repr)
def test_good_progress_is_refused(pool, value):
    """Both ends, and any kind of number, are fractions."""
    seen = []
    gate = Gate()

    def body():
        gate()
        mp.report_progress(value)
        return mp.current_handle().get_progress()

    handle = pool.submit(body)
    handle.on_progress(seen.append)
    gate.go.set()
    assert float(value) == handle.get(LIMIT)
    assert [float(value)] == seen


# --- context variables ----------------------------------------------------------------------------------


def test_context_does_not_follow_the_task():
    """A body sees the submitter's context variables as they were at the submission."""
    variable = contextvars.ContextVar("variable", default="default")
    with mp.Pool(1) as single:
        gate = Gate()
        single.submit(gate)
        variable.set("at submission")
        handles = [single.submit(variable.get), single.parallel(variable.get)()]
        variable.set("afterwards")
        gate.go.set()
        assert ["at submission"] * 2 == [handle.get(LIMIT) for handle in handles]


def test_context_leaks_to_the_next_task():
    """What a body sets is gone for the next one on the worker, and for the submitter."""
    variable = contextvars.ContextVar("variable", default="default")
    with mp.Pool(1) as single:

        def body():
            before = variable.get(), decimal.getcontext().prec
            variable.set("set by a body")
            decimal.setcontext(decimal.Context(prec=5))
            return before

        precision = decimal.getcontext().prec
        assert [("default", precision)] * 3 == [single.submit(body).get(LIMIT) for _ in range(3)]
        assert [("default", precision)] * 3 == [single.parallel(body)(timeout=LIMIT).get(LIMIT) for _ in range(3)]
        assert ("default", precision) == (variable.get(), decimal.getcontext().prec)


def test_context_leaks_from_an_inline_task():
    """A task that runs inline in another one's `get` has its own copy: neither sees the other's changes."""
    variable = contextvars.ContextVar("variable", default="default")
    with mp.Pool(1) as single:

        def inner():
            before = variable.get()
            variable.set("inner")
            return before

        def outer():
            variable.set("outer")
            child = single.submit(inner)
            variable.set("outer again")
            return child.get(), variable.get()

        assert ("outer", "outer again") == single.submit(outer).get(LIMIT)


def test_context_does_not_follow_a_map():
    """Items of a map see the caller's context; what one chunk sets stays in it."""
    variable = contextvars.ContextVar("variable", default="default")
    variable.set("caller")
    with mp.Pool(1) as single:

        def body(x):
            before = variable.get()
            variable.set(f"item {x}")
            return before

        assert ["caller"] * 3 == single.map(body, range(3), chunksize=1)
    assert "caller" == variable.get()


def test_suspended_block_is_left_by_another_task():
    """A `shield` or `blocking` in a generator that another task closes changes nothing for that task or its worker."""
    with mp.Pool(1) as single:
        suspended = []

        def within(block):
            with block():
                yield

        def first():
            for block in (mp.shield, mp.blocking):
                generator = within(block)
                next(generator)
                suspended.append(generator)

        def second():
            with mp.shield():
                suspended[0].close()
                mp.current_handle().cancel()
                mp.checkpoint()  # the shield is whole
                path.append("shielded")
            path.append("went on")

        path = []
        single.submit(first).get(LIMIT)
        handle = single.submit(second)
        assert handle.wait(LIMIT)
        assert eventually(lambda: not handle.is_running())
        suspended[1].close()
        assert ["shielded"] == path
        assert [1] * 3 == mp.gather([single.submit(abs, -1) for _ in range(3)], timeout=LIMIT)
    single._check()
