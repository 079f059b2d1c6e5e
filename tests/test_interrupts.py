"""Stopping what runs: timeouts and cancels that leave the worker, shields, abandoned threads."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

import pytest
from helpers_waiting import LIMIT, eventually

import makeparallel as mp
from makeparallel import _interrupt
from makeparallel._core.entries import Waiter
from makeparallel._errors import TaskInterrupt

pytestmark = pytest.mark.thread_unsafe(reason="spinning bodies of several copies would measure each other")


def spin():
    """Run Python code for ever."""
    while True:
        pass


def spin_until(event):
    """Run Python code until the event is set, or long enough for a test to have failed."""
    deadline = time.monotonic() + LIMIT
    while not event.is_set() and time.monotonic() < deadline:
        pass


def sit(release):
    """Stay in C code until the event is set; an interrupt that comes before that is swallowed."""
    while True:
        try:
            release.wait(LIMIT)
            return
        except TaskInterrupt:
            continue


def begin(pool, body, *args, signs=False, **options):
    """Submit a body; return its handle once it runs. With `signs` the body says so itself, by calling its argument."""
    started = threading.Event()

    def with_sign():
        if signs:
            return body(started.set)
        started.set()
        return body(*args)

    handle = pool.parallel(with_sign, name="begun", **options)()
    assert started.wait(LIMIT)
    return handle


# --- a body in Python code ------------------------------------------------------------------------------


@pytest.mark.proves("P5")
@pytest.mark.slow
def test_endless_loop_keeps_its_worker():
    """At the deadline the handle is finished, the body leaves, and the same thread takes the next task."""
    late, left, gone = [], [], []

    def body():
        try:
            spin()
        finally:
            left.append((time.perf_counter(), threading.current_thread()))

    with mp.Pool(1) as single:
        for _ in range(9):
            began = time.perf_counter()
            handle = single.parallel(body, timeout=0.1)()
            with pytest.raises(mp.TaskTimeoutError, match=r"body.*timeout of 0.1 s"):
                handle.get(LIMIT)
            ended = time.perf_counter()
            late.append(ended - began - 0.1)
            assert single.submit(threading.current_thread).get(LIMIT) is left[-1][1]
            gone.append(left[-1][0] - ended)
            assert 0.1 <= handle.elapsed_time() < LIMIT
        assert 0 == single.statistics().abandoned_workers
        assert 9 == len(left)
    # The promises are 5 ms and one or two, on a quiet machine. This one may be busy: what polls would still show.
    assert median(late) < 0.05
    assert median(gone) < 0.05


@pytest.mark.proves("P5")
def test_cancelled_loop_keeps_its_worker(pool):
    """A cancel finishes the handle at once, and the body leaves a moment later, through its `finally`."""
    path = []

    def body(begun):
        try:
            begun()
            spin()
        finally:
            path.append("finally")

    handle = begin(pool, body, signs=True)
    assert handle.cancel() is True
    assert handle.is_cancelled()
    assert eventually(lambda: not handle.is_running())
    assert ["finally"] == path
    assert 0 == pool.get_active_task_count()


def test_interrupt_is_an_ordinary_exception(pool):
    """`except Exception` in a body does not swallow the interrupt, nor does a context manager's end get lost."""
    path = []

    class Resource:
        def __enter__(self):
            path.append("enter")

        def __exit__(self, *exc_info):
            path.append("exit")

    def body(begun):
        while True:
            try:
                with Resource():
                    begun()
                    spin()
            except Exception:
                path.append("swallowed")

    handle = begin(pool, body, signs=True)
    handle.cancel()
    assert eventually(lambda: not handle.is_running())
    assert ["enter", "exit"] == path


