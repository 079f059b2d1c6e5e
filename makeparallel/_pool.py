"""`Pool`: the composition root, where a scheduler meets its services and its user.

Guarantees: every argument is checked before anything starts. A pool that is dropped without `shutdown`
finishes its tasks and then ends its threads.
"""

from contextvars import copy_context
from weakref import WeakSet

from ._config import HARD_GRACE_SECS, PoolOptions, check_name, check_pool_options, check_seconds, check_workers
from ._core.gate import masked
from ._core.idle import DRAINING, FORKED
from ._core.worker import forget_other_threads
from ._cpus import usable_cpus
from ._functions import Decorated, check_function, function_name, unwrap
from ._handle import AsyncHandle, reset_lock
from ._process import adopt, forget_parent, make_scheduler
from ._stats import Statistics, take_statistics
from ._sync import RLock, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Self, overload

    from ._decorator import Decorator, ParallelFunction

_names = count(1)
_live_lock = RLock()
#: Every pool that somebody holds, to give it a fresh scheduler after a fork.
_live: "WeakSet[Pool]" = WeakSet()


class Pool:
    """A pool of worker threads of its own, beside the default one.

    Args:
        workers: how many tasks may run at once; None for the CPUs this process may use.
        name: for errors, logs and thread names.
        max_pending: how many tasks may wait; None for no limit. Tasks submitted by tasks of this pool are
            exempt.
        when_full: what a submit does at the limit: "wait", or "raise" a `PoolFullError`.
        thread_name_prefix: threads are named `<prefix>-<number>`; the pool's name by default.
        hard_grace_secs: a body that has not left so many seconds after it was interrupted is abandoned: another
            thread takes its place. None for never.
        max_abandoned: how many threads may be abandoned at once; then the pool takes no tasks before some
            return. None for 64 + 4 per worker.

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
        hard_grace_secs: float | None = HARD_GRACE_SECS,
        max_abandoned: int | None = None,
    ) -> None:
        own_name = f"pool-{next(_names)}" if name is None else check_name(name)
        prefix = own_name if thread_name_prefix is None else check_name(thread_name_prefix, "thread_name_prefix")
        options = check_pool_options(workers, max_pending, when_full, prefix, hard_grace_secs, max_abandoned)
        masked(self._setup, own_name, options)

    def _setup(self, name: str, options: PoolOptions) -> None:
        self._name = name
        self._options = options
        # First ours, then the process's: after a break in between, `__del__` ends it.
        self._scheduler = make_scheduler(name, options)
        adopt(self._scheduler)
        with _live_lock:
            _live.add(self)

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
        name, timeout, interrupt = function_name(fn), None, True
        if isinstance(fn, Decorated):
            name, timeout, interrupt = fn._label, fn._timeout, fn._interrupt
        else:
            check_function(fn, "submit")
        handle = AsyncHandle.make(copy_context(), unwrap(fn), args, kwargs, name, timeout, interrupt)
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

    def imap(
        self,
        func: "Callable[..., Any]",
        *iterables: "Iterable[Any]",
        ordered: bool = True,
        buffersize: int | None = None,
        progress: bool = False,
    ) -> "Iterator[Any]":
        """Run `makeparallel.parallel_imap` on this pool."""
        from ._imap import parallel_imap

        return parallel_imap(func, *iterables, ordered=ordered, buffersize=buffersize, progress=progress, pool=self)

    # --- the pool itself -------------------------------------------------------------------------

    def shutdown(self, timeout_secs: float | None = None, cancel_pending: bool = False) -> bool:
        """Refuse new tasks and wait for the others; True if every body ended in time.

        An abandoned body is not waited for; with one, the call returns False.

        Args:
            timeout_secs: seconds to wait; then the rest is cancelled and its bodies are interrupted, and the
                call returns False without waiting for that. None for no limit.
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
        return masked(scheduler.drain.run, seconds, cancel_pending)

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
        masked(self._scheduler.resize, self._options.workers or usable_cpus())

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

    def __del__(self, draining: int = DRAINING) -> None:
        try:
            scheduler = getattr(self, "_scheduler", None)
            # At interpreter exit it has been shut down, and the module's own names may be gone.
            if scheduler is not None and scheduler.state < draining:
                masked(scheduler.drain.begin)
        except BaseException:  # a break: nobody else could end it
            masked(self._scheduler.drain.begin)
            raise

    def __repr__(self) -> str:
        state = ("open", "clogged", "draining", "closing", "stopped", "of the parent process")[self._scheduler.state]
        return f"<Pool {self._name!r} workers={len(self._scheduler.seats)} {state}>"


class DefaultPool(Pool):
    """The pool that starts itself; its options come from `configure` and the environment."""

    def __init__(self, options: PoolOptions) -> None:
        self._setup("default", options)


def after_fork_in_child() -> None:
    """Give every pool a fresh scheduler: threads don't survive a fork, and the parent's tasks aren't ours."""
    global _live_lock
    _live_lock = RLock()
    forget_other_threads()
    reset_lock()
    forget_parent()
    for pool in list(_live):
        if pool._scheduler.state == FORKED:  # else it was shut down, and stays so
            pool._scheduler = make_scheduler(pool._name, pool._options)
            adopt(pool._scheduler)
