"""What a body may call about itself: checkpoint, progress, shield, blocking.

Each does something sensible outside a task too, and its docstring says what.
Thread-safety: each call concerns the task that runs in the calling thread.
"""

from ._config import check_fraction, check_sleep
from ._core.entries import CANCELLED, TIMED_OUT, Waiter
from ._core.idle import leave_seat, retake_seat
from ._core.worker import current_worker
from ._errors import TaskInterrupt
from ._handle import AsyncHandle
from ._sync import Bell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._core.idle import Opening
    from ._core.worker import Worker


def current_handle() -> "AsyncHandle[Any] | None":
    """Return the handle of the task that runs in this thread; None outside a task."""
    worker = current_worker()
    if worker is None:
        return None
    handle = worker.stack[-1]
    assert isinstance(handle, AsyncHandle)
    return handle


def get_current_task_id() -> str | None:
    """Return the id of the task that runs in this thread; None outside a task."""
    handle = current_handle()
    return None if handle is None else handle.get_task_id()


def cancel_requested() -> bool:
    """True if the running task was cancelled or timed out, also in a `shield`; False outside a task."""
    handle = current_handle()
    if handle is None:
        return False
    outcome = handle._outcome()
    return outcome is not None and outcome[0] in (CANCELLED, TIMED_OUT)


def checkpoint() -> None:
    """Leave the body if its task was cancelled or timed out; do nothing outside a task or in a `shield`.

    Leaves by an exception that `except Exception` does not catch; `finally` blocks run.
    """
    worker = current_worker()
    if worker is not None and cancel_requested() and worker.stack[-1] not in worker.shielded[-1:]:
        raise TaskInterrupt


def sleep(secs: float) -> None:
    """Sleep for `secs` seconds; in a task, wake at once and leave the body if it is cancelled.

    Outside a task it is `time.sleep`. In a `shield` it wakes as well, and just returns. The worker stays
    taken; see `blocking`.

    Raises:
        ValueError: `secs` is negative or NaN.
        TypeError: `secs` is not a number.
    """
    seconds = check_sleep(secs)
    handle = current_handle()
    if handle is None:
        Bell().wait(seconds)
        return
    waiter = Waiter()
    try:
        if handle._watch(waiter) is None:
            waiter.bell.wait(seconds)
    finally:
        handle._unwatch(waiter)
    checkpoint()


def report_progress(fraction: float) -> None:
    """Report how much of the running task is done; `on_progress` callbacks are called right here.

    Args:
        fraction: from 0 to 1.

    Raises:
        RuntimeError: called outside a task.
        ValueError: `fraction` lies outside [0, 1].
        TypeError: `fraction` is not a number.
    """
    checked = check_fraction(fraction, "fraction")
    handle = current_handle()
    if handle is None:
        raise RuntimeError("report_progress() was called outside a task; only a running task has progress")
    handle._report(checked)


class shield:  # noqa: N801  # reads as a statement: with mp.shield():
    """Hold an interrupt back until the block ends; nestable; does nothing outside a task.

    In this version a body is only interrupted by its own `checkpoint` and `sleep`. Inside the block they
    don't leave the body; the end of the outermost block does, if the task was cancelled meanwhile.

    Example:
        >>> import makeparallel as mp
        >>> with mp.shield():
        ...     pass
    """

    __slots__ = ("_worker",)

    _worker: "Worker | None"

    def __enter__(self) -> None:
        worker = self._worker = current_worker()
        if worker is not None:
            worker.shielded.append(worker.stack[-1])

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        if self._worker is not None:
            self._worker.shielded.pop()
            if error is None:
                checkpoint()


class blocking:  # noqa: N801  # reads as a statement: with mp.blocking():
    """Tell the pool that this task is about to block: a spare worker takes its place meanwhile.

    For waits that the pool can't see: a socket, a lock, a subprocess. Does nothing outside a task.

    Example:
        >>> import makeparallel as mp, time
        >>> with mp.blocking():
        ...     time.sleep(0.001)
    """

    __slots__ = ("_opening", "_worker")

    _opening: "Opening | None"
    _worker: "Worker | None"

    def __enter__(self) -> None:
        self._worker = current_worker()
        self._opening = None if self._worker is None else leave_seat(self._worker)

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        if self._worker is not None:
            retake_seat(self._worker, self._opening)
