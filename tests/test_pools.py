"""Pools: bounds, sizes, counts, the default pool's options, shutdown as a user meets it, and bad input."""

import gc
import os
import re
import subprocess
import sys
import threading

import pytest
from helpers_waiting import LIMIT, eventually

import makeparallel as mp


class Gate:
    """A body that says that it has begun, and stays until it is let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, result=None):
        self.begun.set()
        assert self.go.wait(LIMIT)
        return result


def square(x):
    return x * x


def fail():
    raise ValueError("wrong")


def python(code, **environment):
    """What a fresh interpreter prints that runs `code`; it must end well."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", "import makeparallel as mp\n" + code],
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(mp.__file__)), **environment},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()


def prove_capacity(pool, workers):
    """Exactly `workers` bodies run at the same time."""
    barrier = threading.Barrier(workers, timeout=LIMIT)
    handles = [pool.submit(barrier.wait) for _ in range(workers)]
    assert list(range(workers)) == sorted(mp.gather(handles, timeout=LIMIT))
    gates = [Gate() for _ in range(workers)]
    blocked = [pool.submit(gate) for gate in gates]
    assert [True] * workers == [gate.begun.wait(LIMIT) for gate in gates]
    further = pool.submit(square, 3)
    assert not further.wait(0.01)
    for gate in gates:
        gate.go.set()
    assert 9 == further.get(LIMIT)
    mp.gather(blocked, timeout=LIMIT)


# --- bounded pools --------------------------------------------------------------------------------------


def test_full_pool_takes_more():
    """With when_full="raise" a submit beyond `max_pending` raises, with name and number; later ones succeed."""
    with mp.Pool(1, name="small", max_pending=2, when_full="raise") as small:
        gate = Gate()
        small.submit(gate)
        assert gate.begun.wait(LIMIT)
        waiting = [small.submit(square, n) for n in range(2)]
        for submit in (lambda: small.submit(square, 3), lambda: small.parallel(square)(3, timeout=LIMIT)):
            with pytest.raises(mp.PoolFullError, match=r"'small'.*max_pending=2"):
                submit()
        gate.go.set()
        assert [0, 1] == mp.gather(waiting, timeout=LIMIT)
        assert 9 == small.submit(square, 3).get(LIMIT)
        assert 4 == small.statistics().submitted
    small._check()


@pytest.mark.parametrize("release", ["begin", "cancel"])
def test_room_is_not_given_back(release):
    """A task gives its room back when its body begins, and when it is cancelled before."""
    with mp.Pool(1, max_pending=1, when_full="raise") as small:
        for _ in range(20):
            gate = Gate()
            first = small.submit(gate)
            assert gate.begun.wait(LIMIT)
            waiting = small.submit(square, 3)
            with pytest.raises(mp.PoolFullError):
                small.submit(square, 4)
            if release == "cancel":
                assert waiting.cancel()
                assert not waiting.cancel()
                again = small.submit(square, 4)
                with pytest.raises(mp.PoolFullError):
                    small.submit(square, 4)
            gate.go.set()
            assert first.wait(LIMIT)
            assert 9 == waiting.get(LIMIT) if release == "begin" else 16 == again.get(LIMIT)
    small._check()


def test_waiting_submitter_sleeps_on():
    """With when_full="wait", the default, a submit waits for room; many submitters lose nothing."""
    results = []
    with mp.Pool(2, max_pending=2) as small:

        def submit():
            results.extend(handle.get(LIMIT) for handle in [small.submit(square, n) for n in range(100)])

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert small.statistics().submitted == 400
    assert sorted(n * n for n in range(100) for _ in range(4)) == sorted(results)
    small._check()


def test_submit_does_not_wait():
    """A submit to a full pool returns only when there is room."""
    with mp.Pool(1, max_pending=1) as small:
        gate, order = Gate(), []
        small.submit(gate)
        assert gate.begun.wait(LIMIT)
        small.submit(square, 1)

        def submit():
            order.append("submits")
            handle = small.submit(square, 2)
            order.append(("submitted", gate.go.is_set()))
            handle.get(LIMIT)

        thread = threading.Thread(target=submit)
        thread.start()
        assert eventually(lambda: order)
        thread.join(0.02)
        assert ["submits"] == order
        gate.go.set()
        thread.join()
    assert ["submits", ("submitted", True)] == order


