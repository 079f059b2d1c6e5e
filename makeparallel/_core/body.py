"""Running a body: from the claim to the outcome.

What it is: the worker's way through one task. The gate is opened for the body and closed after it; whatever it
raised, also an interrupt, ends here.

Guarantees: from the claim on, nothing here refers to the function or its arguments (I5); no interrupt gets out
of here, and none is on its way when the body's outcome is settled (I4).

Assumes: C1, C4, C8 of `_sync`.
See: README.md, P1 and P5.
"""

from .._errors import TaskInterrupt
from .._sync import now
from .entries import FAILED, GIVEN_UP, SUCCEEDED, TIMED_OUT, Failure, drop_own_frame
from .gate import calm, deliver, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .entries import Terms
    from .task import Outcome, Task
    from .worker import Worker


def run_body(task: "Task", worker: "Worker") -> "Outcome | None":
    """Run the claimed body and settle the task; its outcome. `worker` is the first entry of its kind in the ledger."""
    context, fn, args, kwargs = task._call  # type: ignore[misc]  # a claimed task has its call
    task._call = None
    terms = task._terms
    if terms is not None and not _begin(task, terms, worker):
        return task._outcome()
    task._start = now()
    worker.stack.append(task)
    if terms is not None and terms.timeout is not None:
        terms.deadline = task._start + terms.timeout
        worker.home.watch(terms.deadline)  # after the append: the supervisor looks at stacks
    armed = worker.armed
    state, value = FAILED, None
    # P5, I4: the gate is opened inside the `try` that catches what comes through it. Until it is closed and nothing
    # is on its way, an interrupt may fall anywhere in here. At most two arrive once the gate is closed: what was
    # sent before, and what a sender is about to send.
    try:
        try:
            try:
                # Who finished the task before it was on the stack may have had the supervisor look there in vain;
                # then the stack's lock orders that outcome before this look.
                if len(task._ledger) > 1 and task._outcome() is not None:
                    raise TaskInterrupt
                armed.append(task)
                if worker.due:
                    deliver(worker)
                    if task._outcome() is not None:  # cut off by a shutdown as it began, and not to be interrupted
                        raise TaskInterrupt
                value = context.run(fn, *args, **kwargs) if kwargs else context.run(fn, *args)
                state = SUCCEEDED
            except BaseException as error:  # SystemExit and KeyboardInterrupt end the task, never the worker
                value, state = error, FAILED
            armed.remove(task)
            if armed:
                calm(worker)
        except BaseException:  # a late interrupt; or the gate is shut: it was never opened, or a shield never left
            calm(worker)
    except TaskInterrupt:
        calm(worker)
    context = fn = args = kwargs = None
    outcome: Outcome = (state, value if state == SUCCEEDED else _failure(task, value), now())
    value = None
    ledger, was_finished = task._ledger, False
    if len(ledger) == 1:
        # Nobody watches, nobody has settled, as far as a plain read shows. The count comes first, so
        # that who sees the outcome sees it counted; if the read was stale, it is taken back.
        worker.left[state] += 1
        ledger.append(outcome)
        if ledger[1] is not outcome:
            worker.left[state] -= 1
            was_finished = _leave(task, outcome, task._before(outcome), worker)
    else:
        was_finished = _leave(task, outcome, task._settle(outcome), worker)
    worker.stack.pop()
    if worker.shielded:  # a block that was entered and never left ends with its task
        worker.shielded = [other for other in worker.shielded if other is not task]
    try:
        if was_finished:
            if forget(worker, task):
                worker.home.on_interrupted()
            return task._outcome()
        return outcome
    finally:
        # I5: the traceback of a failure keeps this frame (f_back), and would keep all it refers to.
        task = outcome = ledger = None  # type: ignore[assignment]


def _begin(task: "Task", terms: "Terms", worker: "Worker") -> bool:
    """Do what a task with terms needs before its body; False if the body must not run."""
    task._home.return_permit(terms)
    if terms.timeout == 0.0:
        task.end(TIMED_OUT)
        worker.left[0] += 1
        return False
    return True


def _failure(task: "Task", error: BaseException | None) -> Failure:
    """Wrap what the body raised; None if an interrupt hid that. Then the task is finished, and nobody sees this."""
    error = error or BaseException("an interrupt hid it")
    drop_own_frame(error)
    return Failure(task, error)


def _leave(task: "Task", outcome: "Outcome", before: "list[Any] | None", worker: "Worker") -> bool:
    """Do what follows from a body's outcome, and count it; True if the task had been finished from outside."""
    state = outcome[0]
    if before is None:
        if state == FAILED:
            outcome[1].seen = True  # nobody can look at it: the handle has another outcome
        task._drop(outcome)
        if worker.abandoned:  # it was counted when it was given up; for a moment it is not counted at all
            worker.left[GIVEN_UP] -= 1
        worker.left[0] += 1
        return True
    worker.left[state] += 1
    task._wake_all(before)
    task._fire_all(before)
    return False
