"""`Pool`: the composition root, where a scheduler meets its services and its user.

Guarantees: every argument is checked before anything starts. A pool that is dropped without `shutdown`
finishes its tasks and then ends its threads.
"""

from contextvars import copy_context
from weakref import WeakSet

from ._config import UNSET, PoolOptions, check_choice, check_name, check_pending, check_seconds, check_workers
from ._core.entries import Failure
from ._core.idle import FORKED
from ._core.scheduler import Scheduler
from ._core.worker import forget_other_threads
from ._cpus import usable_cpus
from ._errors import later, text_of
from ._functions import Decorated, check_function, function_name, unwrap
from ._gil import gil_reason, warn_if_gil
from ._handle import AsyncHandle, reset_lock
from ._log import log_error, log_warning
from ._stats import Statistics, take_statistics
from ._supervisor import Supervisor
from ._sync import RLock, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Self, overload

    from ._config import Unset
    from ._decorator import Decorator, ParallelFunction

#: How long a worker looks around for work before it sleeps. With the GIL, or on one CPU, it would only be in
#: the way of who brings the work.
SPIN_SECS = 100e-6

_names = count(1)
_live_lock = RLock()
#: Every pool that somebody holds, to give it a fresh scheduler after a fork.
_live: "WeakSet[Pool]" = WeakSet()
#: One per process; replaced in a forked child.
_supervisor = [Supervisor()]