@pytest.mark.parametrize("when_full", ["wait", "raise"])
def test_subtask_waits_for_room(when_full):
    """A submit from inside a task of the pool is exempt: it neither waits nor raises."""
    with mp.Pool(1, max_pending=1, when_full=when_full) as small:

        def body():
            return mp.gather([small.submit(square, n) for n in range(20)])

        assert [n * n for n in range(20)] == small.submit(body).get(LIMIT)
    small._check()


def test_task_of_another_pool_is_exempt():
    """A worker of another pool waits for room like anybody, and its own pool goes on meanwhile."""
    with mp.Pool(1, max_pending=1) as small, mp.Pool(1) as other:
        gate = Gate()
        small.submit(gate)
        assert gate.begun.wait(LIMIT)
        small.submit(square, 1)
        waiting = other.submit(lambda: small.submit(square, 3).get())
        assert not waiting.wait(0.01)
        assert 4 == other.submit(square, 2).get(LIMIT)
        gate.go.set()
        assert 9 == waiting.get(LIMIT)


@pytest.mark.proves("P6")
@pytest.mark.parametrize("cancel_pending", [False, True])
def test_shutdown_forgets_a_waiting_submitter(cancel_pending):
    """Submitters that wait for room are told when the pool is shut down; what one of them got never runs."""
    small = mp.Pool(1, max_pending=1)
    gate, waiting, outcomes, ran = Gate(), [], [], []
    running = small.submit(gate, "result")
    assert gate.begun.wait(LIMIT)
    pending = small.submit(square, 3)

    def submit():
        waiting.append(1)
        try:
            outcomes.append(small.submit(ran.append, 1))
        except mp.PoolShutdownError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: 3 == len(waiting))
    closer = threading.Thread(target=small.shutdown, args=[LIMIT, cancel_pending])
    closer.start()
    for thread in threads:
        thread.join(LIMIT)
    alive = [thread.is_alive() for thread in threads]
    assert not cancel_pending or eventually(pending.is_cancelled)  # before the worker can come for it
    gate.go.set()
    closer.join(LIMIT)
    assert [False] * 3 == alive
    assert [] == ran
    # With cancel_pending a submitter may have got the room of a dropped task; then its own was dropped as well.
    got = [outcome for outcome in outcomes if not isinstance(outcome, mp.PoolShutdownError)]
    assert ([True] * len(got) if cancel_pending else []) == [handle.is_cancelled() for handle in got]
    assert 3 == len(outcomes)
    assert "result" == running.get(LIMIT)
    assert cancel_pending == pending.is_cancelled()
    assert cancel_pending or 9 == pending.get(LIMIT)
    small._check()


@pytest.mark.slow
@pytest.mark.parametrize("bound", [1_000_001, 10**9, 10**30])
def test_large_bound_takes_memory(bound):
    """A bound has permits, which take memory: one that is as good as none is refused, with the remedy."""
    with pytest.raises(ValueError, match=rf"max_pending={bound}.*None"):
        mp.Pool(1, max_pending=bound)


# --- size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_pool_has_another_size(workers):
    """As many bodies run at the same time as the pool has workers, and no more."""
    with mp.Pool(workers) as sized:
        prove_capacity(sized, workers)
        assert workers == sized.statistics().workers
    sized._check()


def test_resize_has_no_effect():
    """A pool can grow and shrink while it is idle, and has that many workers then."""
    with mp.Pool(2) as sized:
        for workers in (2, 4, 1, 3, 3, 1, 6):
            sized.resize(workers)
            assert eventually(lambda workers=workers: workers == sized.statistics().workers)
            prove_capacity(sized, workers)
    sized._check()


def test_shrinking_waits_or_kills():
    """Shrinking under running bodies returns at once; they end as usual; then the pool has its new size."""
    with mp.Pool(4) as sized:
        gates = [Gate() for _ in range(4)]
        handles = [sized.submit(gate, index) for index, gate in enumerate(gates)]
        assert [True] * 4 == [gate.begun.wait(LIMIT) for gate in gates]
        queued = [sized.submit(square, n) for n in range(10)]
        sized.resize(1)
        for gate in gates:
            gate.go.set()
        assert [0, 1, 2, 3] == mp.gather(handles, timeout=LIMIT)
        assert [n * n for n in range(10)] == mp.gather(queued, timeout=LIMIT)
        assert eventually(lambda: 1 == sized.statistics().workers)
        prove_capacity(sized, 1)
    sized._check()


