"""What a user holds of a task: `AsyncHandle`.

Guarantees: a handle never refers to the arguments of a task that has begun; every raise is a fresh
`TaskError`; a callback fires exactly once, whoever finishes the task and however late it is registered.
Thread-safety: every method is internally synchronized, through the ledger of the task (P1).
"""

from ._callbacks import Callback, ProgressCallback, Report, add_progress
from ._config import check_seconds
from ._core.entries import CANCELLED, FAILED, STATE_NAMES, SUCCEEDED, TIMED_OUT, Claimant, Failure
from ._core.gate import masked
from ._core.task import Task
from ._core.waiting import await_outcome
from ._errors import TaskError, TaskTimeoutError, later, text_of
from ._sync import RLock, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from ._core.task import Outcome

_metadata_lock = RLock()  # for the creation of a task's dict only


def reset_lock() -> None:
    """In a forked child: the lock may have been held by a thread that is not here."""
    global _metadata_lock
    _metadata_lock = RLock()


class AsyncHandle[R](Task):
    """The handle of one task: its result, its state, a way to stop it.

    Made by calling a `@mp.parallel` function or by `Pool.submit`, not directly.

    Thread-safety: internally synchronized.

    Example:
        >>> import makeparallel as mp
        >>> handle = mp.parallel(pow)(2, 10)
        >>> handle.get()
        1024
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("AsyncHandle is not made directly; call a @mp.parallel function, or Pool.submit")

    # --- waiting ---------------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> R:
        """Return the result, waiting for it if need be.

        May be called any number of times, from any number of threads. In a task it never deadlocks for
        want of workers: a task that has not begun is run right here, else a spare worker takes over.

        Args:
            timeout: seconds to wait; None for no limit. The task itself goes on after it.

        Raises:
            TaskError: the task failed, timed out or was cancelled (`TaskTimeoutError`, `TaskCancelledError`).
            TimeoutError: `timeout` seconds have passed and the task has not finished.
            TypeError, ValueError: `timeout` is no number of seconds, or is negative or NaN.
            RuntimeError: the wait closes a cycle of tasks that wait for each other, or the task belongs
                to the parent of this forked process.
        """
        try:
            outcome = self._outcome()
            if outcome is None or timeout is not None:
                outcome = self._wait(timeout)
            if outcome[0] == SUCCEEDED:
                return outcome[1]  # type: ignore[no-any-return]
            raise self._error(outcome)
        finally:
            self = outcome = None  # type: ignore[assignment]  # I5: the raised error keeps this frame

    def try_get(self, default: "Any" = None) -> "R | Any":
        """Return the result if there is one, else `default`, without waiting.

        Raises:
            TaskError: the task failed, timed out or was cancelled.
        """
        try:
            outcome = self._outcome()
            if outcome is None:
                return default
            if outcome[0] == SUCCEEDED:
                return outcome[1]
            raise self._error(outcome)
        finally:
            self = outcome = None  # type: ignore[assignment]

    def exception(self, timeout: float | None = None) -> TaskError | None:
        """Return the task's error, or None if it succeeded, waiting for the end if need be.

        Args:
            timeout: seconds to wait; None for no limit.

        Raises:
            TimeoutError: `timeout` seconds have passed and the task has not finished.
            TypeError, ValueError: `timeout` is no number of seconds, or is negative or NaN.
            RuntimeError: as `get`.
        """
        outcome = self._wait(timeout)
        return None if outcome[0] == SUCCEEDED else self._error(outcome)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; True once the task has finished in any way, False if `timeout` seconds passed.

        Never raises the task's error.

        Raises:
            RuntimeError: as `get`.
        """
        seconds = check_seconds(timeout, "timeout")
        return (self._outcome() or await_outcome(self, seconds)) is not None

    def _wait(self, timeout: float | None) -> "Outcome":
        try:
            seconds = timeout if timeout is None else check_seconds(timeout, "timeout")
            outcome = self._outcome() or await_outcome(self, seconds)
            if outcome is None:
                raise TimeoutError(
                    f"task {self._label!r} (id {self.get_task_id()}) has not finished within {seconds:g} s"
                )
            return outcome
        finally:
            self = outcome = None  # type: ignore[assignment]

    def __await__(self) -> "Generator[Any, None, R]":
        """Not available yet."""
        raise later("awaiting a handle")

    # --- state -----------------------------------------------------------------------------------

    def is_ready(self) -> bool:
        """True once the task has finished in any way."""
        return self._outcome() is not None

    def is_cancelled(self) -> bool:
        """True if the task was finished by cancellation."""
        outcome = self._outcome()
        return outcome is not None and outcome[0] == CANCELLED

    def is_running(self) -> bool:
        """True while the body executes; also after a cancel or timeout, until the body has left."""
        ledger = self._ledger[:]
        claims = [entry for entry in ledger if isinstance(entry, Claimant)]
        # The first claim is the one that runs, if it came before any outcome. The stack is looked at
        # under its lock (C1); the worker takes the task off it when the body has left.
        return bool(claims) and any(task is self for task in claims[0].stack[:])  # type: ignore[attr-defined]

    def cancel(self) -> bool:
        """Cancel the task; True if this call ended it, False if it had finished.

        A pending task never runs. A running one is finished at once for everybody who waits; its body is
        interrupted a moment later, unless it was declared with `interrupt=False`: then `checkpoint` and
        `cancel_requested` tell it. Callbacks run in the calling thread.
        """
        return masked(self.end, CANCELLED)

    def elapsed_time(self) -> float:
        """Return the seconds since the body started: 0.0 while pending, constant once finished."""
        start, outcome = self._start, self._outcome()
        if start == 0.0:
            return 0.0
        return max((now() if outcome is None else outcome[2]) - start, 0.0)

    def get_progress(self) -> float:
        """Return the fraction last reported, 0.0 if none was, 1.0 after success."""
        fraction = 0.0
        for entry in self._ledger[:]:
            if type(entry) is tuple:
                return 1.0 if entry[0] == SUCCEEDED else fraction
            if isinstance(entry, Report):
                fraction = entry.fraction
        return fraction

    # --- facts -----------------------------------------------------------------------------------

    def get_name(self) -> str:
        """Return the task's name: the one given to `parallel`, or the function's."""
        return self._label

    def get_timeout(self) -> float | None:
        """Return the task's own timeout in seconds, None if it has none."""
        return None if self._terms is None else self._terms.timeout

    def set_metadata(self, key: str, value: object) -> None:
        """Attach `value` to the task under `key`; seen in callbacks, logs and `TaskError.metadata`.

        Raises:
            TypeError: `key` is not a string.
        """
        if not isinstance(key, str):
            raise TypeError(f"metadata key {key!r}: must be a string, not {type(key).__name__}")
        if self._metadata is None:
            masked(self._make_metadata)
        self._metadata[key] = value  # type: ignore[index]  # made once, and never taken away

    def _make_metadata(self) -> None:
        with _metadata_lock:
            if self._metadata is None:
                self._metadata = {}

    def get_metadata(self, key: str, default: object = None) -> "Any":
        """Return the value attached under `key`, else `default`.

        Raises:
            TypeError: `key` is not a string.
        """
        if not isinstance(key, str):
            raise TypeError(f"metadata key {key!r}: must be a string, not {type(key).__name__}")
        return default if self._metadata is None else self._metadata.get(key, default)

    def get_all_metadata(self) -> "dict[str, Any]":
        """Return a copy of all that is attached to the task."""
        return {} if self._metadata is None else self._metadata.copy()

    def __repr__(self) -> str:
        outcome = self._outcome()
        state = "pending" if self._claimant() is None else "running"
        if outcome is not None:
            state = STATE_NAMES[outcome[0]]
        return f"<AsyncHandle {self._label!r} id={self.get_task_id()} {state} {self.elapsed_time():.3f}s>"

    # --- callbacks -------------------------------------------------------------------------------

    def on_complete(self, callback: "Callable[[R], object]") -> None:
        """Call `callback(result)` once the task has succeeded; at once if it has.

        Fires exactly once, without anyone calling `get`, in the thread that finished the task, after
        all who wait were woken, in a copy of the context of this call. If it raises, that is logged.

        Raises:
            TypeError: `callback` is not callable.
        """
        masked(self._add, Callback(callback, on_success=True))

    def on_error(self, callback: "Callable[[TaskError], object]") -> None:
        """Call `callback(error)` once the task has failed, timed out or was cancelled; at once if it has.

        `error` is the `TaskError` that `get` would raise, and counts as looked at. Otherwise as `on_complete`;
        for a timeout it runs on a worker.

        Raises:
            TypeError: `callback` is not callable.
        """
        masked(self._add, Callback(callback, on_success=False))

    def on_progress(self, callback: "Callable[[float], object]") -> None:
        """Call `callback(fraction)` at each `report_progress`, in the reporting thread.

        Registered late, it is called at once with the last value. If it raises, that is logged.

        Raises:
            TypeError: `callback` is not callable.
        """
        masked(add_progress, self, ProgressCallback(callback))

    def _add(self, callback: "Callback") -> None:
        if self._watch(callback) is not None:
            callback.fire(self)
            self._unwatch(callback)

    # --- errors ----------------------------------------------------------------------------------

    def _error(self, outcome: "Outcome") -> TaskError:
        """A fresh error for an outcome that is not success; the failure counts as looked at."""
        state, failure, end = outcome
        elapsed = max(end - self._start, 0.0) if self._start else 0.0
        facts = (self._label, self.get_task_id(), elapsed)
        metadata = self.get_all_metadata()
        if state == FAILED:
            assert isinstance(failure, Failure)
            failure.seen = True
            cause = failure.error
            error = TaskError(*facts, type(cause).__qualname__, text_of(cause), metadata)
            error.__cause__ = cause
            if failure.origin is not None:
                error.add_note(f"submitted at {failure.origin}")
            return error
        if state == TIMED_OUT:
            limit = self.get_timeout()
            return TaskTimeoutError(*facts, "TaskTimeoutError", f"ran longer than its timeout of {limit:g} s", metadata)
        from ._types import TaskCancelledError  # a slow import, for those who need it

        return TaskCancelledError(*facts, "TaskCancelledError", "was cancelled", metadata)