class Pool:
    """A pool of worker threads of its own, beside the default one.

    Args:
        workers: how many tasks may run at once; None for the CPUs this process may use.
        name: for errors, logs and thread names.
        max_pending: how many tasks may wait; None for no limit. Tasks submitted by tasks of this pool are
            exempt.
        when_full: what a submit does at the limit: "wait", or "raise" a `PoolFullError`.
        thread_name_prefix: threads are named `<prefix>-<number>`; the pool's name by default.

    Raises:
        TypeError, ValueError: an argument is not what it should be; the message says what to do.

    Example:
        >>> import makeparallel as mp
        >>> with mp.Pool(2, name="loaders") as pool:
        ...     pool.submit(pow, 2, 10).get()
        1024

    Thread-safety: internally synchronized.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        name: str | None = None,
        max_pending: int | None = None,
        when_full: str = "wait",
        thread_name_prefix: str | None = None,
    ) -> None:
        own_name = f"pool-{next(_names)}" if name is None else check_name(name)
        prefix = own_name if thread_name_prefix is None else check_name(thread_name_prefix, "thread_name_prefix")
        self._setup(own_name, check_pool_options(workers, max_pending, when_full, prefix))

    def _setup(self, name: str, options: PoolOptions) -> None:
        self._name = name
        self._options = options
        self._scheduler = self._make_scheduler()
        with _live_lock:
            _live.add(self)

    def _make_scheduler(self) -> Scheduler:
        options = self._options
        scheduler = Scheduler(
            self._name,
            options.thread_name_prefix,
            options.workers or usable_cpus(),
            options.max_pending,
            options.when_full,
        )
        scheduler.on_unseen = _report_unseen
        scheduler.on_degraded = _report_degraded
        scheduler.on_start = warn_if_gil
        if gil_reason() is None and usable_cpus() > 1:
            scheduler.spin_secs = SPIN_SECS
        _supervisor[0].adopt(scheduler)
        return scheduler

    # --- submitting ------------------------------------------------------------------------------

    def submit[**P, R](self, fn: "Callable[P, R]", /, *args: "P.args", **kwargs: "P.kwargs") -> AsyncHandle[R]:
        """Run `fn(*args, **kwargs)` as a task; return its handle at once.

        All keywords go to the function; for a task with a timeout, use `pool.parallel(timeout=…)`. A decorated
        function keeps its name and timeout.

        Raises:
            TypeError: `fn` is not callable, or is a coroutine or generator function.
            PoolShutdownError: the pool was shut down.
            PoolFullError: the pool is full, and was told not to wait.
        """
        name, timeout = function_name(fn), None
        if isinstance(fn, Decorated):
            name, timeout = fn._label, fn._timeout
        else:
            check_function(fn, "submit")
        handle = AsyncHandle.make(copy_context(), unwrap(fn), args, kwargs, name, timeout)
        return self._scheduler.submit(handle)  # type: ignore[return-value]

    if TYPE_CHECKING:

        @overload
        def parallel[**P, R](self, func: "Callable[P, R]", /) -> "ParallelFunction[P, R]": ...
        @overload
        def parallel(
            self,
            func: None = None,
            /,
            *,
            name: str | None = None,
            timeout: float | None = None,
            interrupt: bool = True,
            max_memory_mb: float | None = None,
            max_cpu_time_secs: float | None = None,
        ) -> "Decorator": ...

    def parallel(self, func: "Any" = None, /, **options: "Any") -> "Any":
        """Decorate a function so that a call runs as a task on this pool: see `makeparallel.parallel`."""
        from ._decorator import parallel

        if "pool" in options:
            raise TypeError("Pool.parallel() takes no pool=: the pool is this one")
        return parallel(func, pool=self, **options)

    def map(
        self,
        func: "Callable[..., Any]",
        *iterables: "Iterable[Any]",
        chunksize: int | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> "list[Any]":
        """Run `makeparallel.parallel_map` on this pool."""
        from ._map import parallel_map

        return parallel_map(func, *iterables, chunksize=chunksize, timeout=timeout, progress=progress, pool=self)

    def imap(self, func: "Callable[..., Any]", *iterables: "Iterable[Any]", **options: "Any") -> "Any":
        """Not available yet."""
        raise later("Pool.imap")

    # --- the pool itself -------------------------------------------------------------------------

    def shutdown(self, timeout_secs: float | None = None, cancel_pending: bool = False) -> bool:
        """Refuse new tasks and wait for the others; True if every body ended in time.

        Args:
            timeout_secs: seconds to wait; then the rest is cancelled, and the call returns False. None
                for no limit.
            cancel_pending: cancel what has not begun, instead of running it.

        May be called again, from several threads at once, from `atexit`, and from a task of the pool, which
        it does not wait for. After a call that gave up, one without a time limit waits no more.

        Raises:
            ValueError, TypeError: `timeout_secs` is negative or no number of seconds.
        """
        seconds = check_seconds(timeout_secs, "timeout_secs")
        if not isinstance(cancel_pending, bool):
            raise TypeError(f"cancel_pending={cancel_pending!r}: must be True or False")
        scheduler = self._scheduler
        if scheduler.state == FORKED:
            return True
        return scheduler.drain.run(seconds, cancel_pending)

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of the pool's counts."""
        return take_statistics(self._scheduler)

    def resize(self, workers: int | None) -> None:
        """Change how many tasks may run at once; None for the CPUs this process may use.

        A pool that shrinks lets running tasks end; what is queued goes to the remaining workers.

        Raises:
            TypeError, ValueError: `workers` is not a whole number above zero, or too large.
        """
        self._options = self._options._replace(workers=check_workers(workers))
        self._scheduler.resize(self._options.workers or usable_cpus())

    def get_active_task_count(self) -> int:
        """Return how many tasks of this pool run or wait to run."""
        return self._scheduler.active_count()

    def _check(self) -> None:
        """Assert the invariants of a pool at rest; the error shows its state."""
        from ._diagnosis import check_at_rest

        check_at_rest(self._scheduler)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Shut down; pending tasks are cancelled if the block is left by an exception."""
        self.shutdown(cancel_pending=error is not None)

    def __del__(self) -> None:
        scheduler = getattr(self, "_scheduler", None)
        if scheduler is not None and not scheduler.state:  # at interpreter exit it has been shut down
            scheduler.drain.begin()

    def __repr__(self) -> str:
        state = ("open", "draining", "closing", "stopped", "of the parent process")[self._scheduler.state]
        return f"<Pool {self._name!r} workers={len(self._scheduler.seats)} {state}>"


class DefaultPool(Pool):
    """The pool that starts itself; its options come from `configure` and the environment."""

    def __init__(self, options: PoolOptions) -> None:
        self._setup("default", options)


def check_pool_options(workers: object, max_pending: object, when_full: object, prefix: str) -> PoolOptions:
    """Check the options that `Pool` and `configure` share."""
    return PoolOptions(
        check_workers(workers),
        check_pending(max_pending),
        check_choice(when_full, "when_full", ("wait", "raise")),
        prefix,
    )


def changed_options(
    options: PoolOptions,
    workers: "int | Unset | None",
    max_pending: "int | Unset | None",
    when_full: "str | Unset",
    prefix: "str | Unset",
) -> PoolOptions:
    """Options with those replaced that were given."""
    return check_pool_options(
        options.workers if workers is UNSET else workers,
        options.max_pending if max_pending is UNSET else max_pending,
        options.when_full if when_full is UNSET else when_full,
        options.thread_name_prefix if prefix is UNSET else check_name(prefix, "thread_name_prefix"),
    )


def shut_down_all(timeout: float | None, cancel_pending: bool) -> None:
    """Shut every pool down, also those that were dropped and have not finished; for the exit handler."""
    for home in _supervisor[0].homes():
        home.drain.run(timeout, cancel_pending)


def report_all_unseen() -> None:
    """Report the errors that nobody has looked at, of handles that are still held; for the exit handler.

    Later, when the interpreter takes the modules apart, they could not be reported any more.
    """
    import gc

    for failure in gc.get_objects():
        if type(failure) is Failure and not failure.seen:
            failure.seen = True
            _report_unseen(failure.name, failure.task_id, failure.error)


def was_used() -> bool:
    """True if this process has ever made a pool."""
    return _supervisor[0].was_used


def stop_supervisor() -> None:
    """End the supervisor's thread; for the exit handler."""
    _supervisor[0].stop()


def after_fork_in_child() -> None:
    """Give every pool a fresh scheduler: threads don't survive a fork, and the parent's tasks aren't ours."""
    global _live_lock
    _live_lock = RLock()
    forget_other_threads()
    reset_lock()
    for home in _supervisor[0].homes():
        home.forget_parent()
    _supervisor[0] = Supervisor()
    for pool in list(_live):
        if pool._scheduler.state == FORKED:  # else it was shut down, and stays so
            pool._scheduler = pool._make_scheduler()


def _report_unseen(name: str, task_id: str, error: BaseException) -> None:
    log_error(
        "task %r (id %s) failed, and nobody looked at its error: %s: %s",
        name, task_id, type(error).__qualname__, text_of(error), error=error,
    )  # fmt: skip


def _report_degraded(name: str, error: BaseException) -> None:
    log_warning(
        "pool %r could not start a worker thread (%s); its tasks run on the threads it has. "
        "Lower the number of workers, or raise the limit on threads or memory",
        name, error,
    )  # fmt: skip