@pytest.mark.proves("I1")
@pytest.mark.proves("I3")
def test_resize_under_load_loses_tasks():
    """Up and down while three threads submit, and tasks submit tasks: every task ends, once."""
    ran = []
    with mp.Pool(2) as sized:
        stop = threading.Event()

        def body(n):
            ran.append(n)
            return sized.submit(square, n).get() if n % 3 == 0 else n * n

        def submit():
            results.extend(handle.get(LIMIT) for handle in [sized.submit(body, n) for n in range(200)])

        def resize():
            sizes = [1, 4, 2, 6, 3]
            while not stop.is_set():
                sizes.append(sizes.pop(0))
                sized.resize(sizes[0])

        results = []
        threads = [threading.Thread(target=submit) for _ in range(3)]
        resizer = threading.Thread(target=resize)
        for thread in [*threads, resizer]:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        resizer.join()
        sized.resize(2)
        assert eventually(lambda: 2 == sized.statistics().workers)
        prove_capacity(sized, 2)
    assert sorted(n * n for n in range(200) for _ in range(3)) == sorted(results)
    assert sorted(n for n in range(200) for _ in range(3)) == sorted(ran)
    sized._check()


# --- statistics -----------------------------------------------------------------------------------------

FINISHED = ("succeeded", "failed", "cancelled", "timed_out")


@pytest.mark.proves("P6")
def test_counts_do_not_add_up():
    """Each way to end counts in its own place; at rest submitted is their sum."""
    with mp.Pool(1) as single:
        gate = Gate()
        running = single.submit(gate)
        assert gate.begun.wait(LIMIT)
        pending = [single.submit(square, n) for n in range(5)]
        failing = [single.submit(fail) for _ in range(3)]
        overdue = [single.parallel(square)(n, timeout=0) for n in range(2)]
        facts = single.statistics()
        assert (11, 1, 10, 1) == (facts.submitted, facts.running, facts.pending, facts.started)
        assert 11 == single.get_active_task_count()
        assert [True, True] == [handle.cancel() for handle in pending[:2]]
        facts = single.statistics()
        assert (2, 8, 9) == (facts.cancelled, facts.pending, single.get_active_task_count())
        assert running.cancel()
        facts = single.statistics()
        assert (3, 0) == (facts.cancelled, facts.running)
        gate.go.set()
        mp.wait([*pending, *failing, *overdue], LIMIT)
        assert [True] * 3 == [isinstance(handle.exception(), mp.TaskError) for handle in failing]
    facts = single.statistics()
    assert (11, 3, 3, 3, 2) == (facts.submitted, *(getattr(facts, name) for name in FINISHED))
    assert (0, 0, 0, 0) == (facts.pending, facts.running, facts.queue_depth, single.get_active_task_count())
    assert facts.started == sum(worker.finished for worker in facts.per_worker)


@pytest.mark.slow
@pytest.mark.proves("P6")
def test_counts_do_not_add_up_under_load():
    """While tasks are submitted, fail and are cancelled, no snapshot shows more finished than submitted."""
    with mp.Pool(2) as busy:
        stop = threading.Event()
        wrong, previous = [], busy.statistics()

        def submit():
            while not stop.is_set():
                handles = [busy.submit(square, n) for n in range(20)] + [busy.submit(fail)]
                handles[3].cancel()
                mp.gather(handles, on_error="skip")

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            facts = busy.statistics()
            finished = sum(getattr(facts, name) for name in FINISHED)
            if facts.submitted != finished + facts.pending + facts.running:
                wrong.append(facts)
            if min(facts.pending, facts.running) < 0 or facts.submitted < previous.submitted:
                wrong.append(facts)
            if any(getattr(facts, name) < getattr(previous, name) for name in FINISHED):
                wrong.append((previous, facts))
            previous = facts
        stop.set()
        for thread in threads:
            thread.join()
    facts = busy.statistics()
    assert [] == wrong
    assert facts.submitted == sum(getattr(facts, name) for name in FINISHED)
    busy._check()