@pytest.mark.proves("I4")
def test_next_task_gets_the_interrupt_of_the_last():
    """Hundreds of tasks that end just about when they are cancelled: none of the others notices."""
    with mp.Pool(2) as pool:
        for round_ in range(150):
            victim = pool.submit(sum, range(round_ * 20))
            victim.cancel()
            assert [3] * 4 == mp.gather([pool.submit(len, "abc") for _ in range(4)], timeout=LIMIT)
        pool.shutdown(LIMIT)
        pool._check()


@pytest.mark.proves("I4")
def test_cancel_of_the_outer_task_lands_in_the_inline_one():
    """A task whose `get` runs another one inline is interrupted after that one, which is left alone."""
    with mp.Pool(1) as single:
        gate, started, path, children = threading.Event(), threading.Event(), [], []

        def inner():
            started.set()
            spin_until(gate)
            path.append("inner")
            return "result"

        def outer():
            child = single.submit(inner)
            children.append(child)
            child.get()
            spin()

        handle = single.submit(outer)
        assert started.wait(LIMIT)
        assert handle.cancel()
        assert handle.is_running()
        gate.set()
        assert "result" == children[0].get(LIMIT)
        assert ["inner"] == path
        assert eventually(lambda: not handle.is_running())
        assert 1 == single.submit(abs, -1).get(LIMIT)


@pytest.mark.proves("I4")
def test_cancelled_inline_task_hurts_the_one_that_waits():
    """The inline task is interrupted; the other one gets its error and goes on."""
    with mp.Pool(1) as single:
        started, children = threading.Event(), []

        def inner():
            started.set()
            spin()

        def outer():
            children.append(single.submit(inner))
            error = children[0].exception()
            return type(error), mp.cancel_requested()

        handle = single.submit(outer)
        assert started.wait(LIMIT)
        children[0].cancel()
        assert (mp.TaskCancelledError, False) == handle.get(LIMIT)


@pytest.mark.proves("P4")
def test_wait_for_a_child_with_a_timeout_lasts_longer_than_that():
    """A child with a timeout is not run inline: at its deadline the wait ends, though it sits in C code."""
    with mp.Pool(1) as single:

        def outer():
            began = time.perf_counter()
            error = single.parallel(time.sleep, timeout=0.05)(1.0).exception()
            return type(error), time.perf_counter() - began

        kind, seconds = single.submit(outer).get(LIMIT)
        assert kind is mp.TaskTimeoutError
        assert seconds < 0.9


def test_own_cancel_is_not_noticed(pool):
    """A body that cancels its own task is interrupted like any other, at the end of that call or a moment later."""

    def body():
        mp.current_handle().cancel()
        spin()

    handle = pool.submit(body)
    assert isinstance(handle.exception(LIMIT), mp.TaskCancelledError)
    assert eventually(lambda: not handle.is_running())


# --- waits ----------------------------------------------------------------------------------------------


def waits(pool, endless, gate):
    """Every wait that a body may sit in: name, call."""
    bounded = mp.Pool(1, max_pending=1)
    begin(bounded, gate.wait, LIMIT)
    bounded.submit(gate.wait, LIMIT)
    return bounded, {
        "get": endless.get,
        "get with a limit": lambda: endless.get(LIMIT),
        "wait": endless.wait,
        "exception": endless.exception,
        "gather": lambda: mp.gather([endless]),
        "as_completed": lambda: list(mp.as_completed([endless])),
        "mp.wait": lambda: mp.wait([endless]),
        "sleep": lambda: mp.sleep(LIMIT),
        "room": lambda: bounded.submit(abs, 1),
        "shutdown": lambda: bounded.shutdown(),
    }


