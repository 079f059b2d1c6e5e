"""Interpreter exit, Ctrl-C, fork and the GIL, each in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

#: Keeps coverage out of a process where C code stays attached: a thread that begins to be traced waits for all others.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}


def run(code: str, *options: str, timeout: float = 60, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that begins with the usual imports."""
    program = "import threading, time, os, sys, atexit, signal\nimport makeparallel as mp\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONWARNINGS": "ignore:makeparallel", **environment},
        check=False,
    )


@pytest.mark.proves("I1")
def test_exit_runs_what_is_pending() -> None:
    """A program that ends with queued tasks runs them all, as with the standard library."""
    result = run("""
        def work(n):
            time.sleep(0.002)
            os.write(1, f"{n}\\n".encode())
        pool = mp.Pool(1)
        for n in range(3):
            mp.parallel(work)(n)
            pool.submit(work, n + 10)
    """)
    assert ("", 0) == (result.stderr, result.returncode)
    assert ["0", "1", "10", "11", "12", "2"] == sorted(result.stdout.split())


@pytest.mark.proves("I1")
def test_exit_waits_for_the_tasks_of_a_dropped_pool() -> None:
    """A pool that nobody holds any more is waited for like the others."""
    result = run("""
        def work(n):
            time.sleep(0.05)
            os.write(1, f"{n}\\n".encode())
        for n in range(4):
            mp.Pool(1).submit(work, n)
    """)
    assert ("", 0) == (result.stderr, result.returncode)
    assert ["0", "1", "2", "3"] == sorted(result.stdout.split())


def test_users_exit_handler_runs_before_the_librarys() -> None:
    """An atexit handler that shuts down with a timeout decides how long the exit takes."""
    result = run("""
        started = threading.Event()
        def work():
            started.set()
            time.sleep(100)
        mp.parallel(work)()
        started.wait(30)
        atexit.register(lambda: print(mp.shutdown(timeout_secs=0.1, cancel_pending=True)))
    """)
    assert ("False\n", "", 0) == (result.stdout, result.stderr, result.returncode)


@pytest.mark.proves("I8")
def test_body_that_never_returns_does_not_hold_up_the_exit_after_a_bounded_shutdown() -> None:
    """The exit does not wait for a thread that shutdown gave up on."""
    result = run("""
        started = threading.Event()
        def forever():
            started.set()
            threading.Event().wait()
        handle = mp.parallel(forever)()
        started.wait(30)
        print(mp.shutdown(timeout_secs=0.05), handle.is_cancelled())
    """)
    assert ("False True\n", "", 0) == (result.stdout, result.stderr, result.returncode)


def test_ctrl_c_during_the_wait_at_exit_ends_it_by_the_signal() -> None:
    """Ctrl-C at exit prints no traceback, and the process ends as if killed by SIGINT."""
    result = run("""
        def forever():
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait()
        print("bye", flush=False)
        handle = mp.parallel(forever)()
    """)
    assert ("bye\n", "", -signal.SIGINT) == (result.stdout, result.stderr, result.returncode)


def test_ctrl_c_during_get_leaves_a_usable_pool() -> None:
    """KeyboardInterrupt comes out of `get`, the task goes on, and the pool works."""
    result = run("""
        release = threading.Event()
        go = threading.Event()
        def hold():
            go.wait(30)
            time.sleep(0.3)  # the main thread is in its wait by now; a signal on the way there would wait too
            os.kill(os.getpid(), signal.SIGINT)
            release.wait(30)
            return "held"
        handle = mp.parallel(hold)()
        try:
            go.set()
            handle.get()
        except KeyboardInterrupt:
            print("interrupted")
        release.set()
        print(handle.get(30), mp.parallel(abs)(-3).get(30))
    """)
    assert ("interrupted\nheld 3\n", "", 0) == (result.stdout, result.stderr, result.returncode)


def test_exit_with_handles_that_never_finish_is_clean() -> None:
    """Many pools, busy threads, dropped handles and failed tasks: no hang, no crash."""
    code = """
        def chatter():
            for _ in range(20):
                print("x", end="", file=sys.stderr)
        def fail():
            raise ValueError("seen")
        pools = [mp.Pool(2) for _ in range(3)]
        for pool in pools:
            for _ in range(10):
                pool.submit(chatter)
            assert pool.submit(fail).exception() is not None
        del pools
    """
    for _ in range(5):
        result = run(code)
        assert (600, "", 0) == (len(result.stderr), result.stdout, result.returncode)


def test_error_nobody_looked_at_is_reported_at_exit() -> None:
    """An error in a task whose handle was dropped at once is on stderr when the program has ended."""
    result = run("""
        def fail():
            raise ValueError("lost in the woods")
        mp.parallel(fail)()
    """)
    assert 1 == result.stderr.count("nobody looked at its error: ValueError: lost in the woods\nTraceback")
    assert "in fail" in result.stderr
    assert 0 == result.returncode