def test_snapshot_changes():
    """A snapshot is frozen: it stays as it was, and can't be changed."""
    with mp.Pool(1) as single:
        before = single.statistics()
        single.submit(square, 3).get(LIMIT)
        assert (0, 1) == (before.submitted, single.statistics().submitted)
        for name in ("submitted", "per_worker"):
            with pytest.raises(AttributeError):
                setattr(before, name, 3)
        assert isinstance(before, mp.Statistics)
        assert isinstance(single.statistics().per_worker[0], mp.WorkerStatistics)


# --- names ----------------------------------------------------------------------------------------------


def thread_name():
    return threading.current_thread().name


def test_names_are_ignored():
    """The prefix names the threads, else the pool's name does; pools without a name differ."""
    with mp.Pool(1, name="loaders") as named, mp.Pool(1, name="x", thread_name_prefix="hands") as prefixed:
        with mp.Pool(1) as first, mp.Pool(1) as second:
            names = [each.submit(thread_name).get(LIMIT) for each in (named, prefixed, first, second)]
    assert names[0].startswith("loaders-")
    assert names[1].startswith("hands-")
    assert 4 == len(set(names))
    assert "loaders" in repr(named)
    assert "x" in repr(prefixed)
    with pytest.raises(mp.PoolShutdownError, match="loaders"):
        named.submit(square, 3)


def test_threads_start_too_early_or_stay():
    """A pool starts no thread before its first task, and leaves none behind after its shutdown."""
    prefix = f"unique-{threading.get_ident()}"

    def threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]

    with mp.Pool(3, thread_name_prefix=prefix) as three:
        assert [] == threads()
        three.submit(square, 3).get(LIMIT)
        assert 1 <= len(threads()) <= 3
    assert eventually(lambda: [] == threads())


# --- context manager and shutdown -----------------------------------------------------------------------


def test_block_leaves_tasks_behind():
    """Leaving the block waits for everything, and gives the pool itself."""
    ran = []
    with mp.Pool(1) as single:
        assert mp.Pool is type(single)
        for n in range(20):
            single.submit(ran.append, n)
    assert list(range(20)) == ran
    with pytest.raises(mp.PoolShutdownError):
        single.submit(square, 3)


def test_block_left_by_an_error_runs_on():
    """A block that is left by an error cancels what has not begun, waits for what runs, and raises it."""
    ran = []
    gate = Gate()
    with pytest.raises(KeyError, match="mine"), mp.Pool(1) as single:
        single.submit(gate)
        assert gate.begun.wait(LIMIT)
        handles = [single.submit(ran.append, n) for n in range(5)]
        threading.Timer(0.01, gate.go.set).start()
        raise KeyError("mine")
    assert [True] * 5 == [handle.is_cancelled() for handle in handles]
    assert [] == ran
    single._check()


