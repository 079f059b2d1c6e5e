"""Waiting for a task (P4): from inside another one, or from any other thread.

What it is: the three ways to wait. Inside a task, one that nobody has begun is run right here; for any
other the worker lends its seat and blocks. A thread that is no worker just blocks.

Guarantees: a wait inside a task never deadlocks for want of workers, at any depth, with one worker; a
wait that closes a cycle of tasks raises (unless it waits for any of 64 tasks or more: see FOLLOWED).

Assumes: C1 of `_sync`.
See: README.md, P4.
"""

import sys

from .._sync import Bell, get_ident, now
from .body import run_body
from .entries import Waiter
from .gate import WORKERS, close, is_interruptible, leave_body, open_again
from .idle import FORKED, leave_seat, retake_seat
from .task import Task
from .worker import FOLLOWED, Worker, all_lead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .task import Outcome


def await_outcome(task: Task, timeout: float | None) -> "Outcome | None":
    """Wait for the task's outcome from any thread; None if `timeout` seconds passed first."""
    try:
        outcome = task._outcome()
        if outcome is not None:
            return outcome
        worker = WORKERS.get(get_ident())
        if worker is None:
            return _wait_outside(task, timeout)
        if not close(worker):
            return _wait_inside(worker, task, timeout)
        try:  # P5: `masked`, unrolled
            return _wait_inside(worker, task, timeout)
        finally:
            open_again(worker)
    finally:
        task = outcome = None  # type: ignore[assignment]  # I5: see run_body


def _wait_inside(worker: Worker, task: Task, timeout: float | None) -> "Outcome | None":
    """Wait for `task` from inside the running one: run it inline, or block and lend the seat.

    Raises:
        RuntimeError: the wait closes a cycle.
    """
    try:
        if timeout is None and _run_inline(worker, task):
            return task._outcome()
        waiter = Waiter()
        try:
            outcome = task._watch(waiter)
            if outcome is None:
                task._home.before_wait()
                block_inside(worker, (task,), waiter.bell, timeout)
                outcome = task._outcome()
        finally:
            task._unwatch(waiter)
        return outcome
    finally:
        task = None  # type: ignore[assignment]  # I5: see run_body


def try_inline(task: Task) -> None:
    """In a task: run `task` right here, if it may be and nobody has begun it."""
    worker = WORKERS.get(get_ident())
    if worker is not None:
        _run_inline(worker, task)


def _run_inline(worker: Worker, task: Task) -> bool:
    """Run `task` on top of the running one; False if somebody has begun it, or it must not be."""
    try:
        if not _may_run_inline(worker, task) or not task._claim(worker):
            return False
        worker.unqueue(task)
        run_body(task, worker)
        return True
    finally:
        task = None  # type: ignore[assignment]  # I5: see run_body


def block_inside(worker: Worker, tasks: "Collection[Task]", bell: Bell, timeout: float | None) -> bool:
    """Lend the seat and wait for `bell`, which any of `tasks` rings; True if it rang.

    Raises:
        RuntimeError: the wait closes a cycle.
    """
    worker.waiting.append(tasks)
    try:
        _refuse_cycle(worker, tasks)
        opening = leave_seat(worker)
        try:
            return wait_for_bell(worker, bell, timeout)
        finally:
            retake_seat(worker, opening)
    finally:
        worker.waiting.pop()


def wait_for_bell(worker: Worker | None, bell: Bell, timeout: float | None, *, cooperative: bool = False) -> bool:
    """Block until `bell` rings; True if it did, False if `timeout` seconds passed.

    Every wait of the library that may last ends up here. Inside a task it ends when that task is cancelled or
    times out; with `cooperative`, also where the body must not be interrupted: it asked for it by this wait.

    Raises:
        TaskInterrupt: the running task was finished from outside.
    """
    task = worker.stack[-1] if worker is not None and worker.stack else None
    if worker is None or task is None or not (is_interruptible(worker, task) or cooperative):
        return bell.wait(timeout)
    waiter = Waiter(bell)
    try:
        # I3: registered before the look; whoever settles the task from now on rings
        if task._watch(waiter) is None:
            rang = bell.wait(timeout)
            if task._outcome() is None:
                return rang
    finally:
        task._unwatch(waiter)
    return leave_body(worker)


def _refuse_cycle(worker: Worker, tasks: "Collection[Task]") -> None:
    """P4: raise if all we wait for waits, directly or not, for a task on our own stack.

    Each worker announces its wait (a locked append) before it follows the others' announcements
    (locked slices). Of the workers of a cycle, at least one announces before all its looks and
    after all others' announcements in the locks' order; that one sees the cycle. Two may see it.
    """
    if len(tasks) >= FOLLOWED:
        return
    awaited = list(tasks)
    if all_lead(awaited, [worker], []):
        names = [f"{task._label!r} (id {task.get_task_id()})" for task in awaited[:3]]
        mine = "".join(f"task {task._label!r} (id {task.get_task_id()}) waits for " for task in worker.stack[-1:])
        raise RuntimeError(
            f"deadlock: {mine}{', '.join(names)}, which can't finish before it does; "
            "a task must not wait for itself or for one that waits for it"
        )


def _may_run_inline(worker: Worker, task: Task) -> bool:
    """P4: only the awaited task, no other: any other could need a lock that our body holds.

    Nor one with a timeout, or for one with a timeout: at the deadline the waiting body goes on, or leaves, whatever
    code the task sits in.
    """
    if worker.abandoned or task._home is not worker.home or _is_timed(task) or task._home.state == FORKED:
        return False
    return not (worker.stack and _is_timed(worker.stack[-1])) and _has_room()


def _is_timed(task: Task) -> bool:
    return task._terms is not None and task._terms.timeout is not None


def _has_room() -> bool:
    """True while less than a quarter of the recursion limit is in use: then a body may run inline."""
    try:
        sys._getframe(sys.getrecursionlimit() // 4)
    except ValueError:
        return True
    return False


def _wait_outside(task: Task, timeout: float | None) -> "Outcome | None":
    """Wait in a thread that is no worker."""
    waiter = Waiter()
    try:
        outcome = task._watch(waiter)
        if outcome is None:
            task._home.before_wait()
            waiter.bell.wait(timeout)
            outcome = task._outcome()
    finally:
        task._unwatch(waiter)
    return outcome


def deadline_after(timeout: float | None) -> float | None:
    """The moment, on the library's clock, when `timeout` seconds from now have passed."""
    return None if timeout is None else now() + timeout
