"""`parallel_map`: a function over all items, results in order.

Workers take blocks of items that last about a millisecond (`_blocks`), so that an item costs far less than a task. A
decorated function with a timeout of its own runs each item as a task of its own.
"""

from contextvars import copy_context

from ._blocks import Blocks, Call, cancel_all, error_of, with_index
from ._combinators import Collector
from ._config import check_count, check_seconds
from ._core.entries import SUCCEEDED
from ._core.gate import masked
from ._core.waiting import await_outcome, deadline_after, try_inline
from ._decorator import ParallelFunction, caller_line
from ._default import default_pool
from ._errors import TaskError, later
from ._functions import Decorated, check_function, function_name, unwrap
from ._pool import Pool
from ._sync import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from ._handle import AsyncHandle


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
    call, iterators = prepare(func, iterables, progress, pool, "parallel_map")
    size = check_count(chunksize, "chunksize", "a chosen one")
    seconds = check_seconds(timeout, "timeout")
    deadline = deadline_after(seconds)
    items: Sequence[Any]
    if type(iterables[0]) in (range, tuple) and not call.several:
        items = iterables[0]  # type: ignore[assignment]  # they can't change, and a range makes its numbers where they are used
    else:
        items = list(zip(*iterators, strict=False) if call.several else iterators[0])
    try:
        if call.timeout is None:
            return _run_blocks(call, items, size, deadline, seconds)
        return _run_each(call, items, deadline, seconds)
    finally:
        call = iterators = items = iterables = None  # type: ignore[assignment]  # I5: see run_body


def prepare(
    func: "Callable[..., Any]", iterables: "tuple[Iterable[Any], ...]", progress: bool, pool: Pool | None, caller: str
) -> "tuple[Call, list[Iterator[Any]]]":
    """Check what all maps are given; what to call for each item, and what to read the items from.

    Raises:
        TypeError, NotImplementedError: see `parallel_map`.
    """
    if not isinstance(func, Decorated):
        check_function(func, caller)
    if not iterables:
        raise TypeError(f"{caller}() needs at least one iterable after the function")
    if not isinstance(progress, bool):
        raise TypeError(f"progress={progress!r}: must be True or False")
    if progress:
        raise later("progress=")
    if pool is not None and not isinstance(pool, Pool):
        raise TypeError(f"pool={pool!r}: must be a makeparallel.Pool or None, not {type(pool).__name__}")
    iterators = [_iterator(iterable, place, caller) for place, iterable in enumerate(iterables, 1)]
    label, timeout, interrupt = function_name(func), None, True
    if isinstance(func, ParallelFunction):
        label, timeout, interrupt = func._label, func._timeout, func._interrupt
        pool = pool or func._pool
    home = (pool or default_pool())._scheduler
    call = Call(unwrap(func), len(iterables) > 1, home, copy_context(), label, timeout, interrupt, _origin())
    return call, iterators


def _iterator(iterable: "Iterable[Any]", place: int, caller: str) -> "Iterator[Any]":
    try:
        return iter(iterable)
    except TypeError:
        raise TypeError(f"{caller}(): argument {place} after the function, {iterable!r}, is not iterable") from None


def _run_blocks(
    call: Call, items: "Sequence[Any]", size: int | None, deadline: float | None, seconds: float | None
) -> "list[Any]":
    """Have workers run the items in blocks, this one too if the call comes from a task."""
    collector = Collector()
    blocks = Blocks(call, items, size, collector)
    try:
        blocks.start(deadline)
        if deadline is None and blocks.handles:
            masked(try_inline, blocks.handles[0])
        error = _wait(blocks, collector, deadline, seconds)
        if error is not None:
            raise error
        if blocks.failed is not None:
            raise blocks.failure()
        if deadline is None:
            for handle in blocks.handles[1:]:  # from a task: what has nothing to do must not pile up in our deque
                masked(try_inline, handle)
        return blocks.release()
    except BaseException:
        blocks.close()
        masked(cancel_all, blocks.handles)
        raise
    finally:
        call = items = blocks = collector = error = handle = None  # type: ignore[assignment]  # I5: see run_body


def _wait(
    blocks: Blocks, collector: Collector, deadline: float | None, seconds: float | None
) -> TaskError | TimeoutError | None:
    """Wait until it is decided what the map returns or raises, and until who has run its items has left.

    Returns why it came to nothing, if so. I3: what decides it comes before the end of a task of ours, which wakes us.
    """
    lost: TaskError | None = None  # of tasks that were cancelled before they began: the others may do
    while True:
        while collector.finished:
            handle = collector.finished.popleft()
            error = error_of(handle)
            if error is not None and handle._start and blocks.failed is None:
                return error
            lost = error or lost
        waiting = blocks.waiting()
        if not waiting:
            return None if blocks.is_decided() else lost
        masked(blocks.before_wait)
        if not masked(collector.wait, waiting, deadline) and not collector.finished:
            return TimeoutError(f"parallel_map() has not finished within {seconds:g} s; the rest is cancelled")


def _run_each(call: Call, items: "Sequence[Any]", deadline: float | None, seconds: float | None) -> "list[Any]":
    """Run each item as a task of its own, with the function's own timeout."""
    handles: list[AsyncHandle[Any]] = []
    try:
        for index, item in enumerate(items):
            handles.append(call.make_task(call.run, (item,), index))
            call.home.submit(handles[-1], deadline)
        return _collect(handles, deadline, seconds)
    except BaseException:
        masked(cancel_all, handles)
        raise
    finally:
        call = items = item = handles = None  # type: ignore[assignment]  # I5: see run_body


def _collect(handles: "list[AsyncHandle[Any]]", deadline: float | None, seconds: float | None) -> "list[Any]":
    results: list[Any] = []
    try:
        for handle in handles:
            outcome = handle._outcome()
            if outcome is None:
                outcome = await_outcome(handle, None if deadline is None else max(deadline - now(), 0.0))
            if outcome is None:
                raise TimeoutError(f"parallel_map() has not finished within {seconds:g} s; the rest is cancelled")
            if outcome[0] != SUCCEEDED:
                raise with_index(handle, outcome, len(results))
            results += outcome[1]
        return results
    finally:
        handles = handle = outcome = results = None  # type: ignore[assignment]  # I5: see run_body


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