@pytest.mark.proves("P6")
def test_second_shutdown_differs():
    """A shutdown may be called again, from several threads at once; all agree; a pool never used is done at once."""
    with mp.Pool(2) as two:
        handles = [two.submit(square, n) for n in range(50)]
        results = []
        threads = [threading.Thread(target=lambda: results.append(two.shutdown(LIMIT))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [True] * 4 == results
        assert two.shutdown() is True
        assert [n * n for n in range(50)] == mp.gather(handles, timeout=0)
    assert mp.Pool(1).shutdown() is True


@pytest.mark.proves("I1")
@pytest.mark.proves("P6")
def test_shutdown_outlasts_its_timeout():
    """At its timeout a shutdown cancels the rest, returns False, and leaves no handle unfinished."""
    single = mp.Pool(1)
    gate = Gate()
    running = single.submit(gate)
    assert gate.begun.wait(LIMIT)
    pending = single.submit(square, 3)
    assert single.shutdown(0.01) is False
    assert [True, True] == [running.is_cancelled(), pending.is_cancelled()]
    gate.go.set()
    assert single.shutdown(LIMIT) is True
    single._check()


@pytest.mark.proves("P6")
def test_subtask_is_refused_while_draining():
    """While the pool drains, running tasks may still submit, unless pending tasks are cancelled."""
    for cancel_pending, expected in ((False, 9), (True, mp.PoolShutdownError)):
        single = mp.Pool(1)
        gate = Gate()

        def body(single=single, gate=gate):
            gate()
            return single.submit(square, 3).get()

        handle = single.submit(body)
        assert gate.begun.wait(LIMIT)
        closer = threading.Thread(target=single.shutdown, args=[LIMIT, cancel_pending])
        closer.start()
        assert eventually(lambda single=single: is_refused(single))
        gate.go.set()
        closer.join()
        if cancel_pending:
            assert expected is type(handle.exception(LIMIT).__cause__)
        else:
            assert expected == handle.get(LIMIT)
        single._check()


def is_refused(pool):
    """True if the pool takes no tasks from outside."""
    try:
        pool.submit(square, 3)
    except mp.PoolShutdownError:
        return True
    return False


@pytest.mark.proves("P6")
def test_shutdown_from_a_task_waits_for_itself():
    """A task may shut its own pool down: it doesn't wait for itself."""
    single = mp.Pool(1)
    assert single.submit(lambda: single.shutdown(LIMIT)).get(LIMIT) is True
    assert single.shutdown(LIMIT) is True
    single._check()


def test_dropped_pool_drops_its_tasks():
    """A pool that nobody holds finishes its tasks, and then ends its threads."""
    prefix = f"dropped-{threading.get_ident()}"
    handles = [mp.Pool(1, thread_name_prefix=prefix).submit(square, n) for n in range(5)]
    assert [n * n for n in range(5)] == mp.gather(handles, timeout=LIMIT)
    del handles

    def gone():
        gc.collect()
        return not any(thread.name.startswith(prefix) for thread in threading.enumerate())

    assert eventually(gone)


def test_two_pools_share_something(pool):
    """Pools are separate: one that is full, busy or shut down doesn't disturb another."""
    other = mp.Pool(1, max_pending=1, when_full="raise")
    gate = Gate()
    other.submit(gate)
    assert 9 == pool.submit(square, 3).get(LIMIT)
    gate.go.set()
    assert other.shutdown(LIMIT)
    assert 9 == pool.submit(square, 3).get(LIMIT)


# --- the default pool, in processes of its own ------------------------------------------------------------


@pytest.mark.slow
def test_configure_is_ignored():
    """`configure` before the first use sets size, prefix and bound; later it resizes."""
    code = """
import threading, time
mp.configure(workers=3, max_pending=2, when_full="raise", thread_name_prefix="hands")
print(mp.statistics().workers)
name = mp.parallel(lambda: threading.current_thread().name)().get(60)
print(name.rpartition("-")[0])
mp.configure(workers=5)
print(mp.statistics().workers)
mp.configure(max_pending=2)
try:
    mp.configure(max_pending=3)
except RuntimeError as error:
    print("refused", "workers=" in str(error))
mp.configure(workers=1)
while mp.statistics().workers > 1:
    time.sleep(0.001)  # those that leave may take a task yet
go = threading.Event()
started = threading.Event()
first = mp.parallel(lambda: started.set() or go.wait(60))()
started.wait(60)
mp.parallel(int)(); mp.parallel(int)()
try:
    mp.parallel(int)()
except mp.PoolFullError as error:
    print("full", "max_pending=2" in str(error))
print(mp.get_active_task_count())
go.set()
print(mp.shutdown(60), mp.get_active_task_count())
"""
    assert ["3", "hands", "5", "refused", "True", "full", "True", "3", "True", "0"] == python(code)


@pytest.mark.slow
def test_environment_is_ignored():
    """`MAKEPARALLEL_WORKERS` sets the size; `configure` goes before it; `None` comes back to it."""
    code = """
print(mp.statistics().workers)
mp.configure(workers=2)
print(mp.statistics().workers)
mp.configure(workers=None)
print(mp.statistics().workers)
"""
    assert ["7", "2", "7"] == python(code, MAKEPARALLEL_WORKERS="7")
    assert ["5"] == python("mp.configure(workers=5); print(mp.statistics().workers)", MAKEPARALLEL_WORKERS="7")
    assert ["3"] == python("print(mp.Pool().statistics().workers)", MAKEPARALLEL_WORKERS="7", PYTHON_CPU_COUNT="3")
    default = python("print(mp.statistics().workers)", MAKEPARALLEL_WORKERS="")
    assert default == python("from makeparallel._cpus import usable_cpus; print(usable_cpus())")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "99999999", "1e3", "\u00b2"])
