"""The supervisor: one thread per process that ends tasks at their deadlines, and has their bodies leave.

What it is: a thread that sleeps exactly until the earliest deadline of a *running* task, or until a body
that was told to leave has to be told again, and for ever when there is neither. It starts when it is first
needed. It keeps no list of deadlines: it looks at the workers' stacks, so a queued task costs it nothing,
and a finished one is not kept alive (I5).

What it is not: a place where user code runs. Callbacks of what it ends run on a worker (P7).

Guarantees: a deadline is never overslept (I3). A worker pushes its task onto its stack, then reads
`_wake_at`; the supervisor writes `_wake_at`, then looks at all stacks once more. The stack's lock orders
the two, so either the supervisor sees the task or the worker sees the moment, and rings if it is too late.

A task that is finished from outside while it runs raises the alarm: a ring, after its outcome is in the ledger.

Assumes: C1 and C3 of `_sync`.
"""

import itertools

from ._core.entries import CANCELLED, TIMED_OUT
from ._core.idle import STOPPED
from ._core.scheduler import Scheduler
from ._core.task import Task
from ._core.worker import UNFIT, Worker
from ._interrupt import urge
from ._log import log_warning
from ._sync import Bell, RLock, can_interrupt, get_ident, new_thread, now, prefer_prompt_wakeups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

FOREVER = float("inf")
#: How a task is finished from outside.
ENDED = (CANCELLED, TIMED_OUT)


class Supervisor:
    """Ends tasks that run longer than their timeout, and urges the bodies of finished ones to leave.

    Thread-safety: internally synchronized.
    """

    def __init__(self) -> None:
        # Guarded by _lock
        self._lock = RLock()
        self._thread: Thread | None = None
        # Racy by design: a dict, whose single operations are atomic (C1)
        self._homes: dict[int, Scheduler] = {}
        self.was_used = False
        # Racy by design: see Guarantees above
        self._wake_at = -FOREVER
        self._stopping = False
        self._bell = Bell()

    def adopt(self, home: Scheduler) -> None:
        """Watch over the deadlines of a scheduler from now on, until it has stopped."""
        for other in self.homes():
            self._release_if_done(other)
        self._homes[id(home)] = home
        self.was_used = True
        home.watch = self.watch
        home.alarm = self.alarm

    def homes(self) -> list[Scheduler]:
        """Every scheduler of the process that may have threads, its pool dropped or not."""
        return [*self._homes.values()]  # one locked operation on the dict (C1)

    def _release_if_done(self, home: Scheduler) -> bool:
        # A worker may have a task in hand that is on no stack yet: the counts know of it.
        done = home.state >= STOPPED and not any(worker.stack for worker in home.roster[:]) and not home.active_count()
        if done:
            self._homes.pop(id(home), None)
        return done

    def watch(self, deadline: float) -> None:
        """Be awake at `deadline`. Called by a worker after the task is on its stack."""
        if deadline < self._wake_at:
            self._bell.ring()
        elif self._thread is None:
            self._start()

    def alarm(self) -> None:
        """Look at all stacks: a body on one is to leave, or was told to. Called by any thread, once that is so."""
        if self._thread is None:
            self._start()
        self._bell.ring()

    def _start(self) -> None:
        problem: Exception | None = None
        can_interrupt()  # it takes a while, the first time: now, rather than at the first deadline
        with self._lock:
            if self._thread is None and not self._stopping:
                try:
                    thread = new_thread(self._run, "makeparallel-supervisor")
                    self._thread = thread  # before the start: a break in it must not lead to a second one
                    thread.start()
                except (RuntimeError, MemoryError) as error:
                    self._thread, problem = None, error
        if problem is not None:  # I6: not under the lock. The next deadline tries again
            log_warning("the supervisor could not be started (%s): timeouts are late or not kept", problem)

    def stop(self) -> None:
        """End the thread, before the interpreter does."""
        self._stopping = True
        self._bell.ring()
        thread = self._thread
        if thread is not None:
            thread.join(1.0)

    def _run(self) -> None:
        UNFIT[get_ident()] = None
        prefer_prompt_wakeups()
        while not self._stopping:
            earliest = self._look_around()
            self._wake_at = earliest
            # I3: look again after announcing when we will wake
            again = self._look_around()
            if again < earliest:
                continue
            self._bell.wait(None if earliest == FOREVER else earliest - now())
            self._wake_at = -FOREVER  # awake: nobody need ring
        del UNFIT[get_ident()]

    def _look_around(self) -> float:
        """End every running task whose deadline has passed, and urge bodies to leave; when to look again."""
        earliest = FOREVER
        for home in self.homes():
            if self._release_if_done(home):
                continue
            for worker in home.roster[:]:
                stack = worker.stack[:]
                for task in stack:
                    earliest = min(earliest, self._look_at(home, worker, task))
                _end_owned(stack)
        return earliest

    def _look_at(self, home: Scheduler, worker: Worker, task: Task) -> float:
        outcome = task._outcome()
        if outcome is None:
            terms = task._terms
            if terms is None or terms.deadline is None:
                return FOREVER
            if now() < terms.deadline:
                return terms.deadline
            if not task.end(TIMED_OUT, fire=False):
                return FOREVER  # the body was faster
        elif outcome[0] not in ENDED:
            return FOREVER  # the body has just left
        return urge(home, worker, task)


def _end_owned(stack: list[Task]) -> None:
    """Cancel what runs inline for a finished task, and for nobody else: a chunk of its map."""
    for outer, inner in itertools.pairwise(stack):
        outcome = outer._outcome()
        if inner._terms is not None and inner._terms.owner is outer and outcome is not None and outcome[0] in ENDED:
            inner.end(CANCELLED, fire=False)
