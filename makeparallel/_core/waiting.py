"""Waiting for a task (P4): from inside another one, or from any other thread.

What it is: the three ways to wait. Inside a task, one that nobody has begun is run right here; for any
other the worker lends its seat and blocks. A thread that is no worker just blocks.

Guarantees: a wait inside a task never deadlocks for want of workers, at any depth, with one worker; a
wait that closes a cycle of tasks raises (unless it waits for any of 64 tasks or more: see FOLLOWED).

Assumes: C1 of `_sync`.
See: README.md, P4.
"""

from sys import getrecursionlimit

from .._sync import Bell, frame_at, get_ident, now
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


#: How often a thread that waits looks for the outcome before it sleeps: for about 50 microseconds.
LOOKS = 250


def await_outcome(task: Task, timeout: float | None) -> "Outcome | None":
    """Wait for the task's outcome from any thread; None if `timeout` seconds passed first."""
    try:
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
        task = None  # type: ignore[assignment]  # I5: see run_body


def _wait_inside(worker: Worker, task: Task, timeout: float | None) -> "Outcome | None":
    """Wait for `task` from inside the running one: run it inline, or block and lend the seat.

    Raises:
        RuntimeError: the wait closes a cycle.
    """
    try:
        if timeout is None and _may_run_inline(worker, task) and task._claim(worker):
            worker.unqueue(task)
            return run_body(task, worker)
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
    try:
        worker = WORKERS.get(get_ident())
        if worker is not None and _may_run_inline(worker, task) and task._claim(worker):
            worker.unqueue(task)
            run_body(task, worker)
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
    home, terms = worker.home, task._terms
    if worker.abandoned or task._home is not home or home.state == FORKED:
        return False
    if terms is not None and terms.timeout is not None:
        return False
    if worker.stack:
        terms = worker.stack[-1]._terms
        if terms is not None and terms.timeout is not None:
            return False
    # Less than a quarter of the recursion limit is in use.
    return frame_at(getrecursionlimit() // 4) is None


def _wait_outside(task: Task, timeout: float | None) -> "Outcome | None":
    """Wait in a thread that is no worker."""
    home = task._home
    if timeout is None and home.spin_secs and (home.idle or home.spinning):
        outcome = _look_for(task)
        if outcome is not None:
            return outcome
    waiter = Waiter()
    try:
        outcome = task._watch(waiter)
        if outcome is None:
            home.before_wait()
            waiter.bell.wait(timeout)
            outcome = task._outcome()
    finally:
        task._unwatch(waiter)
    return outcome


def _look_for(task: Task) -> "Outcome | None":
    """Look for the outcome a little longer before sleeping: to be woken takes longer than many a task.

    Only while a seat of the pool is free, so that a CPU is, as well. What it does not see, a wait does.
    """
    home = task._home
    outcome = task._outcome()
    if outcome is None:
        home.before_wait()
        for _ in range(LOOKS):
            outcome = task._outcome()
            if outcome is not None:
                home.tally().saw_end = True
                break
    return outcome


def deadline_after(timeout: float | None) -> float | None:
    """The moment, on the library's clock, when `timeout` seconds from now have passed."""
    return None if timeout is None else now() + timeout
