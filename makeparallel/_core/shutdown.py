"""Shutdown (P6): from the first refused submit to the last joined thread.

What it is: the numbered steps of README.md, P6, and the question "is everything done?", which is asked
by whoever may have been the last. Nothing is counted for it while the pool is open.

Guarantees: no handle is left unfinished (I1); a shutdown from inside a task waits neither for that
task, nor for those that wait for it, nor for other callers of shutdown; at its timeout it returns at once.

Assumes: C1, C2 of `_sync`.
"""

from .._sync import Bell, Queue, fence, get_ident, move, now
from .entries import CANCELLED
from .gate import CUT_OFF, WORKERS
from .idle import CLOSING, DRAINING, STOPPED, leave_seat, pass_on, retake_seat
from .task import Task
from .waiting import deadline_after, wait_for_bell
from .worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .scheduler import Scheduler


class Drain:
    """Shuts one scheduler down.

    Thread-safety: internally synchronized.
    """

    __slots__ = ("_home", "_inside", "_waiting")

    def __init__(self, home: "Scheduler") -> None:
        self._home = home
        # Racy by design: lists, whose lock orders all access (C1)
        self._waiting: list[Bell | _Stopper] = []
        self._inside: list[Worker] = []  # workers whose running task is in `run`

    def run(self, timeout: float | None, cancel_pending: bool) -> bool:
        """Shut down; True if every body ended in time. The steps are numbered in README.md, P6."""
        home = self._home
        if timeout is None and home.state >= STOPPED:
            # An earlier call has waited, or has given up on what still runs: wait as long as it takes to interrupt
            # that, or to abandon it, but not much longer than a second.
            timeout = min(home.hard_grace, 1.0) + 0.1
        deadline = deadline_after(timeout)
        home.advance(CLOSING if cancel_pending else DRAINING)  # step 1: refuse
        if home.room is not None:
            home.room.ring_all()
        if cancel_pending:
            self.sweep()  # step 2: drop what is pending
        worker = WORKERS.get(get_ident())
        inside = worker if worker is not None and worker.home is home else None
        if inside is not None:
            self._inside.append(inside)
        try:
            in_time = self._wait(worker, deadline)  # step 3: wait for what runs
            if not in_time:
                self._cancel_running()  # step 4: the time is up
            self.stop()  # step 5: nobody looks for work any more
            joined = in_time and self._join(deadline)  # step 6: the threads are gone
            return joined and not any(worker.abandoned for worker in home.roster[:])
        except BaseException:  # a break, or an interrupt of the task that we are in
            if home.state < STOPPED:
                self._waiting.append(_Stopper(self))  # the last worker does the rest
                self.check()  # I3: look again after announcing
            raise
        finally:
            if inside is not None:
                self._inside.remove(inside)

    def begin(self) -> None:
        """Take no new tasks, finish what there is, then stop; wait for nothing: the pool was dropped.

        After a break it can be called again.
        """
        self._home.advance(DRAINING)
        if self._home.state >= STOPPED:
            self.stop()
            return
        if not any(isinstance(entry, _Stopper) for entry in self._waiting[:]):
            self._waiting.append(_Stopper(self))
        self.check()
        # A submit that was broken between its push and its wake-up has left an entry that nobody looks at.
        pass_on(self._home)

    def check(self) -> None:
        """Wake those who wait for the end, if it has come. Called by whoever may have been the last."""
        if self._waiting and self.is_drained():
            for bell in self._waiting[:]:
                bell.ring()

    def is_drained(self) -> bool:
        """True if no task is pending or running, but for the exempt.

        In this order: a body that has left its worker's stack (looked at under the stack's lock) has
        its submits and its counts visible; then the queues; then the counts, finishes before submits.
        """
        home = self._home
        exempt = self._exempt()
        if any(worker.stack[:] for worker in home.roster[:] if worker not in exempt and not worker.abandoned):
            return False
        if home.state < STOPPED and home.has_work():
            return False
        return home.active_count() <= sum(len(worker.stack) for worker in exempt if not worker.abandoned)

    def sweep(self) -> None:
        """Cancel every queued task; run queued chores here.

        P6: a submit that pushes after our last look at its queue, under its lock, sees the state that was set before.
        """
        home = self._home
        for queue in (home.injector, *(seat.local for seat in home.seats)):
            while fence(queue):
                self._sweep_one(queue)

    def _sweep_one(self, queue: "Queue[Any]") -> None:
        held: list[Any] = []
        try:
            try:
                move(queue, held)  # C5: it is in the queue or in our hand
            except IndexError:
                return
            entry = held[0]
            if isinstance(entry, Task):
                entry.end(CANCELLED)
            else:
                entry.run_on(None)
        except BaseException:
            if held:  # a break: the next sweep finds it again
                self._home.injector.append(held[0])
            raise

    def stop(self) -> None:
        """Send every worker home. What slipped into a queue meanwhile is cancelled, never lost (I1)."""
        home = self._home
        home.advance(STOPPED)
        self.sweep()
        for seat in home.seats:
            seat.bell.ring()
        for worker in home.roster[:]:
            worker.bell.ring()
        if home.room is not None:
            home.room.ring_all()

    def _wait(self, worker: Worker | None, deadline: float | None) -> bool:
        drained = Bell()
        self._waiting.append(drained)
        seat = None if worker is None else leave_seat(worker)
        try:
            self.check()  # our coming may have been what another caller waits for
            return self._wait_until_drained(worker, drained, deadline)
        finally:
            self._waiting.remove(drained)
            if worker is not None:
                retake_seat(worker, seat)

    def _wait_until_drained(self, worker: Worker | None, drained: Bell, deadline: float | None) -> bool:
        """The loop of `_wait`: C7."""
        while not self.is_drained():
            self._home.before_wait()
            remaining = None if deadline is None else deadline - now()
            if remaining is not None and remaining <= 0:
                return False
            wait_for_bell(worker, drained, remaining)
        return True

    def _exempt(self) -> list[Worker]:
        """The workers whose tasks are not waited for: callers of shutdown, and who waits for those."""
        exempt = self._inside[:]
        if exempt:
            for worker in self._home.roster[:]:
                if worker not in exempt and worker.leads_to(exempt, []):
                    exempt.append(worker)
        return exempt

    def _cancel_running(self) -> None:
        home = self._home
        home.advance(CLOSING)  # no new subtasks
        self.sweep()
        exempt = self._exempt()
        for worker in home.roster[:]:
            if worker not in exempt:
                # I1: before the look. A task that a worker has in hand is on its stack when the worker looks at
                # `due`; so either we find it there, or the worker finds the mark.
                worker.due.append(CUT_OFF)
                for task in worker.stack[:]:
                    task.end(CANCELLED)

    def _join(self, deadline: float | None) -> bool:
        """Wait until the threads are gone, but for our own and those of the exempt."""
        me = get_ident()
        exempt = self._exempt()
        for worker in self._home.roster[:]:
            thread = worker.thread
            if thread is None or thread.ident == me or worker in exempt or worker.abandoned:
                continue
            thread.join(None if deadline is None else max(deadline - now(), 0.05))
            if thread.is_alive():
                return False
        return True


class _Stopper:
    """Stands among those who wait, in place of a thread: the last worker stops the pool."""

    __slots__ = ("_drain",)

    def __init__(self, drain: Drain) -> None:
        self._drain = drain

    def ring(self) -> None:
        """Stop the pool, once."""
        try:
            self._drain._waiting.remove(self)
        except ValueError:
            return
        self._drain.stop()
