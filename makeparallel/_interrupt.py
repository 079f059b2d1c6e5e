"""Having a body leave (P5): first by an interrupt, again if that did not help, and then without it.

What it is: the supervisor's decisions about one worker. How an interrupt is kept inside the body that it is meant
for is in `_core/gate.py`; how a thread is given up, in `_core/staff.py`.

Guarantees: a body is told at once if its gate is open, else when it opens; told again after a pause that doubles,
as long as it stays; and abandoned when it has not left `hard_grace` seconds after it was first told, unless too many
are abandoned already. A body that is in a `shield`, or that must not be interrupted, is left alone.
"""

from ._core.entries import Chore
from ._core.gate import Notice, post
from ._core.idle import STOPPED
from ._core.staff import abandon, replace_abandoned
from ._log import log_warning
from ._sync import can_interrupt, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._core.scheduler import Scheduler
    from ._core.task import Task
    from ._core.worker import Worker

NEVER = float("inf")
NOT_POSSIBLE = (
    "this Python cannot raise an exception in another thread: tasks that time out or are cancelled are only "
    "asked to stop (checkpoint, cancel_requested)"
)
_warned: list[None] = []


def urge(home: "Scheduler", worker: "Worker", task: "Task") -> float:
    """Do what is due to have a finished task's body leave the worker's stack; when to look again."""
    if not task.takes_interrupts() or not _is_possible(home):
        return NEVER
    with worker.lock:
        stack = worker.stack[:]  # let go after the lock: it may hold the last reference to a task
        if not any(entry is task for entry in stack):
            return NEVER  # it has left; looked at under the lock, which it takes after it has
        if task is not stack[-1] or task in worker.shielded[-1:]:
            post(worker, task)
            return NEVER  # it is due; when the gate opens for it, the worker raises it and tells us
        notice = worker.notice
        if notice is None or notice.task is not task:
            post(worker, task)
            notice = worker.notice = Notice(task, home.hard_grace)
            return notice.again
        if now() < notice.again:
            return notice.again
        limit = NEVER if worker.abandoned else notice.since + home.hard_grace
        rest = abandon(worker, task) if now() >= limit and home.may_abandon() else None
        if rest is None:
            # In a call of the library it is due. At the limit on abandoned threads it is told as before.
            post(worker, task)
            return notice.postpone(limit if now() < limit else NEVER)
        again = notice.postpone(NEVER)  # it costs nothing to go on telling it, ever more seldom
    if home.state < STOPPED:  # a shutdown that gave up has said so
        clogs = not home.may_abandon()
        home.add_chore(Chore(home.on_abandoned, home.name, task._label, task.get_task_id(), clogs))
    replace_abandoned(home, *rest)
    return again


def _is_possible(home: "Scheduler") -> bool:
    if can_interrupt():
        return True
    if not _warned:
        _warned.append(None)
        home.add_chore(Chore(log_warning, NOT_POSSIBLE))
    return False