@pytest.mark.proves("P5")
@pytest.mark.parametrize("ending", ["cancel", "timeout"])
@pytest.mark.parametrize(
    "name",
    ["get", "get with a limit", "wait", "exception", "gather", "as_completed", "mp.wait", "sleep", "room", "shutdown"],
)
def test_cancelled_wait_goes_on(name, ending):
    """Every wait of the library ends at once when the task that is in it is cancelled or times out."""
    gate = threading.Event()
    with mp.Pool(3) as pool:
        endless = begin(pool, gate.wait, LIMIT)
        bounded, calls = waits(pool, endless, gate)
        left = threading.Event()

        def body():
            try:
                calls[name]()
            except BaseException as error:
                seen.append(type(error))
                left.set()
                raise

        seen = []
        handle = begin(pool, body, timeout=0.05 if ending == "timeout" else None)
        if ending == "cancel":
            if name != "room":
                assert not left.wait(0.02)
            handle.cancel()
        assert left.wait(LIMIT)
        assert [TaskInterrupt] == seen
        assert not endless.is_ready()  # only the wait ended
        gate.set()
        endless.wait(LIMIT)
        bounded.shutdown(LIMIT)
        assert eventually(lambda: pool.get_active_task_count() == 0)
        pool.shutdown(LIMIT)
        pool._check()


def test_wait_in_a_clean_up_waits_without_a_shield(pool):
    """In a task that was cancelled a further wait raises at once; in a shield it waits."""
    path, release = [], threading.Event()
    other = pool.submit(release.wait, LIMIT)

    def body(begun):
        try:
            begun()
            mp.sleep(LIMIT)
        finally:
            try:
                other.get()
            except TaskInterrupt:
                path.append("raised")
            threading.Timer(0.02, release.set).start()
            with mp.shield():
                path.append(other.get())

    handle = begin(pool, body, signs=True)
    handle.cancel()
    assert eventually(lambda: not handle.is_running())
    assert ["raised", True] == path


def test_calls_in_a_clean_up_raise(pool):
    """Calls that don't wait work in a body's clean-up, and the interrupt comes once."""
    done = []

    def body(begun):
        try:
            begun()
            spin()
        finally:
            child = pool.submit(abs, -1)
            child.on_complete(done.append)
            mp.current_handle().set_metadata("cleaned", True)
            done.append(child.cancel() in (True, False))

    handle = begin(pool, body, signs=True)
    handle.cancel()
    assert eventually(lambda: not handle.is_running())
    assert True in done
    assert handle.get_metadata("cleaned") is True


# --- shield, interrupt=False ----------------------------------------------------------------------------


@pytest.mark.proves("P5")
@pytest.mark.parametrize("ending", ["cancel", "timeout"])
def test_shielded_loop_is_cut_short(pool, ending):
    """Nothing interrupts a shielded block, nested ones included; the outermost end leaves the body."""
    inside, go, path = threading.Event(), threading.Event(), []

    def body():
        with mp.shield():
            inside.set()
            with mp.shield():
                spin_until(go)
            path.append("inner")
            for _ in range(10_000):
                pass
            path.append("outer")
        path.append("went on")

    handle = begin(pool, body, timeout=0.1 if ending == "timeout" else None)
    assert inside.wait(LIMIT)
    if ending == "cancel":
        handle.cancel()
    assert handle.wait(LIMIT)
    time.sleep(0.3)  # longer than the hard grace: a shielded body is not abandoned either
    assert 0 == pool.statistics().abandoned_workers
    go.set()
    assert eventually(lambda: not handle.is_running())
    assert ["inner", "outer"] == path


def test_interrupt_that_waited_for_an_error_is_lost(pool):
    """A shielded block that ends with an error lets that out, and the body is interrupted a moment later."""
    inside, go, path = threading.Event(), threading.Event(), []

    def body():
        try:
            with mp.shield():
                inside.set()
                go.wait(LIMIT)
                raise KeyError("mine")
        except KeyError:
            path.append("mine")
            spin()

    handle = pool.submit(body)
    assert inside.wait(LIMIT)
    handle.cancel()
    go.set()
    assert eventually(lambda: not handle.is_running())
    assert path in (["mine"], [])  # "a moment" may be shorter than the way to the `except`


