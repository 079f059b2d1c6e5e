"""What a user hangs onto a handle: callbacks for the outcome, callbacks for progress, reports.

All are entries of the task's ledger, so that its order decides who is told what (P1).
"""

from contextvars import copy_context
from functools import partial

from ._core.entries import SUCCEEDED, Watcher
from ._core.gate import WORKERS, shielded
from ._core.task import Task
from ._log import log_error
from ._sync import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _survive(error: BaseException, message: str, *args: object) -> None:
    """Log what a callback raised, `SystemExit` too; only Ctrl-C in a thread of the user's goes on."""
    if isinstance(error, KeyboardInterrupt) and get_ident() not in WORKERS:
        raise error
    log_error(message, *args, error=error)


class Callback(Watcher):
    """A user's callback for the outcome, in the ledger until it has fired."""

    __slots__ = ("_calls", "_context", "on_success")

    def __init__(self, callback: "Callable[[Any], object]", on_success: bool) -> None:
        if not callable(callback):
            raise TypeError(f"callback {callback!r}: must be callable with one argument")
        self.on_success = on_success
        self._context = copy_context()
        self._calls = {0: callback}

    def fire(self, task: Task) -> None:
        """Run it if the outcome is of its kind; whoever pops the call runs it, so it runs once (C1)."""
        outcome = task._outcome()
        assert outcome is not None
        if (outcome[0] == SUCCEEDED) != self.on_success:
            return
        value = outcome[1] if self.on_success else task._error(outcome)  # type: ignore[attr-defined]  # all tasks of users are handles
        # Popping and calling are one C call (C5): a break falls before both or into the user's function.
        call_once = map(self._context.run, iter(partial(self._calls.pop, 0, None), None), (value,))
        try:
            shielded(next, call_once, None)
        except BaseException as error:
            _survive(error, "a callback of task %r (id %s) raised", task._label, task.get_task_id())


class Report(Watcher):
    """A reported fraction; only the last one stays in the ledger."""

    __slots__ = ("fraction",)
    lasting = True

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction


class ProgressCallback(Watcher):
    """A user's callback for progress."""

    __slots__ = ("_callback", "_context", "lasting")

    def __init__(self, callback: "Callable[[float], object]") -> None:
        if not callable(callback):
            raise TypeError(f"callback {callback!r}: must be callable with one argument")
        self._callback = callback
        self._context = copy_context()
        #: True until it has been told the last report before it: that it finds by its own place in the ledger.
        self.lasting = True

    def call(self, fraction: float, task: Task) -> None:
        """Call the user's function."""
        try:
            shielded(self._context.copy().run, self._callback, fraction)
        except BaseException as error:
            _survive(error, "a progress callback of task %r (id %s) raised", task._label, task.get_task_id())


def add_progress(task: Task, mine: ProgressCallback) -> None:
    """Register a callback; it is called at once with the last report before it."""
    task._ledger.append(mine)
    last = None
    for entry in task._ledger[:]:  # P1: reports before our entry are ours to replay, later ones their sender's
        if entry is mine:
            break
        if isinstance(entry, Report):
            last = entry
    mine.lasting = False
    # Who settles after this look sees the line above, since the list's lock orders the two (C1): it takes it out.
    if task._outcome() is not None:
        task._unwatch(mine)
    if last is not None:
        mine.call(last.fraction, task)


def report(task: Task, fraction: float) -> None:
    """Note a fraction, and call the callbacks registered before it."""
    mine = Report(fraction)
    task._ledger.append(mine)
    callbacks, old = [], []
    for entry in task._ledger[:]:
        if entry is mine:
            break
        if isinstance(entry, ProgressCallback):
            callbacks.append(entry)
        elif isinstance(entry, Report):
            old.append(entry)
    for entry in old:
        task._unwatch(entry)
    for callback in callbacks:
        callback.call(fraction, task)
