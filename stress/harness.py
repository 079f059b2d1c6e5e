"""What stress programs share: a check, jitter in every thread, and a watchdog for hangs."""

import argparse
import atexit
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import makeparallel

PACKAGE = os.path.dirname(makeparallel.__file__)


def check(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def poll(what: str, ask: Callable[[], object], seconds: float = 10.0) -> None:
    """Ask until it holds, for some seconds: threads may be on their way to rest.

    Raises:
        AssertionError: it still does not hold.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            ask()
            return
        except AssertionError as error:
            if time.monotonic() > until:
                raise AssertionError(f"{what}: {str(error).splitlines()[0]}") from None
        time.sleep(0.001)


def read_options(description: str | None, **switches: str) -> argparse.Namespace:
    """Read the command line; `switches` are options of one program: name and help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--workers", type=int, default=4, help="the largest pool")
    parser.add_argument("--rounds", type=int, help="stop after so many, to repeat a failure")
    parser.add_argument("--jitter", type=float, default=0.0, help="fraction of lines at which a thread sleeps")
    parser.add_argument("--hang", type=float, default=60.0, help="seconds after which a round counts as hung")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def jitter(fraction: float) -> None:
    """Sleep a moment at a fraction of the library's lines, in every thread, until the process exits."""
    if not fraction:
        return
    rng = Random(0)

    def on_line(code: Any, line: int) -> object:
        # Not where the gate is closed: the callback is a place for interrupts, in code that must have none.
        if not code.co_filename.startswith(PACKAGE) or code.co_filename.endswith("gate.py"):
            return sys.monitoring.DISABLE
        if rng.random() < fraction:
            time.sleep(rng.random() * 0.002)
        return None

    sys.monitoring.use_tool_id(5, "stress-jitter")
    sys.monitoring.register_callback(5, sys.monitoring.events.LINE, on_line)
    sys.monitoring.set_events(5, sys.monitoring.events.LINE)
    atexit.register(sys.monitoring.set_events, 5, 0)


@contextmanager
def watchdog(seconds: float, describe: Callable[[], str]) -> Iterator[None]:
    """End the process if the block takes longer, with `describe()` and the stacks of all threads."""
    timer = threading.Timer(seconds, _report_hang, (describe,))
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + 30, exit=True)  # where not even that thread can run
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


def _report_hang(describe: Callable[[], str]) -> None:
    print(f"HANG in {describe()}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(2)