def test_shutdown_and_reset_of_the_default_pool() -> None:
    """After a shutdown the default pool refuses with the remedy; reset_shutdown gives a working one."""
    result = run("""
        print(mp.parallel(abs)(-1).get(), mp.shutdown(), mp.shutdown(cancel_pending=True))
        try:
            mp.parallel(abs)(-1)
        except mp.PoolShutdownError as error:
            print(error)
        mp.reset_shutdown()
        mp.reset_shutdown()
        print(mp.parallel(abs)(-2).get(), mp.get_active_task_count(), mp.statistics().submitted)
    """)
    assert ("", 0) == (result.stderr, result.returncode)
    first, second, third = result.stdout.splitlines()
    assert ("1 True True", "2 0 1") == (first, third)
    assert "'default'" in second
    assert "reset_shutdown()" in second


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_of_a_fork_has_a_fresh_pool_and_runs_none_of_the_parents_tasks() -> None:
    """In the child the parent's handles say so, and new tasks run."""
    result = run(
        """
        release = threading.Event()
        ran = []
        def hold():
            release.wait(30)
            ran.append(os.getpid())
        mp.configure(workers=1)
        parents = [mp.parallel(hold)() for _ in range(3)]
        pid = os.fork()
        if pid == 0:
            try:
                parents[0].get(5)
            except RuntimeError as error:
                print("parent process" in str(error), flush=True)
            print(mp.parallel(abs)(-7).get(10), mp.statistics().submitted, flush=True)
            print(mp.shutdown(10), ran, flush=True)  # and not release.set(): its lock may be held by a thread not here
            os._exit(0)
        os.waitpid(pid, 0)
        release.set()
        mp.gather(parents)
        print(len(ran), set(ran) == {os.getpid()})
        """,
        "-W",
        "ignore::DeprecationWarning",
        COVERAGE_PROCESS_CONFIG="",  # coverage's own thread-local state does not survive the fork
    )
    assert ("True\n7 1\nTrue []\n3 True\n", "", 0) == (result.stdout, result.stderr, result.returncode)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_inside_a_task_retires_the_childs_worker() -> None:
    """The child goes on in the body; what was queued in the parent runs there only."""
    result = run(
        """
        write = mp.parallel(lambda: os.write(out, b"x"))
        def split():
            own = [write() for _ in range(3)]  # in the deque of this worker's seat
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            else:
                atexit.register(time.sleep, 0.2)  # the child's worker has time to run what it should not
            return own
        mp.configure(workers=1)
        out = os.dup(1)
        handle = mp.parallel(split)()
        others = [write() for _ in range(3)]  # in the injector
        mp.gather(handle.get(30) + others)
        """,
        "-W",
        "ignore::DeprecationWarning",
        COVERAGE_PROCESS_CONFIG="",  # coverage's own thread-local state does not survive the fork
    )
    assert ("xxxxxx", "", 0) == (result.stdout, result.stderr, result.returncode)


@pytest.mark.proves("I2")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_of_an_item_goes_on_with_the_map() -> None:
    """A child that an item forks runs no other block: each item is run once, in the parent."""
    result = run(
        """
        def body(x):
            os.write(out, b"x")
            if x == 1:
                pid = os.fork()
                if pid:
                    os.waitpid(pid, 0)
                else:
                    atexit.register(time.sleep, 0.2)  # the child's worker has time to run what it should not
        out = os.dup(1)
        with mp.Pool(1) as pool:
            pool.map(body, range(4), chunksize=1)
        """,
        "-W",
        "ignore::DeprecationWarning",
        COVERAGE_PROCESS_CONFIG="",  # coverage's own thread-local state does not survive the fork
    )
    assert ("xxxx", "", 0) == (result.stdout, result.stderr, result.returncode)


@pytest.mark.proves("I4")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_cancel_in_a_forked_child_interrupts_a_thread_that_is_not_here() -> None:
    """The parent's tasks can be cancelled in the child; nobody goes after their threads: others may have the idents."""
    result = run(
        """
        go, began = threading.Event(), threading.Event()
        handle = mp.Pool(1).submit(lambda: (began.set(), go.wait(30)))
        began.wait(30)
        pid = os.fork()
        if not pid:
            print(handle.cancel(), handle.is_cancelled(), [thread.name for thread in threading.enumerate()], flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        go.set()
        print(handle.get(30)[1])
        """,
        "-W",
        "ignore::DeprecationWarning",
        COVERAGE_PROCESS_CONFIG="",  # coverage's own thread-local state does not survive the fork
    )
    assert ("True True ['MainThread']\nTrue\n", "", 0) == (result.stdout, result.stderr, result.returncode)