@pytest.mark.proves("P5")
def test_cooperative_body_is_interrupted(pool):
    """With `interrupt=False` only `checkpoint` and `sleep` leave the body; it is never abandoned."""
    go, path = threading.Event(), []

    def body():
        spin_until(go)
        path.append(mp.cancel_requested())
        child = pool.submit(abs, -1)
        path.append(child.get())
        mp.checkpoint()
        path.append("went on")

    handle = begin(pool, body, timeout=0.01, interrupt=False)
    assert isinstance(handle.exception(LIMIT), mp.TaskTimeoutError)
    time.sleep(0.3)  # longer than the hard grace
    assert 0 == pool.statistics().abandoned_workers
    go.set()
    assert eventually(lambda: not handle.is_running())
    assert [True, 1] == path


def test_cooperative_map_is_interrupted(pool):
    """The option holds for the items of a map too."""
    go, seen = threading.Event(), []

    @pool.parallel(timeout=0.01, interrupt=False)
    def item(number):
        spin_until(go)
        seen.append(number)

    threading.Timer(0.5, go.set).start()
    with pytest.raises(mp.TaskTimeoutError):
        item.map([1])
    assert eventually(lambda: pool.get_active_task_count() == 0)
    assert [1] == seen


# --- bodies that don't leave ----------------------------------------------------------------------------


@pytest.mark.proves("P5")
@pytest.mark.slow
def test_body_that_swallows_the_interrupt_keeps_it():
    """It is told again after a while, and again."""
    times = []

    def body(begun):
        for _ in range(3):
            try:
                begun()
                spin()
            except BaseException:
                times.append(time.perf_counter())

    with mp.Pool(1, hard_grace_secs=LIMIT) as single:
        handle = begin(single, body, signs=True)
        handle.cancel()
        assert eventually(lambda: not handle.is_running())
    assert 3 == len(times)
    assert times[1] - times[0] > 0.04
    assert times[2] - times[0] > 0.11  # the second pause is twice as long


@pytest.mark.proves("I8")
@pytest.mark.slow
def test_body_in_c_code_takes_the_pool_along():
    """A body that can't be stopped is abandoned: a one-worker pool works on, and the thread is dismissed later."""
    release = threading.Event()
    with mp.Pool(1) as single:
        handle = begin(single, sit, release, timeout=0.02)
        following = single.submit(threading.current_thread)
        assert isinstance(handle.exception(LIMIT), mp.TaskTimeoutError)
        other = following.get(LIMIT)
        facts = single.statistics()
        assert (1, 1, 0) == (facts.abandoned_workers, facts.workers, single.get_active_task_count())
        assert handle.is_running()
        release.set()
        assert eventually(lambda: single.statistics().abandoned_workers == 0)
        assert other is single.submit(threading.current_thread).get(LIMIT)
        assert single.shutdown(LIMIT) is True
        single._check()


@pytest.mark.proves("I8")
@pytest.mark.slow
def test_shutdown_waits_for_an_abandoned_body():
    """A shutdown without a limit does not wait for it, and says so."""
    release = threading.Event()
    pool = mp.Pool(1)
    handle = begin(pool, sit, release)
    handle.cancel()
    began = time.perf_counter()
    assert pool.shutdown() is False
    assert time.perf_counter() - began < LIMIT / 2
    release.set()
    assert eventually(lambda: pool.shutdown(LIMIT))
    pool._check()


@pytest.mark.proves("I1")
@pytest.mark.slow
def test_task_that_waits_inline_for_an_abandoned_one_hangs():
    """It is finished as cancelled when the thread below it is given up, and leaves when that comes home."""
    release, started, children = threading.Event(), threading.Event(), []

    def inner():
        started.set()
        sit(release)

    def outer():
        children.append(single.submit(inner))
        children[0].get()

    with mp.Pool(1) as single:
        handle = single.submit(outer)
        assert started.wait(LIMIT)
        children[0].cancel()
        assert isinstance(handle.exception(LIMIT), mp.TaskCancelledError)
        assert 0 == single.get_active_task_count()
        assert 1 == single.submit(abs, -1).get(LIMIT)
        release.set()
        assert eventually(lambda: not handle.is_running())


