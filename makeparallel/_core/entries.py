"""What stands in a task's ledger besides the worker that claimed it, and what few tasks carry along.

What it is: the kinds of ledger entries. An outcome is a plain tuple `(state, value or Failure, end)`;
a claim is the worker itself (`Claimant`); everything else is a `Watcher`.

Guarantees: waking a watcher runs no user code and can be repeated; firing one runs user code at most
once; an error that nobody looked at is reported once, and not from inside a finalizer (I9).
"""

from .._sync import Bell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .task import Task
    from .worker import Worker

SUCCEEDED, FAILED, CANCELLED, TIMED_OUT = 1, 2, 3, 4
STATE_NAMES = {SUCCEEDED: "succeeded", FAILED: "failed", CANCELLED: "cancelled", TIMED_OUT: "timed out"}

_traceback: "Any" = BaseException.__dict__["__traceback__"]

#: Where a worker counts bodies that it has not left, and that nobody waits for any more.
GIVEN_UP = 3


class Claimant:
    """Marks a ledger's entry as a claim: "I run this body". The entry is the worker itself."""

    __slots__ = ()


class Watcher:
    """A ledger's entry that wants to know of the outcome: a waiter, or a callback."""

    __slots__ = ()
    #: True for entries that stay in the ledger after the outcome.
    lasting = False

    def wake(self, task: "Task") -> None:
        """Wake who waits. Called once or more, before any `fire`; must not run user code."""

    def fire(self, task: "Task") -> None:
        """Run a user's callback, at most once however often it is called."""


class Waiter(Watcher):
    """A thread that waits for the outcome."""

    __slots__ = ("bell",)

    def __init__(self, bell: Bell | None = None) -> None:
        self.bell = Bell() if bell is None else bell

    def wake(self, task: "Task") -> None:
        """Ring the waiting thread's bell."""
        self.bell.ring()


class Failure:
    """What a body raised, until somebody looks at it; reported once if nobody ever does."""

    __slots__ = ("error", "home", "name", "origin", "seen", "task_id")

    def __init__(self, task: "Task", error: BaseException) -> None:
        self.seen = False
        self.error = error
        self.origin = None if task._terms is None else task._terms.origin
        self.name = task._label
        self.task_id = task.get_task_id()
        self.home = task._home

    def __del__(self) -> None:
        if not self.seen:
            # I9: this is a finalizer, so it only queues the error; a worker logs it.
            self.home.report_unseen(self.name, self.task_id, self.error)


def drop_own_frame(error: BaseException) -> None:
    """Leave the user's frames in the traceback, without the one of the library that called them.

    By the base class, since a user's class may forbid the assignment, or make it run code: a frozen dataclass.
    """
    trace = _traceback.__get__(error)
    if trace is not None:
        BaseException.with_traceback(error, trace.tb_next)


class Terms:
    """What few tasks have: a timeout, a place in a bounded queue, a known origin. Plain tasks pay one `None` for it."""

    __slots__ = ("deadline", "interrupt", "origin", "owner", "permit", "timeout")

    def __init__(self, timeout: float | None, interrupt: bool = True) -> None:
        #: False if the body must never be interrupted, only asked.
        self.interrupt = interrupt
        #: The task that made this one for itself alone: a chunk of its map, of which nobody else has the handle.
        self.owner: Task | None = None
        #: Where the task was submitted, as "file:line", if that was cheap to know.
        self.origin: str | None = None
        self.timeout = timeout
        self.deadline: float | None = None
        #: The permit of a bounded pool, while the task holds it.
        self.permit: list[None] = []


class Chore:
    """Queue entry: a call for a worker to make, since the thread that thought of it must not run user code."""

    __slots__ = ("call",)

    def __init__(self, function: "Callable[..., object]", *args: object) -> None:
        self.call = (function, args)

    def run_on(self, worker: "Worker | None") -> None:
        """Make the call."""
        function, args = self.call
        function(*args)


class Callbacks:
    """Queue entry: fire a settled task's callbacks on a worker, in place of the thread that settled it."""

    __slots__ = ("before", "task")

    def __init__(self, task: "Task", before: "list[object]") -> None:
        self.task = task
        self.before = before

    def run_on(self, worker: "Worker") -> None:
        """Fire what has not fired yet."""
        self.task._fire_all(self.before)
