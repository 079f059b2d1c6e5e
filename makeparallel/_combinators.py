"""Waiting for many handles: `gather`, `as_completed`, `wait`.

Each costs O(n) in all: `gather` gets one after the other; for the others one watcher, put into every
handle's ledger, collects what finishes (P1). In a task, `gather` runs what has not begun inline, as `get`
does, and the others lend the worker's seat.
"""

from ._config import check_choice, check_seconds
from ._core.entries import SUCCEEDED, Watcher
from ._core.gate import WORKERS, masked
from ._core.task import Task
from ._core.waiting import await_outcome, block_inside, deadline_after
from ._handle import AsyncHandle
from ._sync import Bell, Queue, get_ident, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Any, Literal, overload

    from ._errors import TaskError

FIRST_COMPLETED = "FIRST_COMPLETED"
FIRST_EXCEPTION = "FIRST_EXCEPTION"
ALL_COMPLETED = "ALL_COMPLETED"


class Collector(Watcher):
    """Collects finished handles, and wakes the one thread that waits for them."""

    __slots__ = ("_bell", "finished")

    def __init__(self) -> None:
        self.finished: Queue[Any] = Queue()
        self._bell = Bell()

    def wake(self, task: Task) -> None:
        """Note a finished task, perhaps twice; ring."""
        self.finished.append(task)
        self._bell.ring()

    def register(self, handles: "Iterable[Any]") -> None:
        """Watch all handles; what has finished is noted at once."""
        homes: dict[Any, None] = {}
        for handle in handles:
            if handle._outcome() is not None:
                self.finished.append(handle)
            elif handle._watch(self) is not None:
                self.finished.append(handle)
                handle._unwatch(self)
            else:
                homes[handle._home] = None
        for home in homes:
            home.before_wait()

    def wait(self, waiting: "Collection[Any]", deadline: float | None) -> bool:
        """Sleep until something was noted since the last call; False if the deadline passed.

        `waiting` are the handles that have not been noted; it tells other threads what we wait for.
        """
        remaining = None if deadline is None else deadline - now()
        if remaining is not None and remaining <= 0:
            return False
        worker = WORKERS.get(get_ident())
        if worker is not None:
            return block_inside(worker, waiting, self._bell, remaining)
        return self._bell.wait(remaining)

    def unregister(self, handles: "Iterable[Any]") -> None:
        """Take the watcher out of every ledger."""
        for handle in handles:
            handle._unwatch(self)


def check_handles(handles: "Iterable[AsyncHandle[Any]]", function: str) -> "list[AsyncHandle[Any]]":
    """Check that all are handles; a list of them."""
    if isinstance(handles, AsyncHandle):
        raise TypeError(f"{function}({handles!r}): must be an iterable of handles; put the handle in a list")
    try:
        iterator = iter(handles)
    except TypeError:
        raise TypeError(f"{function}({handles!r}): must be an iterable of AsyncHandle") from None
    listed = list(iterator)  # an error of the user's own generator comes out as it is
    for index, handle in enumerate(listed):
        if not isinstance(handle, AsyncHandle):
            raise TypeError(
                f"{function}(): item {index} is {handle!r}, not an AsyncHandle; pass what calling a "
                "@mp.parallel function returned"
            )
    return listed


if TYPE_CHECKING:

    @overload
    def gather[R](
        handles: "Iterable[AsyncHandle[R]]",
        *,
        on_error: "Literal['raise', 'skip']" = "raise",
        timeout: float | None = None,
    ) -> "list[R]": ...
    @overload
    def gather[R](
        handles: "Iterable[AsyncHandle[R]]", *, on_error: str, timeout: float | None = None
    ) -> "list[R | TaskError]": ...


def gather[R](
    handles: "Iterable[AsyncHandle[R]]", *, on_error: str = "raise", timeout: float | None = None
) -> "list[Any]":
    """Wait for all handles; return their results in the order of the handles.

    Args:
        handles: what to wait for; each may come more than once.
        on_error: "raise" the first error in order; "skip" what failed; "return" the `TaskError` in its place.
        timeout: seconds for the whole wait; None for no limit. On an error or a timeout the other tasks go on.

    Raises:
        TaskError: with "raise", the first failed handle's error.
        TimeoutError: `timeout` seconds passed first.
        TypeError: something is not a handle. ValueError: an unknown `on_error`, a bad timeout.
        RuntimeError: as `AsyncHandle.get`.

    Example:
        >>> import makeparallel as mp
        >>> mp.gather([mp.parallel(abs)(n) for n in (-1, -2)])
        [1, 2]

    Thread-safety: reentrant.
    """
    check_choice(on_error, "on_error", ("raise", "skip", "return"))
    seconds = check_seconds(timeout, "timeout")
    deadline = deadline_after(seconds)
    listed = check_handles(handles, "gather")
    results: list[Any] = []
    try:
        for done, handle in enumerate(listed):
            outcome = handle._outcome()
            if outcome is None:
                outcome = await_outcome(handle, None if deadline is None else max(deadline - now(), 0.0))
            if outcome is None:
                raise TimeoutError(
                    f"gather(): {done} of {len(listed)} tasks had finished within {seconds:g} s, in order"
                )
            if outcome[0] == SUCCEEDED:
                results.append(outcome[1])
            elif on_error == "raise":
                raise handle._error(outcome)
            elif on_error == "return":
                results.append(handle._error(outcome))
            else:
                handle._error(outcome)  # looked at
        return results
    finally:
        handles = listed = handle = outcome = results = None  # type: ignore[assignment]  # I5: see run_body