@pytest.mark.proves("I8")
@pytest.mark.slow
def test_machine_fills_with_abandoned_threads():
    """At the limit no more threads are given up, and submits say why; one that returns lets them in again."""
    release = threading.Event()
    with mp.Pool(1, name="full", hard_grace_secs=0.01, max_abandoned=2) as single:
        handles = []
        for _ in range(2):
            handles.append(begin(single, sit, release))
            handles[-1].cancel()
            assert eventually(lambda: single.statistics().abandoned_workers == len(handles))
        with pytest.raises(mp.PoolFullError, match=r"'full' has 2 abandoned threads.*max_abandoned"):
            single.submit(abs, -1)
        assert "clogged" in repr(single)
        release.set()
        assert eventually(lambda: "open" in repr(single))
        assert 1 == single.submit(abs, -1).get(LIMIT)


@pytest.mark.slow
def test_hard_grace_is_not_kept():
    """None never gives a thread up; zero does so at once."""
    release = threading.Event()
    with mp.Pool(1, hard_grace_secs=None) as patient, mp.Pool(1, hard_grace_secs=0) as hasty:
        waiting = [begin(pool, sit, release) for pool in (patient, hasty)]
        for handle in waiting:
            handle.cancel()
        assert eventually(lambda: hasty.statistics().abandoned_workers == 1)
        time.sleep(0.3)  # longer than the default
        assert 0 == patient.statistics().abandoned_workers
        release.set()
        assert eventually(lambda: not any(handle.is_running() for handle in waiting))


@pytest.mark.slow
def test_abandoned_thread_is_told_nobody(pool, caplog):
    """A warning names the task, its id and the pool."""
    release = threading.Event()
    handle = begin(pool, sit, release)
    handle.cancel()
    assert eventually(lambda: "abandoned" in caplog.text)
    assert f"'begun' (id {handle.get_task_id()})" in caplog.text
    assert repr(pool).split("'")[1] in caplog.text
    release.set()
    assert eventually(lambda: pool.statistics().abandoned_workers == 0)


# --- one task inside another ----------------------------------------------------------------------------


@pytest.mark.proves("P4")
def test_wait_in_a_task_with_a_timeout_outlasts_it():
    """A task with a timeout runs nothing inline: at its deadline its wait ends, whatever the child does."""
    with mp.Pool(1) as single:
        release = threading.Event()

        def outer():
            children.append(single.submit(spin_until, release))
            children[0].get()

        children = []
        handle = single.parallel(outer, timeout=0.03)()
        assert isinstance(handle.exception(LIMIT), mp.TaskTimeoutError)
        assert eventually(lambda: not handle.is_running())
        assert not children[0].is_ready()
        release.set()


@pytest.mark.proves("P5")
def test_map_in_a_cancelled_task_goes_on_inline():
    """The chunk that runs inline for a cancelled task's map is cancelled with it: nobody else has its handle."""
    items = []
    with mp.Pool(1) as single:
        started = threading.Event()

        def item(number):
            items.append(number)
            started.set()
            spin()

        handle = single.submit(lambda: single.map(item, range(100), chunksize=10))
        assert started.wait(LIMIT)
        handle.cancel()
        assert 1 == single.submit(abs, -1).get(LIMIT)
        assert eventually(lambda: single.get_active_task_count() == 0)
    assert 1 == len(items)