def test_bad_environment_is_ignored(text):
    """A wrong `MAKEPARALLEL_WORKERS` is an error at the first use, which names it and the value."""
    code = """
import os
try:
    mp.parallel(int)()
except ValueError as error:
    print("MAKEPARALLEL_WORKERS" in str(error), repr(os.environ["MAKEPARALLEL_WORKERS"]) in str(error))
"""
    assert ["True", "True"] == python(code, MAKEPARALLEL_WORKERS=text, PYTHONUTF8="1")


@pytest.mark.slow
def test_reset_revives_or_loses_the_pool():
    """After a shutdown submits are refused until `reset_shutdown`; then a new pool has the same options."""
    code = """
mp.configure(workers=3)
mp.reset_shutdown()
handle = mp.parallel(int)(7)
mp.reset_shutdown()
print(mp.shutdown(60), handle.get(), mp.shutdown())
for call in (lambda: mp.parallel(int)(), lambda: mp.parallel_map(int, [1])):
    try:
        call()
    except mp.PoolShutdownError as error:
        print("reset_shutdown" in str(error))
mp.reset_shutdown()
print(mp.parallel(int)(8).get(60), mp.statistics().submitted, mp.statistics().workers, mp.get_active_task_count())
"""
    assert ["True", "7", "True", "True", "True", "8", "1", "3", "0"] == python(code)


@pytest.mark.slow
def test_default_pool_starts_with_the_import():
    """Asking for counts or shutting down an unused default pool works, and starts no thread."""
    code = """
import threading
print(mp.get_active_task_count(), mp.statistics().submitted, threading.active_count(), mp.shutdown())
"""
    assert ["0", "0", "1", "True"] == python(code)


@pytest.mark.slow
@pytest.mark.proves("I1")
def test_exit_drops_tasks():
    """The interpreter's exit waits for what is pending and running, on the default and other pools."""
    code = """
import os, time
pool = mp.Pool(1)
for n in range(3):
    pool.submit(lambda: (time.sleep(0.01), os.write(1, b"own\\n")))
mp.configure(workers=1)
for n in range(3):
    mp.parallel(lambda: (time.sleep(0.01), os.write(1, b"default\\n")))()
"""
    assert ["default"] * 3 + ["own"] * 3 == sorted(python(code))


@pytest.mark.slow
def test_users_exit_handler_comes_too_late():
    """What the user registered with `atexit` runs before the library's: his shutdown still cancels."""
    code = """
import atexit, threading
go = threading.Event()
begun = threading.Event()
mp.configure(workers=1)
atexit.register(lambda: print(mp.shutdown(0.05, cancel_pending=True), pending.is_cancelled(), go.set()))
running = mp.parallel(lambda: (begun.set(), go.wait(60)))()
begun.wait(60)
pending = mp.parallel(print)("never")
"""
    assert ["False", "True", "None"] == python(code)


@pytest.mark.slow
def test_bad_configuration_is_taken():
    """A wrong argument of `configure` or `shutdown` is named with its value, and changes nothing."""
    code = """
import math
bad = [("workers", 0), ("workers", -1), ("workers", 10**6), ("workers", "2"), ("workers", 1.5), ("workers", True),
       ("max_pending", 0), ("max_pending", "2"), ("max_pending", False), ("when_full", "maybe"), ("when_full", None),
       ("thread_name_prefix", ""), ("thread_name_prefix", 3), ("thread_name_prefix", None)]
kinds = []
for name, value in bad:
    try:
        mp.configure(**{name: value})
    except (TypeError, ValueError) as error:
        assert name + "=" + repr(value) in str(error), error
        kinds.append(type(error).__name__[0])
print("".join(kinds))
for name, value in [("timeout_secs", -1), ("timeout_secs", math.nan), ("timeout_secs", "5"), ("cancel_pending", 1)]:
    try:
        mp.shutdown(**{name: value})
    except (TypeError, ValueError) as error:
        assert name + "=" + repr(value) in str(error), error
        kinds.append(type(error).__name__[0])
print(len(kinds), mp.parallel(int)(7).get(60))
"""
    assert ["VVVTTTVTTVTVTT", "18", "7"] == python(code)


