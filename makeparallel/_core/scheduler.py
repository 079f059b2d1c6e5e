"""A scheduler: seats, workers and queues of one pool, from the first submit to the last join.

What it is: the state of a pool, and submission. Who works is in staff.py, bounded pools in room.py, the
end in shutdown.py. It has no user's arguments to check.

Guarantees: every task that `submit` returned is finished some day (I1), whatever shutdown does
meanwhile. Submitting is safe from a finalizer (I9), and against a break (Ctrl-C) at any instruction: the
task is then either cancelled or runs as usual, and the pool is as it was.

Assumes: C1 to C6 of `_sync`.
See: README.md, P2 and P6.
"""

from .._errors import PoolFullError, PoolShutdownError
from .._sync import Queue, RLock, fence, get_ident, new_thread
from .entries import CANCELLED, TIMED_OUT, Chore, Terms
from .gate import WORKERS, close, masked, open_again
from .idle import CLOGGED, CLOSING, DRAINING, FORKED, OPEN, STOPPED, Opening, Seat, pass_on, wake_one, was_taken
from .room import Room
from .shutdown import Drain
from .staff import remove_seat, resize, staff, worker_ended
from .task import Task
from .worker import UNFIT, Tally, Worker, next_tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Scheduler:
    """The engine of one pool.

    Thread-safety: internally synchronized.
    """

    def __init__(self, name: str, prefix: str, workers: int, max_pending: int | None, when_full: str) -> None:
        # Immutable, but for the hooks, which the composition root sets before the first submit
        self.name = name
        self.prefix = prefix
        self.room = None if max_pending is None else Room(self, max_pending, when_full == "wait")
        self.drain = Drain(self)
        #: Told of every deadline, once its task is on a worker's stack.
        self.watch: Callable[[float], None] = _no_hook
        #: Told that a body on some worker's stack is to leave, or was told to.
        self.alarm: Callable[[], None] = _no_hook
        #: Told, in its thread, that a body has left to which an interrupt was sent.
        self.on_interrupted: Callable[[], None] = _no_hook
        #: Told of every error nobody looked at: name, id, error.
        self.on_unseen: Callable[[str, str, BaseException], None] = _no_hook
        #: Told of a thread that could not be started: the pool's name, why.
        self.on_degraded: Callable[[str, BaseException], None] = _no_hook
        #: Told of every body that was given up: the pool's name, the task's, its id, whether the pool is clogged.
        self.on_abandoned: Callable[[str, str, str, bool], None] = _no_hook
        #: Told that the first thread is about to start.
        self.on_start: Callable[[], None] = _no_hook
        #: Seconds from the first interrupt of a body until its thread is abandoned; infinity for never.
        self.hard_grace = 0.2
        #: How many threads may be abandoned at once; None for a number that follows the pool's size.
        self.max_abandoned: int | None = None
        #: How long a worker looks around before it sleeps, in seconds.
        self.spin_secs = 0.0
        # Guarded by lock (reentrant: a finalizer may come here while its thread holds it)
        self.lock = RLock()
        self.bench_limit = workers + 4  # read without the lock: a stale one keeps a thread more or less
        # Racy by design (P2): their own locks order all access
        self.injector: Queue[Any] = Queue()
        self.idle: Queue[Seat | Opening] = Queue()
        self.bench: list[Worker] = []  # workers without a seat
        self.ended: list[Worker] = []  # records of threads that are gone
        self.roster: list[Worker] = []  # all records
        self.tallies: dict[int, Tally] = {}  # one for each other thread that submits, by its ident
        self.spin_token: list[None] = [None]
        # Racy by design: written whole, under lock
        self.seats: tuple[Seat, ...] = tuple(Seat(index) for index in range(workers))
        self.state = OPEN
        # Racy by design: a stale value costs a second call of on_start, a wake-up or a tidying that was not needed
        self.spinning = False
        self.started = False
        self._dead = 0
        self.idle.extend(map(Opening, self.seats))

    def advance(self, state: int) -> None:
        """Go on to `state`; states never go back, but for CLOGGED."""
        with self.lock:
            self.state = max(self.state, state)

    def may_abandon(self) -> bool:
        """True if one more thread may be given up. A pool that takes no more tasks makes no more threads of them."""
        if self.state >= DRAINING:
            return True
        limit = 64 + 4 * len(self.seats) if self.max_abandoned is None else self.max_abandoned
        return sum(worker.abandoned for worker in self.roster[:]) < limit

    def clog_or_unclog(self) -> None:
        """Refuse tasks from outside while no more threads may be abandoned."""
        with self.lock:
            if self.state <= CLOGGED:
                self.state = OPEN if self.may_abandon() else CLOGGED

    # --- submission ------------------------------------------------------------------------------

    def submit(self, task: Task, deadline: float | None = None) -> Task:
        """Queue a new task, and wake somebody for it.

        Raises:
            TimeoutError: a bounded pool had no room before `deadline`.
            PoolShutdownError: the pool takes no new tasks.
            PoolFullError: the pool is bounded and full, and was told not to wait; or too many of its threads
                are abandoned.
        """
        ident = get_ident()
        worker = WORKERS.get(ident)
        closed = False
        if worker is not None and worker.armed:
            closed = close(worker)  # P5: `masked`, unrolled
        serial = 0
        tally: Tally | None = None
        task._home = self
        try:
            if worker is not None and worker.home is self:
                # From a task: still taken while the pool drains, and exempt from max_pending.
                if self.state >= CLOSING:
                    raise self.refusal()
                tally = worker
                queue = worker.local
                push = tally.push if queue is None else queue.append  # None: its seat is lent to somebody else
            else:
                if self.state:
                    raise self.refusal()
                if self.room is not None:
                    terms = task._terms
                    if terms is None:
                        terms = task._terms = Terms(None)
                    self.room.enter(terms, worker, deadline)
                tally = self.tallies.get(ident) or self._new_tally(ident)
                push = tally.push
            task._number = serial = tally.serial + 1
            tally.serial = serial
            push(task)
            # P2, the submitter's half: push, then look. The look may be plain: who looks at the queue under its lock
            # before our push comes, has announced itself before that, and we see it.
            if self.idle and not self.spinning and not (tally.saw_end and was_taken(self, tally)):
                wake_one(self)
            # P6: the last sweep may have missed it; if nobody was faster, nobody will run it
            if self.state >= STOPPED and task._claimant() is None and task.end(CANCELLED):
                raise self.refusal()
            return task
        except BaseException:
            self._retract(task, tally, serial)
            raise
        finally:
            if closed:
                open_again(worker)  # type: ignore[arg-type]  # closed, so it is one

    def _retract(self, task: Task, tally: Tally | None, serial: int) -> None:
        """A submit failed, or a break fell into it: cancel what was counted, keep what was taken."""
        if task._terms is not None:
            self.return_permit(task._terms)
        if tally is not None and serial and tally.serial >= serial:
            task._number = serial
            task.end(CANCELLED)

    def refusal(self) -> PoolShutdownError | PoolFullError:
        """The error for a submit that is not taken."""
        if self.state <= CLOGGED:  # OPEN: it was clogged a moment ago
            stuck = sum(worker.abandoned for worker in self.roster[:])
            return PoolFullError(
                f"pool {self.name!r} has {stuck} abandoned threads, which sit in code that could not be stopped after "
                "a timeout or a cancel, and takes no new tasks before some return; give that code a timeout of its "
                "own, or raise max_abandoned"
            )
        remedy = "mp.reset_shutdown() gives a new default pool" if self.name == "default" else "make a new Pool"
        return PoolShutdownError(f"pool {self.name!r} was shut down and takes no new tasks; {remedy}")

    def tally(self) -> Tally:
        """The counts that the calling thread writes."""
        ident = get_ident()
        worker = WORKERS.get(ident)
        if worker is not None and worker.home is self:
            return worker
        return self.tallies.get(ident) or self._new_tally(ident)

    def _new_tally(self, ident: int) -> Tally:
        # A thread's ident is used again when it is gone; so is its tally, and the dict stays small.
        return self.tallies.setdefault(ident, Tally(self, next_tally()))

    def add_chore(self, chore: "Any") -> None:
        """Have a worker call `chore.run_on(worker)`; a thread of its own if no worker will look again."""
        self.injector.append(chore)
        if fence(self.idle):
            wake_one(self)
        if self.state >= STOPPED:
            worker = WORKERS.get(get_ident())
            if worker is not None and worker.home is self:
                return  # it looks once more before it ends
            try:  # P7: not in the calling thread, which may be the supervisor, or in a finalizer
                new_thread(self.drain.sweep, f"{self.prefix}-late").start()
            except (RuntimeError, MemoryError):  # the interpreter is ending, or there is no room: here or never
                if get_ident() not in UNFIT:
                    self.drain.sweep()

    def report_unseen(self, name: str, task_id: str, error: BaseException) -> None:
        """Have a worker report an error that nobody looked at. Safe from a finalizer (I9)."""
        if self.state != FORKED:
            masked(Scheduler.add_chore, self, Chore(self.on_unseen, name, task_id, error))

    def has_work(self) -> bool:
        """True if a queue has an entry, each looked at under its lock (P2)."""
        return fence(self.injector) or any(fence(seat.local) for seat in self.seats)

    def before_wait(self) -> None:
        """A thread is about to wait for one of our tasks: make sure that somebody is awake for it.

        Raises:
            RuntimeError: in a forked child, where the parent's tasks will never finish.
        """
        if self.state == FORKED:
            raise RuntimeError(
                f"this task belongs to pool {self.name!r} of the parent process, and will not finish in a "
                "forked child; submit it again here"
            )
        if self.state < STOPPED:
            pass_on(self)

    def return_permit(self, terms: Terms) -> None:
        """The task waits no longer: make room for another."""
        if self.room is not None:
            self.room.leave(terms)

    def forget_parent(self) -> None:
        """In a forked child: nothing of the parent's runs here, and its handles say so."""
        self.state = FORKED
        # I4: whoever is told would interrupt threads of the parent, whose idents may be those of others here.
        self.watch = self.alarm = _no_hook
        # New ones: the lock of an old one may have been on its way to a thread that is not here (C6).
        self.injector, self.idle, self.tallies = Queue(), Queue(), {}
        for seat in self.seats:
            seat.local = Queue()
        worker = WORKERS.get(get_ident())
        if worker is not None and worker.home is self:
            # A body forked: when it ends, its worker must not go on with the deque that it sits at.
            worker.seat = worker.local = None
            worker.take, worker.push = self.injector.popleft, self.injector.append

    def note_dead(self, local: "Queue[Any] | None") -> None:
        """A task was run inline while its entry stands in the middle of a queue: tidy up now and then.

        I5: the entry is the handle, and would keep its result alive until a worker comes by.
        """
        self._dead += 1  # a lost update delays the tidying, no more
        queues = [self.injector] if local is None else [self.injector, local]
        if self._dead * 2 > sum(map(len, queues)) + 64:
            self._dead = 0
            for queue in queues:
                for _ in range(len(queue)):
                    try:
                        entry = queue.popleft()
                    except IndexError:
                        break
                    if not isinstance(entry, Task) or entry._outcome() is None:
                        queue.append(entry)
            if self.state >= STOPPED:
                self.drain.sweep()
            pass_on(self)  # I3: somebody may have looked while we held an entry in hand

    # --- seats and workers, for the modules below staff.py -----------------------------------------

    def staff(self, opening: Opening) -> None:
        """Find a worker for a seat that has none."""
        staff(self, opening)

    def worker_ended(self, worker: Worker) -> None:
        """A worker's thread is about to end."""
        worker_ended(self, worker)

    def remove_seat(self, seat: Seat) -> None:
        """Take a closing seat away."""
        remove_seat(self, seat)

    def resize(self, workers: int) -> None:
        """Change the number of seats."""
        resize(self, workers)

    # --- counts ----------------------------------------------------------------------------------

    def active_count(self) -> int:
        """Tasks whose body runs or waits to run. Finishes are summed before submits: never too low."""
        workers, others = self.roster[:], [*self.tallies.copy().values()]
        gone = sum(sum(worker.left) for worker in workers)
        gone += sum(tally.ended[2 * CANCELLED] + tally.ended[2 * TIMED_OUT] for tally in (*workers, *others))
        workers, others = self.roster[:], [*self.tallies.copy().values()]
        return sum(tally.serial - tally.base for tally in (*workers, *others)) - gone


def _no_hook(*facts: object) -> None:
    """Stands for a hook that was not set."""