def test_warning_names_the_reason_and_the_users_line_when_the_gil_is_on() -> None:
    """With the GIL on everything works, with one RuntimeWarning."""
    result = run(
        """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(mp.parallel(abs)(-1).get(), mp.Pool(1).submit(abs, -2).get())
        mine = [w for w in caught if issubclass(w.category, RuntimeWarning)]
        print(len(mine), mine[0].filename, str(mine[0].message))
        """,
        PYTHON_GIL="1",
        PYTHONWARNINGS="",
    )
    assert ("", 0) == (result.stderr, result.returncode)
    results, warning = result.stdout.splitlines()
    assert "1 2" == results
    assert warning.startswith("1 <string> makeparallel: tasks will not run in parallel: ")
    assert "PYTHON_GIL=1" in warning or "built with the GIL" in warning


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled(), reason="needs the GIL to be off")
def test_warning_names_the_extension_that_switched_the_gil_on() -> None:
    """When an import switched the GIL on, the warning lists the extension modules that may have done it."""
    result = run("""
        import warnings, psutil
        sys._is_gil_enabled = lambda: True  # as after importing an extension without support
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mp.parallel(abs)(-1).get()
        print(caught[0].message)
    """)
    assert ("", 0) == (result.stderr, result.returncode)
    assert "psutil._psutil" in result.stdout
    assert "PYTHON_GIL=0" in result.stdout
    assert "_struct" not in result.stdout  # what comes with Python is not to blame


@pytest.mark.proves("I1")
def test_threads_that_cannot_start_cost_no_task() -> None:
    """With no thread to be had, the submitting thread does the work, and a warning says so."""
    result = run("""
        import makeparallel._core.staff as staff
        real = staff.new_thread
        class refuse(threading.Thread):
            def __init__(self, *args):
                super().__init__()
            def start(self):
                raise RuntimeError("can't start new thread")
        staff.new_thread = refuse
        pool = mp.Pool(3)
        print(mp.gather([pool.submit(pow, n, 2) for n in range(5)]))
        def nested():
            return pool.submit(abs, -9).get()
        print(pool.submit(nested).get(30))
        staff.new_thread = real
        print(pool.submit(threading.current_thread).get(30).name)
        staff.new_thread = refuse
        print(mp.gather([pool.submit(pow, n, 2) for n in range(5)]), pool.shutdown(10))
        pool._check()
    """)
    assert 0 == result.returncode, result.stderr
    assert ["[0, 1, 4, 9, 16]", "9", "[0, 1, 4, 9, 16] True"] == [
        line for line in result.stdout.splitlines() if not line.startswith("pool-")
    ]
    assert "could not start a worker thread" in result.stderr


@pytest.mark.proves("I7")
def test_idle_pool_uses_no_cpu() -> None:
    """A second of idleness costs no CPU time and no voluntary context switch of any worker."""
    result = run("""
        import resource
        mp.gather([mp.parallel(abs)(-n) for n in range(100)])
        mp.parallel(timeout=100)(abs)(-1).get()
        time.sleep(0.3)
        before = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(1)
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.02,
              after.ru_nvcsw - before.ru_nvcsw <= 3)
    """)
    assert ("True True\n", 0) == (result.stdout, result.returncode), result.stderr


@pytest.mark.proves("I8")
@pytest.mark.parametrize("how", ["timeout=0.05", "name='cancelled'"])
def test_body_in_detached_c_code_holds_up_the_exit(how: str) -> None:
    """A timed-out or cancelled body that sleeps in C is abandoned, and a plain exit does not wait for it."""
    result = run(f"""
        started = threading.Event()
        def work():
            started.set()
            time.sleep(1000)
        handle = mp.parallel({how})(work)()
        started.wait(30)
        if handle.get_timeout() is None:
            handle.cancel()
        print(type(handle.exception()).__name__, flush=True)
        began = time.monotonic()
        atexit.register(lambda: print(time.monotonic() - began < 20))  # runs first, but shows that we came here
    """)
    assert 0 == result.returncode, result.stderr
    assert ["TaskTimeoutError" if "timeout" in how else "TaskCancelledError", "True"] == result.stdout.split()


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="with the GIL, C code that keeps it stops everybody at once"
)
@pytest.mark.proves("I8")
def test_body_in_attached_c_code_holds_up_the_exit() -> None:
    """Attached C code stops the interpreter's end; a watchdog ends the process, with status 1."""
    result = run("""
        import gc
        gc.disable()  # a collection would have to wait for that body, and so would everybody
        handle = mp.parallel(timeout=0.05)(lambda: sum(range(10**13)))()
        print(type(handle.exception()).__name__)
    """, **UNMEASURED)  # fmt: skip
    assert ("TaskTimeoutError\n", 1) == (result.stdout, result.returncode)
    assert "Timeout (0:00:00.5" in result.stderr
    assert "in <lambda>" in result.stderr


