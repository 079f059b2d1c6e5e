"""`parallel_map`: a function over all items, results in order.

Items are run in chunks, several per worker, so that an item costs far less than a task. A decorated
function with options of its own (a timeout) runs each item as a task of its own.
"""

from contextvars import copy_context

from ._config import check_count, check_seconds
from ._core.entries import FAILED, SUCCEEDED, Terms, drop_own_frame
from ._core.gate import masked
from ._core.waiting import await_outcome, deadline_after
from ._core.worker import current_worker
from ._decorator import ParallelFunction, caller_line
from ._default import default_pool
from ._errors import TaskError, later, text_of
from ._functions import Decorated, check_function, function_name, unwrap
from ._handle import AsyncHandle
from ._pool import Pool
from ._sync import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

#: Chunks per worker, if none is given: enough to even out unequal items, few enough to cost little.
CHUNKS_PER_WORKER = 16


class _ItemError(BaseException):
    """Carries the index of the failing item out of its chunk."""

    def __init__(self, index: int) -> None:
        self.index = index


def parallel_map(
    func: "Callable[..., Any]",
    *iterables: "Iterable[Any]",
    chunksize: int | None = None,
    timeout: float | None = None,
    progress: bool = False,
    pool: Pool | None = None,
) -> "list[Any]":
    """Apply a function to all items in parallel; return the results in order.

    Args:
        func: a function, decorated or not. The options of a decorated one (its timeout) hold for each
            item, which then is a task of its own.
        iterables: one for each argument of `func`; the shortest ends the map. They are read first.
        chunksize: items per task; None to choose.
        timeout: seconds for the whole call; None for no limit.
        progress: not available yet.
        pool: the `Pool` to run on; the function's, else the default one.

    Raises:
        TaskError: the first item, in order, that failed; its name and metadata tell the index. What has
            not begun is cancelled.
        TimeoutError: `timeout` seconds have passed; what has not finished is cancelled.
        TypeError, ValueError: an argument is not what it should be.
        NotImplementedError: `progress=True`.
        PoolShutdownError, PoolFullError: as calling a decorated function.

    Example:
        >>> import makeparallel as mp
        >>> mp.parallel_map(pow, [2, 3], [10, 2])
        [1024, 9]

    Thread-safety: reentrant.
    """
    if not isinstance(func, Decorated):
        check_function(func)
    if not iterables:
        raise TypeError("parallel_map() needs at least one iterable after the function")
    if not isinstance(progress, bool):
        raise TypeError(f"progress={progress!r}: must be True or False")
    if progress:
        raise later("progress=")
    if pool is not None and not isinstance(pool, Pool):
        raise TypeError(f"pool={pool!r}: must be a makeparallel.Pool or None, not {type(pool).__name__}")
    size = check_count(chunksize, "chunksize", "a chosen one")
    seconds = check_seconds(timeout, "timeout")
    deadline = deadline_after(seconds)
    items = list(zip(*(_iterator(iterable, place) for place, iterable in enumerate(iterables, 1)), strict=False))
    label, own_timeout, interrupt = function_name(func), None, True
    if isinstance(func, ParallelFunction):
        label, own_timeout, interrupt = func._label, func._timeout, func._interrupt
        pool = pool or func._pool
    home = pool or default_pool()
    if own_timeout is not None:
        size = 1
    elif size is None:
        size = max(1, -(-len(items) // (len(home._scheduler.seats) * CHUNKS_PER_WORKER)))
    origin = _origin()
    worker = current_worker()
    owner = None if worker is None else worker.stack[-1]
    function = unwrap(func)
    handles: list[AsyncHandle[Any]] = []
    try:
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            handle: AsyncHandle[Any] = AsyncHandle.make(copy_context(), _run_chunk, (function, chunk, start), {}, label)  # type: ignore[assignment]
            handle._terms = Terms(own_timeout, interrupt)
            handle._terms.origin = origin
            handle._terms.owner = owner
            handles.append(handle)
            home._scheduler.submit(handle, deadline)
        del items
        return _collect(handles, deadline, seconds)
    except BaseException:
        masked(_cancel_all, handles)
        raise
    finally:
        handles = worker = owner = None  # type: ignore[assignment]  # I5: see run_body


def _iterator(iterable: "Iterable[Any]", place: int) -> "Iterator[Any]":
    try:
        return iter(iterable)
    except TypeError:
        raise TypeError(f"parallel_map(): argument {place} after the function, {iterable!r}, is not iterable") from None


def _cancel_all(handles: "list[AsyncHandle[Any]]") -> None:
    for handle in handles:
        if handle._number:  # it was submitted
            handle.cancel()
            outcome = handle._outcome()
            if outcome is not None and outcome[0] == FAILED:
                outcome[1].seen = True  # the caller is told of the first error only


def _run_chunk(function: "Callable[..., Any]", chunk: "list[tuple[Any, ...]]", start: int) -> "list[Any]":
    results: list[Any] = []
    try:
        for arguments in chunk:
            results.append(function(*arguments))
    except BaseException as error:
        drop_own_frame(error)
        raise _ItemError(start + len(results)) from error
    return results


def _collect(handles: "list[AsyncHandle[Any]]", deadline: float | None, seconds: float | None) -> "list[Any]":
    results: list[Any] = []
    try:
        for handle in handles:
            outcome = await_outcome(handle, None if deadline is None else max(deadline - now(), 0.0))
            if outcome is None:
                raise TimeoutError(f"parallel_map() has not finished within {seconds:g} s; the rest is cancelled")
            if outcome[0] != SUCCEEDED:
                raise _with_index(handle, outcome, len(results))
            results += outcome[1]
        return results
    finally:
        handles = handle = outcome = results = None  # type: ignore[assignment]  # I5: see run_body


def _with_index(handle: "AsyncHandle[Any]", outcome: "Any", index: int) -> TaskError:
    """The handle's error, naming the item."""
    error = handle._error(outcome)
    cause = error.__cause__
    if outcome[0] == FAILED and isinstance(cause, _ItemError):
        index, original = cause.index, cause.__cause__
        assert original is not None
        error.error_type = type(original).__qualname__
        error.error_message = text_of(original)
        error.__cause__ = original
    error.task_name = f"{error.task_name}[{index}]"
    error.metadata["index"] = index
    return error


def _origin() -> str | None:
    try:
        depth = 2
        while True:
            line = caller_line(depth)
            if not line.startswith(_HERE):
                return line
            depth += 1
    except ValueError:
        return None


_HERE = __file__.rpartition("_map")[0]