def test_shield_object_serves_one_task_at_a_time(pool):
    """One shield object may be used by several tasks at once."""
    shared, meet = mp.shield(), threading.Barrier(2, timeout=LIMIT)

    def body():
        with shared:
            meet.wait()
            with shared:
                meet.wait()
        meet.wait()
        spin()

    handles = [pool.submit(body) for _ in range(2)]
    assert eventually(lambda: all(handle.is_running() for handle in handles))
    for handle in handles:
        handle.cancel()
    assert eventually(lambda: not any(handle.is_running() for handle in handles))
    assert [] == shared._entered


@pytest.mark.proves("I3")
@pytest.mark.parametrize("what", ["get", "get with a limit", "shield", "blocking", "submit"])
def test_call_near_the_recursion_limit_loses_a_seat(what):
    """A call that has too little of the stack left raises RecursionError, and the pool works on."""
    with mp.Pool(1) as single:

        def use():
            if what == "shield":
                with mp.shield():
                    pass
            elif what == "blocking":
                with mp.blocking():
                    pass
            elif what == "submit":
                single.submit(abs, -1)
            else:
                single.submit(abs, -1).get(LIMIT if "limit" in what else None)

        def dive():
            try:
                dive()
            except RecursionError:
                try:
                    use()
                except RecursionError:
                    pass
                raise

        def body():
            with pytest.raises(RecursionError):
                dive()
            started.set()
            spin()

        started = threading.Event()
        handle = single.submit(body)
        assert started.wait(LIMIT)
        handle.cancel()
        assert eventually(lambda: not handle.is_running())  # the gate is open
        assert 1 == single.submit(abs, -1).get(LIMIT)
        assert 0 == single.statistics().abandoned_workers


# --- where nothing can be sent --------------------------------------------------------------------------


def test_interpreter_that_cannot_interrupt_fails(pool, monkeypatch, caplog):
    """Without asynchronous exceptions everything is cooperative, and one warning says so."""
    monkeypatch.setattr(_interrupt, "can_interrupt", lambda: False)
    monkeypatch.setattr(_interrupt, "_warned", [])
    go, path = threading.Event(), []

    def body():
        spin_until(go)
        path.append(mp.cancel_requested())
        mp.sleep(LIMIT)
        path.append("went on")

    handles = [begin(pool, body, timeout=0.01) for _ in range(2)]
    assert [mp.TaskTimeoutError] * 2 == [type(handle.exception(LIMIT)) for handle in handles]
    go.set()
    assert eventually(lambda: not any(handle.is_running() for handle in handles))
    assert [True, True] == path
    assert 1 == caplog.text.count("cannot raise an exception in another thread")


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, -math.inf])
def test_negative_timeout_is_taken(pool, value):
    """A negative or NaN timeout is a ValueError at the call that gives it."""
    for call in (
        lambda: mp.parallel(timeout=value),
        lambda: mp.parallel(spin).options(timeout=value),
        lambda: pool.parallel(spin)(timeout=value),
        lambda: mp.Pool(hard_grace_secs=value),
    ):
        with pytest.raises(ValueError, match=rf"(timeout|hard_grace_secs)={value!r}.*None for no limit"):
            call()


@pytest.mark.parametrize("value", [True, "1", b"1", [1]])
def test_odd_timeout_is_taken(pool, value):
    """A timeout that is no number, or a boolean, is a TypeError at the call that gives it."""
    for call in (
        lambda: mp.parallel(timeout=value),
        lambda: pool.parallel(spin)(timeout=value),
        lambda: mp.Pool(hard_grace_secs=value),
    ):
        with pytest.raises(TypeError, match=r"must be a number of seconds or None"):
            call()


def test_odd_switches_are_taken():
    """`interrupt` is a boolean, `max_abandoned` a whole number above zero."""
    with pytest.raises(TypeError, match=r"interrupt=1"):
        mp.parallel(interrupt=1)
    with pytest.raises(ValueError, match=r"max_abandoned=0"):
        mp.Pool(max_abandoned=0)
    with pytest.raises(TypeError, match=r"max_abandoned=1.5"):
        mp.Pool(max_abandoned=1.5)


