"""The default pool: started by its first use, stopped by the exit handler, fresh after a fork."""

import atexit
import os
import signal

from ._config import UNSET, PoolOptions, changed_options, environment_workers
from ._core.gate import masked
from ._core.idle import DRAINING
from ._pool import DefaultPool, Pool, after_fork_in_child
from ._process import (
    flush_streams,
    make_sure_to_end,
    report_all_unseen,
    shut_down_all,
    start_watchdog,
    stop_supervisor,
    was_used,
)
from ._sync import RLock, importing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._config import Unset
    from ._stats import Statistics

_lock = RLock()  # reentrant: a finalizer may submit while its thread makes the pool (I9)
_options = PoolOptions()
#: None until first use. Read without the lock: a stale None costs one turn through the lock (C3).
_pool: DefaultPool | None = None


def default_pool() -> Pool:
    """Return the default pool, made at the first call.

    Raises:
        ValueError: `MAKEPARALLEL_WORKERS` is set and is not a whole number above zero.
    """
    return _pool or masked(_make)


def _make() -> Pool:
    global _pool
    with _lock:
        if _pool is None:
            options = _options
            if options.workers is None:
                options = options._replace(workers=environment_workers())
            _pool = DefaultPool(options)
        return _pool


def configure(
    *,
    workers: "int | Unset | None" = UNSET,
    max_pending: "int | Unset | None" = UNSET,
    when_full: "str | Unset" = UNSET,
    thread_name_prefix: "str | Unset" = UNSET,
    hard_grace_secs: "float | Unset | None" = UNSET,
    max_abandoned: "int | Unset | None" = UNSET,
) -> None:
    """Set the default pool's options, before its first use; `workers` also later, to resize it.

    Args:
        workers: how many tasks may run at once; None for the CPUs this process may use.
        max_pending: how many tasks may wait; None for no limit.
        when_full: what a submit does at the limit: "wait", or "raise" a `PoolFullError`.
        thread_name_prefix: threads are named `<prefix>-<number>`.
        hard_grace_secs: a body that has not left so many seconds after it was interrupted is abandoned: another
            thread takes its place. None for never; 0.2 by default.
        max_abandoned: how many threads may be abandoned at once; then the pool takes no tasks before some
            return. None for 64 + 4 per worker.

    Raises:
        TypeError, ValueError: an argument is not what it should be.
        RuntimeError: another option than `workers` was given after the first use.

    Thread-safety: internally synchronized.
    """
    given = (max_pending, when_full, thread_name_prefix, hard_grace_secs, max_abandoned)
    masked(_configure, workers, *given)


def _configure(workers: "int | Unset | None", *given: "Any") -> None:
    global _options
    size = None
    with _lock:
        pool = _pool
        options = changed_options(_options, workers, *given)
        if _pool is not None:
            if options[1:] != _options[1:]:
                raise RuntimeError(
                    "configure() can only change workers= once the default pool is in use; "
                    "call it before the first task, or make a Pool with these options"
                )
            size = options.workers if options.workers is not None else environment_workers()
        _options = options
    if pool is not None and workers is not UNSET:
        pool.resize(size)  # I6: it may start threads, and log


def shutdown(timeout_secs: float | None = None, cancel_pending: bool = False) -> bool:
    """Shut the default pool down: see `Pool.shutdown`. True at once if it was never used.

    Later submits raise `PoolShutdownError`, until `reset_shutdown`.

    Raises:
        TypeError, ValueError: an argument is not what it should be, or `MAKEPARALLEL_WORKERS` isn't.

    Thread-safety: internally synchronized.
    """
    return default_pool().shutdown(timeout_secs, cancel_pending)


def reset_shutdown() -> None:
    """After a `shutdown`, let the next use start a new default pool; otherwise do nothing.

    Thread-safety: internally synchronized.
    """
    masked(_forget_pool)


def _forget_pool() -> None:
    global _pool
    with _lock:
        if _pool is not None and _pool._scheduler.state >= DRAINING:
            _pool = None


def statistics() -> "Statistics":
    """Return a frozen snapshot of the default pool's counts; the pool is made if there is none.

    Raises:
        ValueError: `MAKEPARALLEL_WORKERS` is set and is not a whole number above zero.

    Thread-safety: internally synchronized.
    """
    return default_pool().statistics()


def get_active_task_count() -> int:
    """Return how many tasks of the default pool run or wait to run.

    Thread-safety: internally synchronized.
    """
    pool = _pool
    return 0 if pool is None else pool.get_active_task_count()


def _at_exit() -> None:
    """Wait for all tasks of all pools, like the standard library; Ctrl-C ends the wait.

    Registered at import, so that what a user registers with `atexit` later runs before it.
    """
    try:
        shut_down_all(None, cancel_pending=False)
        make_sure_to_end()
        if was_used():
            report_all_unseen()
    except KeyboardInterrupt:
        # An exception here would be printed, and the process would end with status 0. End as Python
        # does on an unhandled KeyboardInterrupt: by the signal itself, so that a shell sees it.
        start_watchdog(2.0)  # a body in attached C code could hold this up as well
        shut_down_all(0.0, cancel_pending=True)
        _die_of_interrupt()
    finally:
        stop_supervisor()


def _die_of_interrupt() -> None:
    flush_streams()
    if hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(130)


def _after_fork() -> None:
    global _lock
    _lock = RLock()
    importing.release()
    after_fork_in_child()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=_after_fork)
