"""What a body may call about itself: checkpoint, progress, shield, blocking.

Each does something sensible outside a task too, and its docstring says what.
Thread-safety: each call concerns the task that runs in the calling thread.
"""

from ._callbacks import report
from ._config import check_fraction, check_sleep
from ._core.entries import CANCELLED, TIMED_OUT
from ._core.gate import close, leave_body, masked, open_again
from ._core.idle import leave_seat, retake_seat
from ._core.waiting import wait_for_bell
from ._core.worker import current_worker
from ._handle import AsyncHandle
from ._sync import Bell, require_headroom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ._core.idle import Opening
    from ._core.task import Task
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

    Leaves by an exception that `except Exception` does not catch; `finally` blocks run. In pure Python code the
    body is interrupted anyway; a checkpoint stops it where it has nothing open, and with `interrupt=False`.
    """
    worker = current_worker()
    if worker is not None and cancel_requested() and worker.stack[-1] not in worker.shielded[-1:]:
        masked(leave_body, worker)


def sleep(secs: float) -> None:
    """Sleep for `secs` seconds; in a task, wake at once and leave the body if it is cancelled.

    Outside a task it is `time.sleep`. In a `shield` it sleeps on. With `interrupt=False` it leaves the body too:
    the body asked for it by this call. The worker stays taken; see `blocking`.

    Raises:
        ValueError: `secs` is negative or NaN.
        TypeError: `secs` is not a number.
    """
    seconds = check_sleep(secs)
    worker = current_worker()
    if worker is None:
        Bell().wait(seconds)
    else:
        may_leave = worker.stack[-1] not in worker.shielded[-1:]
        masked(wait_for_bell, worker, Bell(), seconds, cooperative=may_leave)


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
    masked(report, handle, checked)


class shield:  # noqa: N801  # reads as a statement: with mp.shield():
    """Hold an interrupt back until the block ends; nestable; does nothing outside a task.

    Inside the block nothing interrupts the body: no timeout, no cancel, no `checkpoint`, no wait. If the task was
    finished meanwhile, the end of the outermost block leaves the body. A shielded body is not abandoned either, so
    keep the block short. It covers its own task, not one that runs inline in a `get` inside it.

    Example:
        >>> import makeparallel as mp
        >>> with mp.shield():
        ...     pass
    """

    __slots__ = ("_entered",)

    _entered: "list[tuple[Worker, Task, bool]]"

    def __init__(self) -> None:
        #: For each block in a task: on which worker, in which task, and whether this closed the gate. One object
        #: may serve many tasks at once.
        self._entered = []

    def __enter__(self) -> None:
        worker = current_worker()
        if worker is None:
            return
        require_headroom()  # the end of the block, as deep in the stack as this, must not fail halfway
        closed = close(worker)  # P5: nothing can come from here on, so no depth is ever left behind
        task = worker.stack[-1]
        worker.shielded.append(task)
        self._entered.append((worker, task, closed))

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        worker = current_worker()
        if worker is None:
            return
        task = worker.stack[-1]
        for closed in (False, True):  # the blocks of a task nest: the outermost one closed the gate
            if (worker, task, closed) in self._entered:
                break
        else:
            return  # it was entered elsewhere: a suspended generator is closed by another task
        self._entered.remove((worker, task, closed))
        worker.shielded.pop()
        if closed and error is None:
            open_again(worker)
            if task.takes_interrupts():
                checkpoint()  # what fell due a moment ago, and the supervisor has not got round to
        elif closed:  # the body's own error comes out as itself, and the interrupt a moment later
            worker.armed.append(task)
            if task._outcome() is not None:
                worker.home.alarm()


def _is_here(worker: "Worker", task: "Task") -> bool:
    """True if this thread runs that task now; False where a suspended generator is closed elsewhere."""
    return current_worker() is worker and worker.stack[-1] is task


class blocking:  # noqa: N801  # reads as a statement: with mp.blocking():
    """Tell the pool that this task is about to block: a spare worker takes its place meanwhile.

    For waits that the pool can't see: a socket, a lock, a subprocess. Does nothing outside a task.

    Example:
        >>> import makeparallel as mp, time
        >>> with mp.blocking():
        ...     time.sleep(0.001)
    """

    __slots__ = ("_opening", "_task", "_worker")

    _opening: "Opening | None"
    _task: "Task"
    _worker: "Worker | None"

    def __enter__(self) -> None:
        worker = self._worker = current_worker()
        if worker is not None:
            self._task = worker.stack[-1]
        # An interrupt may fall between this and the block, and the seat is not taken back. That is as if the block
        # lasted until the body ends: the seat is announced, and the worker rests afterwards.
        self._opening = None if worker is None else masked(leave_seat, worker)

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        if self._worker is not None and _is_here(self._worker, self._task):
            masked(retake_seat, self._worker, self._opening)
