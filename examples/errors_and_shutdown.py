"""What a task does when it fails, takes too long, is cancelled, or outlives the pool.

A timeout or a cancel finishes the handle at once, and whoever waits for it goes on. The body is interrupted, and
its clean-up runs. See docs/howto/stop-a-task.md for what can't be interrupted.
"""

import threading

import makeparallel as mp


@mp.parallel
def parse_port(text: str) -> int:
    """Fail for everything that is not a number."""
    return int(text)


@mp.parallel
def count_up(begun: threading.Event, left: threading.Event) -> None:
    """Work without an end."""
    number = 0
    try:
        begun.set()
        while True:
            number += 1
    finally:
        with mp.shield():  # nothing interrupts the clean-up
            left.set()


def show_failure() -> None:
    """An error arrives as a `TaskError`; its cause is the original one, with its own traceback."""
    print("\n1. A failing task")
    handle = parse_port("http")
    try:
        handle.get()
    except mp.TaskError as error:
        print(f"   {error.task_name} failed with {error.error_type}: {error.error_message}")
        print(f"   the cause is the original exception: {error.__cause__!r}")


def show_gather() -> None:
    """One failure among many need not cost the other results."""
    print("\n2. Failures among many tasks")
    results = mp.gather([parse_port(text) for text in ("80", "http", "443")], on_error="return")
    for result in results:
        print(f"   TaskError from {result.__cause__!r}" if isinstance(result, mp.TaskError) else f"   {result}")


def show_timeout() -> None:
    """A task that takes too long is a `TaskTimeoutError`, and a builtin `TimeoutError` too."""
    print("\n3. A timeout")
    begun, left = threading.Event(), threading.Event()
    handle = count_up.options(timeout=0.1)(begun, left)
    try:
        handle.get()
    except TimeoutError as error:
        print(f"   {type(error).__name__}; handle finished: {handle.is_ready()}")
    print(f"   the body was interrupted: {left.wait(10)}")


def show_cancel() -> None:
    """A cancelled task that has not begun never runs; one that runs is interrupted."""
    print("\n4. Cancelling")
    begun, left = threading.Event(), threading.Event()
    with mp.Pool(workers=1) as pool:
        running = count_up.options(pool=pool)(begun, left)
        pending = pool.submit(print, "   never printed")
        begun.wait(10)
        print(f"   the pending task is cancelled: {pending.cancel()}")
        print(f"   the running task is cancelled: {running.cancel()}; a second time: {running.cancel()}")
        print(f"   the error of both: {type(pending.exception()).__name__}, {type(running.exception()).__name__}")
    print(f"   the body was interrupted: {left.is_set()}")


def show_shutdown() -> None:
    """A shutdown waits for what runs, as long as it is told to; then it cancels the rest."""
    print("\n5. A shutdown with a time limit")
    begun, left = threading.Event(), threading.Event()
    handle = count_up(begun, left)
    begun.wait(10)
    print(f"   everything ended within 0.2 s: {mp.shutdown(timeout_secs=0.2)}")
    print(f"   the task that still ran is cancelled: {handle.is_cancelled()}; its body left: {left.wait(10)}")
    try:
        parse_port("8080")
    except mp.PoolShutdownError as error:
        print(f"   no new tasks: {error}")


show_failure()
show_gather()
show_timeout()
show_cancel()
show_shutdown()
