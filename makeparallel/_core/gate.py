"""The gate (P5): when a body may be interrupted, and when its worker can't be reached.

What it is: both sides of one list per worker. `armed` holds the running task while its body executes its own
code, and nothing while the worker is in the library's; a sender adds a mark to it. Every call of the
library from a body *closes* the gate, and *opens* it at its end; leaving the body closes it for good.
What it is not: a decision whether to interrupt. That is the supervisor's (`_interrupt`).

Guarantees: an interrupt reaches the body that it is meant for, outside any call of the library, or
nobody (I4); the undisturbed path takes no lock. What could not be sent is due, and is raised by the
worker itself when it opens the gate.

Assumes: C1, C4, C8, C9 of `_sync`.
See: README.md, P5.
"""

from .._errors import TaskInterrupt
from .._sync import clear_interrupt, get_ident, now, send_interrupt
from .entries import CANCELLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .task import Task
    from .worker import Worker

#: The worker of each thread that is one. A dict: reads take no lock, each thread writes its own key.
WORKERS: "dict[int, Worker]" = {}

#: Seconds from the first interrupt of a body to the second; each further pause is twice as long.
FIRST_PAUSE = 0.05


class Mark:
    """Stands in a worker's `armed`: a sender is at work, or has sent something since the gate was opened."""

    __slots__ = ()


#: Stands in a worker's `due` once a shutdown has cancelled what runs: what begins after that is cancelled too.
CUT_OFF: "Any" = Mark()


class Notice:
    """A body was told to leave. Guarded by the worker's lock."""

    __slots__ = ("again", "pause", "since", "task")

    def __init__(self, task: "Task", hard_grace: float) -> None:
        self.task = task
        self.since = now()
        self.pause = FIRST_PAUSE
        #: When to tell it again: at least once before the hard grace is over.
        self.again = self.since + min(FIRST_PAUSE, hard_grace / 4)

    def postpone(self, limit: float) -> float:
        """Double the pause, but don't go beyond `limit`; when to tell it again."""
        self.pause *= 2
        self.again = min(now() + self.pause, limit)
        return self.again


# --- the worker's side ------------------------------------------------------------------------------


def masked[**P, R](function: "Callable[P, R]", /, *args: "P.args", **kwargs: "P.kwargs") -> R:
    """Call a part of the library that no interrupt must cut short, from any thread, at any depth."""
    worker = WORKERS.get(get_ident())
    try:
        if worker is None or not close(worker):
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            open_again(worker)
    finally:
        function = args = kwargs = None  # type: ignore[assignment]  # I5: see run_body


def close(worker: "Worker") -> bool:
    """Close the gate of the calling thread's worker; False if it is closed, or no body runs.

    Raises:
        TaskInterrupt: one was on its way; the gate is open. What became due meanwhile, the supervisor tells again.
    """
    armed = worker.armed
    if not armed:
        return False
    try:
        try:
            try:
                armed.remove(worker.stack[-1])
            except (ValueError, IndexError):  # the mark of a sender that was too late
                return False
            if armed:
                _let_through(worker)
        except BaseException:  # an interrupt, sent before the removal ...
            calm(worker)
            raise
    except BaseException:  # ... or also one from a sender that looked before the removal
        calm(worker)
        armed.append(worker.stack[-1])
        raise
    return True


def open_again(worker: "Worker") -> None:
    """Let the body be interrupted again.

    Raises:
        TaskInterrupt: one is due, or comes right now.
    """
    worker.armed.append(worker.stack[-1])
    if worker.due:
        deliver(worker)


def deliver(worker: "Worker") -> None:
    """Raise what is due for the running task, whose gate is open.

    Raises:
        TaskInterrupt: something was.
    """
    task = worker.stack[-1]
    is_due = False
    if CUT_OFF in worker.due and close(worker):
        try:
            is_due = task.end(CANCELLED, fire=False) and task.takes_interrupts()
        finally:
            worker.armed.append(task)
    with worker.lock:
        if is_due or task in worker.due:
            is_due = True
            _note(worker, task)
            _forget_due(worker, task)
    if is_due:
        worker.home.alarm()  # the supervisor looks after those who don't leave
        raise TaskInterrupt


def leave_body(worker: "Worker") -> "NoReturn":
    """Have the running task's body leave: raise what would otherwise be sent. The gate is closed."""
    task = worker.stack[-1]
    with worker.lock:
        _note(worker, task)
        _forget_due(worker, task)
    worker.home.alarm()
    raise TaskInterrupt


def calm(worker: "Worker") -> None:
    """See to it that the gate is closed, and nothing on its way to this thread. Repeated if interrupted itself.

    Whoever holds the worker's lock knows that no sender is between its look and its sending.
    """
    with worker.lock:
        worker.armed.clear()
        clear_interrupt(worker.ident)


def forget(worker: "Worker", task: "Task") -> bool:
    """A body whose task was finished from outside has left, and is off the stack; True if it was interrupted."""
    with worker.lock:
        _forget_due(worker, task)
        if worker.notice is not None and worker.notice.task is task:
            worker.notice = None
        was_hit, worker.was_hit = worker.was_hit, False
    return was_hit


def is_interruptible(worker: "Worker", task: "Task") -> bool:
    """True if a wait inside `task`, which runs on this thread's worker, ends when the task is ended."""
    return task.takes_interrupts() and task not in worker.shielded[-1:]


def shielded[**P, R](function: "Callable[P, R]", /, *args: "P.args", **kwargs: "P.kwargs") -> R:
    """Call a user's callback: the task in whose thread it runs can't leave in the middle of it."""
    worker = WORKERS.get(get_ident())
    if worker is None or not worker.stack:
        return function(*args, **kwargs)
    depth = len(worker.shielded)
    worker.shielded.append(worker.stack[-1])
    try:
        return function(*args, **kwargs)
    finally:
        del worker.shielded[depth:]


def _let_through(worker: "Worker") -> None:
    """A sender was at work since the gate was opened. What it sent arrives here, if it has not before (C8)."""
    with worker.lock:
        worker.armed.clear()
    _pause()


def _pause() -> None:
    """The start of a function is a place where interrupts arrive (C8)."""


def _note(worker: "Worker", task: "Task") -> None:
    if worker.notice is None or worker.notice.task is not task:
        worker.notice = Notice(task, worker.home.hard_grace)


def _forget_due(worker: "Worker", task: "Task") -> bool:
    try:
        worker.due.remove(task)  # by identity (C9)
    except ValueError:
        return False
    return True


# --- the sender's side: the caller holds the worker's lock ------------------------------------------


def post(worker: "Worker", task: "Task") -> bool:
    """Interrupt a task on the worker's stack; False if it can't be reached now: then it is due.

    I3: it is made due *before* the look at the gate. A worker that opens the gate after the look sees that
    it is due, since it reads `due` after its own entry in `armed`, whose lock orders the two.
    """
    if task not in worker.due:
        worker.due.append(task)
    if not reach(worker, task):
        return False
    worker.due.remove(task)
    worker.was_hit = True
    send_interrupt(worker.ident, TaskInterrupt)
    return True


def reach(worker: "Worker", task: "Task") -> bool:
    """True if the task's body is in its own code. It then stays out of ours until the caller releases the lock.

    I4: `armed` has one order (C1). If the task comes before our mark, then its worker's removal comes
    after it, and finds the mark; so it waits for the lock before it goes on.
    """
    mark = Mark()
    worker.armed.append(mark)
    for entry in worker.armed[:]:
        if entry is task:
            return True
        if entry is mark:
            break
    worker.armed.remove(mark)
    return False
