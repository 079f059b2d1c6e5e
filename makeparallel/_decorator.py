"""`@mp.parallel`: one decorator, and the wrapper whose call submits a task.

Guarantees: misuse is an error at decoration or at the call, at the user's line. Decorating costs about
as much as making one small object, and nothing is kept of it; so a decorator inside a request handler
is fine. The wrapper is an instance with slots, not a closure: on free-threaded 3.13 a closure's cells
and a nested function's reference count are contended.
"""

import sys
from contextvars import copy_context

from ._config import UNSET, TaskOptions, check_bool, check_limit, check_name, check_seconds
from ._core.entries import Terms
from ._default import default_pool
from ._errors import later
from ._functions import Decorated, check_function, function_name, timeout_parameter
from ._handle import AsyncHandle
from ._pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, overload

    from ._config import Unset

    class Decorator(Protocol):
        """What `parallel(**options)` returns."""

        def __call__[**P, R](self, func: "Callable[P, R]", /) -> "ParallelFunction[P, R]": ...


_new = object.__new__
#: With `python -X dev` every error says where its task was submitted (about 0.3 µs a task).
_NOTE_ORIGIN = sys.flags.dev_mode


class ParallelFunction[**P, R](Decorated):
    """A function whose call runs as a task: made by `parallel`.

    Thread-safety: immutable; calling is internally synchronized.
    """

    __slots__ = ("__dict__", "__weakref__", "_options", "_pool")

    _pool: Pool | None
    _options: TaskOptions

    def __call__(self, /, *args: "P.args", **kwargs: "P.kwargs") -> AsyncHandle[R]:
        """Submit a call of the function; return its handle at once.

        Args:
            timeout: the task's timeout in seconds, unless the function has a parameter of that name.

        Raises:
            TypeError: `timeout=` was given, and the function takes arbitrary keywords.
            PoolShutdownError: the pool was shut down.
            PoolFullError: the pool is full, and was told not to wait.
        """
        timeout = self._timeout
        if kwargs and "timeout" in kwargs and self._takes_timeout():
            timeout = check_seconds(kwargs.pop("timeout"), "timeout")
        # AsyncHandle.make, unrolled: this is the path of every task
        handle: AsyncHandle[R] = _new(AsyncHandle)
        handle._ledger = []
        handle._call = (copy_context(), self.__wrapped__, args, kwargs or None)
        handle._label = self._label
        handle._terms = None if timeout is None and self._interrupt else Terms(timeout, self._interrupt)
        handle._metadata = None
        handle._start = 0.0
        handle._number = 0
        if _NOTE_ORIGIN:
            if handle._terms is None:
                handle._terms = Terms(None)
            handle._terms.origin = caller_line(2)
        return (self._pool or default_pool())._scheduler.submit(handle)  # type: ignore[return-value]

    def options(
        self,
        *,
        name: "str | Unset | None" = UNSET,
        timeout: "float | Unset | None" = UNSET,
        interrupt: "bool | Unset" = UNSET,
        max_memory_mb: "float | Unset | None" = UNSET,
        max_cpu_time_secs: "float | Unset | None" = UNSET,
        pool: "Pool | Unset | None" = UNSET,
        executor: "object" = UNSET,
    ) -> "ParallelFunction[P, R]":
        """Return a copy with other defaults: the same keywords as `parallel`, those not given stay.

        Raises:
            TypeError, ValueError: as `parallel`.
        """
        given = {
            "name": name, "timeout": timeout, "interrupt": interrupt, "max_memory_mb": max_memory_mb,
            "max_cpu_time_secs": max_cpu_time_secs, "pool": pool, "executor": executor,
        }  # fmt: skip
        return make(  # type: ignore[return-value]  # the same function
            self.__wrapped__, {**self._options._asdict(), **{k: v for k, v in given.items() if v is not UNSET}}
        )

    def map(
        self,
        *iterables: "Iterable[Any]",
        chunksize: int | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> list[R]:
        """Run `makeparallel.parallel_map` with this function."""
        from ._map import parallel_map

        return parallel_map(self, *iterables, chunksize=chunksize, timeout=timeout, progress=progress, pool=self._pool)

    def _takes_timeout(self) -> bool:
        """True if `timeout=` is meant for the task, False if it is the function's own parameter.

        Raises:
            TypeError: it can't be told.
        """
        own, anything = timeout_parameter(self.__wrapped__)
        if own:
            return False
        if anything:
            raise TypeError(
                f"{self._label}(timeout=…): the function takes arbitrary keywords, or its signature can't be known; "
                f"write {self._label}.options(timeout=…)(…) for the task's timeout"
            )
        return True

    def __get__(self, instance: object, owner: "type | None" = None) -> "ParallelFunction[..., R]":
        """Bind as the wrapped function does: a function to its instance, a static method to nothing."""
        bind = getattr(type(self.__wrapped__), "__get__", None)
        if instance is None or bind is None:
            return self
        return _wrap(bind(self.__wrapped__, instance, owner), self._options)

    def __getattr__(self, name: str) -> "Any":
        if name == "__wrapped__" or (name.startswith("_") and not name.startswith("__")):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.__wrapped__, name)

    def __reduce__(self) -> "str | tuple[Any, ...]":
        qualname = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if found is self:
            return str(qualname)  # as functions do: by reference
        if isinstance(found, Decorated) and found.__wrapped__ is self.__wrapped__:
            return make, (found, self._options._asdict())  # the name stands for the wrapper, not the function
        return make, (self.__wrapped__, self._options._asdict())  # a pool= is not picklable, and pickle says so

    def __repr__(self) -> str:
        return f"<parallel {self.__wrapped__!r}>"