@pytest.mark.proves("I8")
def test_body_that_swallows_everything_holds_up_the_exit() -> None:
    """A body that ignores every interrupt is abandoned; the exit does not wait for it."""
    result = run("""
        started = threading.Event()
        def work():
            started.set()
            while True:
                try:
                    while True:
                        pass
                except BaseException:
                    pass
        handle = mp.parallel(work)()
        started.wait(30)
        handle.cancel()
    """)
    assert 0 == result.returncode, result.stderr
    assert "is abandoned" in result.stderr


def test_exit_does_not_wait_for_a_shielded_body() -> None:
    """What a body does in a shield, or with `interrupt=False`, is waited for, though its task was cancelled."""
    result = run("""
        started = [threading.Event(), threading.Event()]
        def shielded():
            with mp.shield():
                started[0].set()
                time.sleep(0.4)
                print("shielded", flush=True)
        def cooperative():
            started[1].set()
            time.sleep(0.5)
            print("cooperative", flush=True)
        handles = [mp.parallel(shielded)(), mp.parallel(interrupt=False)(cooperative)()]
        for event in started:
            event.wait(30)
        for handle in handles:
            handle.cancel()
    """)
    assert (0, "") == (result.returncode, result.stderr)
    assert ["cooperative", "shielded"] == sorted(result.stdout.split())


@pytest.mark.proves("I1")
def test_shutdown_that_gave_up_leaves_bodies_running_at_exit() -> None:
    """Bodies that a bounded shutdown left behind are interrupted, and their clean-up runs before the exit."""
    result = run("""
        started = threading.Event()
        def work():
            started.set()
            try:
                while True:
                    pass
            finally:
                os.write(1, b"cleaned up\\n")
        handle = mp.parallel(work)()
        started.wait(30)
        began = time.monotonic()
        os.write(1, f"{mp.shutdown(timeout_secs=0.05)} {time.monotonic() - began < 5}\\n".encode())
    """)
    assert (0, "") == (result.returncode, result.stderr)
    assert {"False True", "cleaned up"} == set(result.stdout.splitlines())


def test_fork_inside_an_interrupted_body_inherits_the_interrupts() -> None:
    """The child of a fork in a body that is cancelled goes on, ends, and has a pool of its own."""
    result = run("""
        started = threading.Event()
        def work():
            started.set()
            with mp.shield():
                time.sleep(0.1)
                child = os.fork()
                if child == 0:
                    code = 7 if mp.parallel(abs)(-7).get(30) == 7 else 1
                    os._exit(code)
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        codes = []
        handle = mp.parallel(work)()
        started.wait(30)
        handle.cancel()
        while handle.is_running():
            time.sleep(0.001)
        print(codes)
    """, "-W", "ignore::DeprecationWarning")  # fmt: skip
    assert ("[7]\n", 0) == (result.stdout, result.returncode), result.stderr


@pytest.mark.proves("I8")
@pytest.mark.parametrize("option", ["max_abandoned=1", "hard_grace_secs=None"])
def test_pool_that_abandons_no_more_holds_up_the_exit(option: str) -> None:
    """At exit finished bodies are given up, whatever the pool's own limits say."""
    result = run(f"""
        pool = mp.Pool(3, {option})
        begun = threading.Barrier(4)
        def work():
            begun.wait()
            with mp.shield():
                pass
            time.sleep(1000)
        handles = [pool.submit(work) for _ in range(3)]
        begun.wait()
        time.sleep(0.1)  # until they sleep
        print([handle.cancel() for handle in handles])
    """, timeout=30)  # fmt: skip
    assert ("[True, True, True]\n", 0) == (result.stdout, result.returncode), result.stderr


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(), reason="with the GIL, C code that keeps it stops everybody at once"
)
@pytest.mark.proves("I8")
@pytest.mark.parametrize("call", ["handle.cancel()", "mp.shutdown(0.05)"])
def test_first_cancel_waits_for_attached_c_code(call: str) -> None:
    """What a cancel needs is loaded before the first body runs: loading it would have to wait for all threads."""
    result = run(f"""
        import gc
        gc.disable()
        started = threading.Event()
        def work():
            started.set()
            sum(range(10**13))
        handle = mp.parallel(work)()
        started.wait(30)
        time.sleep(0.05)  # until it is in C code
        began = time.monotonic()
        {call}
        print(time.monotonic() - began < 10, handle.is_cancelled(), flush=True)
    """, timeout=30, **UNMEASURED)  # fmt: skip
    assert ("True True\n", 1) == (result.stdout, result.returncode), result.stderr