@pytest.mark.slow
def test_fork_runs_the_parents_tasks():
    """A forked child has a fresh pool; the parent's queued tasks don't run in it, and its handles say so."""
    code = """
import os, threading, warnings
warnings.simplefilter("ignore")
mp.configure(workers=1)
begun, go = threading.Event(), threading.Event()
running = mp.parallel(lambda: (begun.set(), go.wait(60)))()
begun.wait(60)
queued = mp.parallel(lambda: print("ran", os.getpid() == parent, flush=True))()
parent = os.getpid()
child = os.fork()
if child == 0:
    print("child", mp.parallel(int)(7).get(60), mp.statistics().submitted, flush=True)
    try:
        queued.get(60)
    except RuntimeError as error:
        print("fork" in str(error), flush=True)
    os._exit(0)
os.waitpid(child, 0)
go.set()
queued.get(60)
"""
    assert ["child", "7", "1", "True", "ran", "True"] == python(code)


# --- bad input ------------------------------------------------------------------------------------------

BAD = [
    *[("workers", value, TypeError) for value in ("2", 1.5, True, [], b"2")],
    *[("workers", value, ValueError) for value in (0, -1, 10**6)],
    *[("name", value, TypeError) for value in (3, b"name", True)],
    *[("name", value, ValueError) for value in ("", "  ")],
    *[("max_pending", value, TypeError) for value in ("2", 1.5, True, [])],
    *[("max_pending", value, ValueError) for value in (0, -1)],
    *[("when_full", value, TypeError) for value in (None, 3, True, b"wait")],
    *[("when_full", value, ValueError) for value in ("", "WAIT", "maybe")],
    *[("thread_name_prefix", value, TypeError) for value in (3, b"x")],
    *[("thread_name_prefix", value, ValueError) for value in ("", " ")],
]


def short(value):
    return getattr(value, "__name__", repr(value))


@pytest.mark.parametrize(("name", "value", "kind"), BAD, ids=short)
def test_bad_pool_argument_is_taken(name, value, kind):
    """A wrong argument is named with its value."""
    with pytest.raises(kind, match=re.escape(f"{name}={value}" if type(value) is int else f"{name}={value!r}")):
        mp.Pool(**{name: value})


@pytest.mark.parametrize(("value", "kind"), [each[1:] for each in BAD if each[0] == "workers"], ids=short)
def test_bad_size_is_taken(pool, value, kind):
    """A wrong number of workers is named, and the pool keeps its size."""
    with pytest.raises(kind, match=re.escape(f"workers={value!r}")):
        pool.resize(value)
    assert 2 == pool.statistics().workers


@pytest.mark.parametrize("value", [3, None, "text", []], ids=repr)
def test_uncallable_is_submitted(pool, value):
    """What can't be called is named."""
    with pytest.raises(TypeError, match=re.escape(repr(value))):
        pool.submit(value)
    assert 0 == pool.statistics().submitted


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("timeout_secs", "5", TypeError), ("timeout_secs", True, TypeError), ("timeout_secs", -1, ValueError),
        ("timeout_secs", float("nan"), ValueError), ("cancel_pending", 1, TypeError),
        ("cancel_pending", None, TypeError),
    ],
    ids=short,
)  # fmt: skip
def test_bad_shutdown_shuts_down(pool, name, value, kind):
    """A wrong argument is named with its value, and the pool stays open."""
    with pytest.raises(kind, match=re.escape(f"{name}={value!r}")):
        pool.shutdown(**{name: value})
    assert 9 == pool.submit(square, 3).get(LIMIT)


def test_unknown_argument_is_ignored():
    """A misspelt option is an error."""
    with pytest.raises(TypeError, match="max_workers"):
        mp.Pool(max_workers=2)
    with pytest.raises(TypeError, match="time_out"):
        mp.Pool(1).parallel(square, time_out=2)