class _OfFunction:
    """An attribute that a class has too, and that an instance takes from its function."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._of_class = getattr(ParallelFunction, name)

    def __get__(self, instance: "ParallelFunction[..., Any] | None", owner: type) -> "Any":
        return self._of_class if instance is None else getattr(instance.__wrapped__, self._name, None)


for _name in ("__doc__", "__annotations__", "__type_params__"):  # all others come by __getattr__
    setattr(ParallelFunction, _name, _OfFunction(_name))
del _name


def _wrap(fn: "Callable[..., Any]", options: TaskOptions) -> "ParallelFunction[..., Any]":
    wrapper: ParallelFunction[..., Any] = _new(ParallelFunction)
    wrapper.__wrapped__ = fn
    wrapper._options = options
    wrapper._label = options.name
    wrapper._timeout = options.timeout
    wrapper._interrupt = options.interrupt
    wrapper._pool = options.pool
    wrapper.__module__ = getattr(fn, "__module__", None) or type(fn).__module__
    return wrapper


def make(fn: object, options: "dict[str, Any]") -> "ParallelFunction[..., Any]":
    """Check everything, and wrap.

    Raises:
        TypeError, ValueError: as `parallel`.
    """
    if isinstance(fn, Decorated):
        fn = fn.__wrapped__
    check_function(fn)
    if options.get("executor") is not None:
        raise later("executor=")
    for limit in ("max_memory_mb", "max_cpu_time_secs"):
        if options.get(limit) is not None:
            check_limit(options[limit], limit, "MiB" if limit == "max_memory_mb" else "seconds")
            raise later(f"{limit}=")
    pool = options.get("pool")
    if pool is not None and not isinstance(pool, Pool):
        raise TypeError(f"pool={pool!r}: must be a makeparallel.Pool or None, not {type(pool).__name__}")
    name = options.get("name")
    return _wrap(
        fn,  # type: ignore[arg-type]  # check_function made sure
        TaskOptions(
            name=function_name(fn) if name is None else check_name(name),
            timeout=check_seconds(options.get("timeout"), "timeout"),
            interrupt=check_bool(options.get("interrupt", True), "interrupt"),
            pool=pool,
        ),
    )


if TYPE_CHECKING:

    @overload
    def parallel[**P, R](func: "Callable[P, R]", /) -> "ParallelFunction[P, R]": ...
    @overload
    def parallel[**P, R](
        func: "Callable[P, R]",
        /,
        *,
        name: str | None = None,
        timeout: float | None = None,
        interrupt: bool = True,
        max_memory_mb: float | None = None,
        max_cpu_time_secs: float | None = None,
        pool: Pool | None = None,
        executor: None = None,
    ) -> "ParallelFunction[P, R]": ...
    @overload
    def parallel(
        func: None = None,
        /,
        *,
        name: str | None = None,
        timeout: float | None = None,
        interrupt: bool = True,
        max_memory_mb: float | None = None,
        max_cpu_time_secs: float | None = None,
        pool: Pool | None = None,
        executor: None = None,
    ) -> "Decorator": ...


def parallel(
    func: "Any" = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    interrupt: bool = True,
    max_memory_mb: float | None = None,
    max_cpu_time_secs: float | None = None,
    pool: Pool | None = None,
    executor: "object" = None,
) -> "Any":
    """Make a function run in parallel: calling it returns an `AsyncHandle` at once.

    Use it bare (`@parallel`), with defaults for every call (`@parallel(timeout=5)`), or as a plain
    function (`parallel(fn)(x)`).

    Args:
        func: the function, when used bare.
        name: what errors and logs call the tasks; the function's name by default.
        timeout: seconds a body may run, from its start; then the handle is finished with a `TaskTimeoutError`,
            and the body is interrupted. 0 ends the task before it begins; None and infinity mean no limit.
        interrupt: False if the body must never be interrupted, only asked (`checkpoint`, `cancel_requested`).
        max_memory_mb: not available yet.
        max_cpu_time_secs: not available yet.
        pool: the `Pool` to run on; the default pool by default.
        executor: not available yet.

    Returns:
        A `ParallelFunction`; without `func`, a decorator.

    Raises:
        TypeError: `func` is not callable, or is a coroutine or generator function; an option is of the
            wrong type.
        ValueError: a timeout or limit is negative or NaN.
        NotImplementedError: an option that is not available yet.

    Example:
        >>> import makeparallel as mp
        >>> @mp.parallel
        ... def square(x):
        ...     return x * x
        >>> [handle.get() for handle in [square(n) for n in range(4)]]
        [0, 1, 4, 9]

    Thread-safety: reentrant; the wrapper it returns is immutable.
    """
    options = {
        "name": name, "timeout": timeout, "interrupt": interrupt, "max_memory_mb": max_memory_mb,
        "max_cpu_time_secs": max_cpu_time_secs, "pool": pool, "executor": executor,
    }  # fmt: skip
    if func is not None:
        return make(func, options)
    make(_nothing, options)  # so that a wrong option is an error at its own line

    def decorate(func: "Any") -> "Any":
        return make(func, options)

    return decorate


def _nothing() -> None:
    """Stands for the function while options are checked."""


def caller_line(depth: int) -> str:
    """The file and line of the frame `depth` levels above this function; 1 is its caller."""
    frame = sys._getframe(depth)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