def as_completed[R](handles: "Iterable[AsyncHandle[R]]", timeout: float | None = None) -> "Iterator[AsyncHandle[R]]":
    """Iterate over handles in the order in which they finish; each comes once.

    Args:
        handles: what to wait for; duplicates come once.
        timeout: seconds for the whole iteration, from this call; None for no limit.

    Raises:
        TimeoutError: from the iterator, when `timeout` seconds have passed.
        TypeError: something is not a handle. ValueError: a bad timeout.
        RuntimeError: from the iterator, as `AsyncHandle.get`.

    Thread-safety: reentrant; the iterator is for one thread.
    """
    seconds = check_seconds(timeout, "timeout")
    return _completed(dict.fromkeys(check_handles(handles, "as_completed")), deadline_after(seconds), seconds)


def _completed(
    waiting: "dict[AsyncHandle[Any], None]", deadline: float | None, seconds: float | None
) -> "Iterator[AsyncHandle[Any]]":
    collector = Collector()
    try:
        masked(collector.register, waiting)
        yield from _collected(collector, waiting, deadline, seconds)
    finally:
        masked(collector.unregister, waiting)


def _collected(
    collector: Collector, waiting: "dict[AsyncHandle[Any], None]", deadline: float | None, seconds: float | None
) -> "Iterator[AsyncHandle[Any]]":
    """The loop of `_completed`: C7."""
    total = len(waiting)
    while waiting:
        try:
            handle = collector.finished.popleft()
        except IndexError:
            if not masked(collector.wait, waiting, deadline):
                if collector.finished:
                    continue
                raise TimeoutError(
                    f"as_completed(): {total - len(waiting)} of {total} tasks had finished within {seconds:g} s"
                ) from None
            continue
        if handle in waiting:
            del waiting[handle]
            ready = [handle]
            del handle  # I5: the iterator keeps nothing that it has handed out
            yield ready.pop()


def wait[R](
    handles: "Iterable[AsyncHandle[R]]", timeout: float | None = None, return_when: str = ALL_COMPLETED
) -> "tuple[set[AsyncHandle[R]], set[AsyncHandle[R]]]":
    """Wait for handles; return the sets of the finished and of the unfinished ones.

    Args:
        handles: what to wait for.
        timeout: seconds to wait; None for no limit. Never raises for it.
        return_when: "ALL_COMPLETED", "FIRST_COMPLETED", or "FIRST_EXCEPTION" (the first that did not
            succeed, else all).

    Raises:
        TypeError: something is not a handle. ValueError: an unknown `return_when`, a bad timeout.
        RuntimeError: as `AsyncHandle.get`.

    Thread-safety: reentrant.
    """
    check_choice(return_when, "return_when", (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION))
    deadline = deadline_after(check_seconds(timeout, "timeout"))
    listed = check_handles(handles, "wait")
    done = {handle for handle in listed if handle._outcome() is not None}
    pending = {handle: None for handle in listed if handle not in done}
    if not pending or (done and any(_is_enough(handle, return_when) for handle in done)):
        return done, set(pending)
    collector = Collector()
    try:
        masked(collector.register, pending)
        _collect(collector, pending, done, return_when, deadline)
    finally:
        masked(collector.unregister, pending)
    return done, set(pending)


def _collect[R](
    collector: Collector,
    pending: "dict[AsyncHandle[R], None]",
    done: "set[AsyncHandle[R]]",
    return_when: str,
    deadline: float | None,
) -> None:
    """The loop of `wait`: C7."""
    while pending:
        enough = False
        while collector.finished:
            handle = collector.finished.popleft()
            if handle in pending:
                del pending[handle]
                done.add(handle)
                enough = enough or _is_enough(handle, return_when)
        if not pending or enough:
            break
        if not masked(collector.wait, pending, deadline) and not collector.finished:
            break


def _is_enough(handle: "AsyncHandle[Any]", return_when: str) -> bool:
    """True if this finished handle ends the wait."""
    if return_when == ALL_COMPLETED:
        return False
    if return_when == FIRST_EXCEPTION:
        outcome = handle._outcome()
        return outcome is not None and outcome[0] != SUCCEEDED
    return True