def test_zero_and_infinite_timeouts(pool):
    """Zero times out without running the body; infinity means none."""
    ran = []
    handle = pool.parallel(ran.append, timeout=0)(1)
    assert isinstance(handle.exception(LIMIT), mp.TaskTimeoutError)
    assert pool.parallel(abs, timeout=math.inf)(-1).get_timeout() is None
    assert [] == ran


@pytest.mark.proves("I5")
def test_wait_that_is_interrupted_stays_registered():
    """Bodies that are told to leave in a wait leave no waiter behind in the awaited task, nor does a refused wait."""
    release = threading.Lock()
    release.acquire()
    with mp.Pool(3) as pool:
        awaited = pool.submit(release.acquire, timeout=LIMIT)
        for _ in range(5):
            waiting = begin(pool, awaited.get)
            waiting.cancel()
        assert eventually(lambda: pool.get_active_task_count() == 1)
        assert [] == [entry for entry in awaited._ledger[:] if isinstance(entry, Waiter)]
        release.release()


# --- the import system ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.proves("P5")
def test_interrupted_imports_leave_locks_behind(tmp_path):
    """Bodies that import without pause are interrupted hundreds of times; no import lock stays taken."""
    import _imp

    bootstrap = sys.modules["_frozen_importlib"]

    def body():
        while True:
            try:
                __import__("a_module_that_is_not_there")
            except ImportError:
                pass

    with mp.Pool(3) as pool:
        for _ in range(200):
            handles = [pool.parallel(body, timeout=0.0005)() for _ in range(3)]
            mp.wait(handles, LIMIT)
        assert eventually(lambda: pool.get_active_task_count() == 0)
        assert eventually(lambda: pool.statistics().abandoned_workers == 0)
    locks = [reference() for reference in [*bootstrap._module_locks.values()]]
    assert [] == [lock.name for lock in locks if lock is not None and lock.owner is not None]
    assert not _imp.lock_held()


@pytest.mark.slow
@pytest.mark.proves("P5")
def test_interrupted_coverage_leaves_its_lock_behind(tmp_path):
    """Bodies that coverage measures are interrupted hundreds of times; its lock does not stay taken."""
    pytest.importorskip("coverage.tracer")
    program = tmp_path / "measured.py"
    program.write_text(f"""
import makeparallel as mp

def step():
    pass

def body():
    while True:
        step()

with mp.Pool(3) as pool:
    for _ in range(150):
        handles = [pool.parallel(body, timeout=0.0005)() for _ in range(3)]
        print(len(mp.wait(handles, {LIMIT})[0]))
""")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "coverage",
        "run",
        "--rcfile=/dev/null",
        "--data-file=data",
        program,
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    env["COVERAGE_CORE"] = "ctrace"
    env["PYTHONPATH"] = os.pathsep.join([str(Path(mp.__file__).parents[1]), env.get("PYTHONPATH", "")])
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (0, "") == (run.returncode, run.stderr)
    assert ["3"] * 150 == run.stdout.split()


# --- what it costs when nothing is due ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.proves("I7")
def test_queued_timeouts_keep_the_supervisor_busy():
    """A hundred thousand queued tasks with timeouts cost the supervisor nothing: deadlines begin with the bodies."""
    release = threading.Event()
    with mp.Pool(1) as single:
        begin(single, sit, release, timeout=LIMIT)
        function = single.parallel(abs, timeout=LIMIT)
        handles = [function(-1) for _ in range(100_000)]
        (supervisor,) = (thread for thread in threading.enumerate() if thread.name == "makeparallel-supervisor")
        clock = time.pthread_getcpuclockid(supervisor.ident)
        before = time.clock_gettime(clock)
        time.sleep(0.2)  # what polling would cost, it would cost now
        used = time.clock_gettime(clock) - before
        release.set()
        assert [1] * len(handles) == mp.gather(handles)
    assert used < 0.005
