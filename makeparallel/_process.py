"""What there is once in a process: the supervisor, all schedulers, their reports, and the end.

Guarantees: an exit waits for every body that ends or can be interrupted, and for none that was abandoned (I8). If an
abandoned thread sits in C code that holds up the whole interpreter, a watchdog that needs no Python ends the process.
"""

import faulthandler  # now: at the end an abandoned thread may hold up every import
import sys

from ._config import INFINITY, PoolOptions
from ._core.entries import Failure
from ._core.scheduler import Scheduler
from ._cpus import usable_cpus
from ._errors import text_of
from ._gil import gil_reason, warn_if_gil
from ._imports import release_import_locks
from ._log import log_error, log_warning
from ._supervisor import Supervisor
from ._sync import can_interrupt

#: How long a worker looks around for work before it sleeps. With the GIL, or on one CPU, it would only be in
#: the way of who brings the work.
SPIN_SECS = 100e-6
#: At exit, with abandoned threads: seconds until they must let the interpreter stop, and until it must have ended.
STOP_SECS, END_SECS = 0.5, 30.0
#: At exit, a finished task's body is given up after so many seconds, whatever its pool was told.
EXIT_GRACE_SECS = 1.0

#: One per process; replaced in a forked child.
_supervisor = [Supervisor()]


def make_scheduler(name: str, options: PoolOptions) -> Scheduler:
    """Make the engine of a pool, with everything that it reports to; `adopt` it once somebody can end it."""
    workers = options.workers or usable_cpus()
    scheduler = Scheduler(name, options.thread_name_prefix, workers, options.max_pending, options.when_full)
    scheduler.hard_grace = INFINITY if options.hard_grace_secs is None else options.hard_grace_secs
    scheduler.max_abandoned = options.max_abandoned
    scheduler.on_unseen = _report_unseen
    scheduler.on_degraded = _report_degraded
    scheduler.on_abandoned = _report_abandoned
    scheduler.on_interrupted = release_import_locks
    scheduler.on_start = _prepare
    if gil_reason() is None and usable_cpus() > 1:
        scheduler.spin_secs = SPIN_SECS
    return scheduler


def adopt(scheduler: Scheduler) -> None:
    """Watch over a scheduler, before its first task: its deadlines, and the exit."""
    _supervisor[0].adopt(scheduler)


def _prepare() -> None:
    """Do what must be done before the first body runs."""
    # Loading ctypes stops all threads for a moment. With a body in attached C code that would take until it returns,
    # and it would be the first cancel, or Ctrl-C, that has to wait.
    can_interrupt()
    warn_if_gil()


def shut_down_all(timeout: float | None, cancel_pending: bool) -> None:
    """Shut every pool down, also those that were dropped and have not finished; for the exit handler."""
    for home in _supervisor[0].homes():
        home.hard_grace = min(home.hard_grace, EXIT_GRACE_SECS)  # I8: also where a pool never abandons
        home.alarm()
        home.drain.run(timeout, cancel_pending)


def forget_parent() -> None:
    """In a forked child: no thread of the parent is here, and its tasks are not ours."""
    for home in _supervisor[0].homes():
        home.forget_parent()
    _supervisor[0] = Supervisor()


def was_used() -> bool:
    """True if this process has ever made a pool."""
    return _supervisor[0].was_used


def stop_supervisor() -> None:
    """End the supervisor's thread; for the exit handler."""
    _supervisor[0].stop()


def make_sure_to_end() -> None:
    """Start a watchdog if threads are left behind; for the exit handler, after the last wait.

    A thread in C code that stays attached to the interpreter (`sum` over a long range, a backtracking `re`) holds
    up the interpreter's end, in which all threads must stop. If they don't stop now, the process ends with status 1.
    """
    if not any(worker.stack for home in _supervisor[0].homes() for worker in home.roster[:]):
        return
    flush_streams()
    start_watchdog(STOP_SECS)
    _stop_the_world()
    start_watchdog(END_SECS)


def start_watchdog(seconds: float) -> None:
    """End the process after so many seconds, with status 1 and the stacks of all threads, unless it ends before."""
    try:
        faulthandler.dump_traceback_later(seconds, exit=True)
    except (AttributeError, RuntimeError, ValueError, OSError):  # no standard error, or one that is no file
        faulthandler.dump_traceback_later(seconds, exit=True, file=open("/dev/null", "w"))  # noqa: SIM115  # until the end


def _stop_the_world() -> None:
    """Have all threads stop for a moment: on a free-threaded build, to change what is monitored does that."""
    monitoring = sys.monitoring
    for tool in range(6):
        if monitoring.get_tool(tool) is None:
            monitoring.use_tool_id(tool, "makeparallel at exit")
            monitoring.set_events(tool, monitoring.events.RERAISE)
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
            return


def flush_streams() -> None:
    """Write out what is buffered, as far as that is possible: the process may end without it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # a closed pipe must not turn the end into another error
            pass


def report_all_unseen() -> None:
    """Report the errors that nobody has looked at, of handles that are still held; for the exit handler.

    Later, when the interpreter takes the modules apart, they could not be reported any more.
    """
    import gc

    for failure in gc.get_objects():
        if type(failure) is Failure and not failure.seen:
            failure.seen = True
            _report_unseen(failure.name, failure.task_id, failure.error)


def _report_unseen(name: str, task_id: str, error: BaseException) -> None:
    log_error(
        "task %r (id %s) failed, and nobody looked at its error: %s: %s",
        name, task_id, type(error).__qualname__, text_of(error), error=error,
    )  # fmt: skip


def _report_abandoned(pool: str, name: str, task_id: str, clogged: bool) -> None:
    log_warning(
        "task %r (id %s) of pool %r has ended, but its body does not stop: it sits in code that can't be "
        "interrupted, or swallows the interrupt. Its thread is abandoned, and another one takes its place%s",
        name, task_id, pool, "; too many are abandoned now, so the pool takes no new tasks" if clogged else "",
    )  # fmt: skip


def _report_degraded(name: str, error: BaseException) -> None:
    log_warning(
        "pool %r could not start a worker thread (%s); its tasks run on the threads it has. "
        "Lower the number of workers, or raise the limit on threads or memory",
        name, error,
    )  # fmt: skip
