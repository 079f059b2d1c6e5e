"""Seats, and how a worker falls asleep on one and is woken.

What it is: a pool has as many *seats* as it may run tasks at once. A seat has a deque of tasks, and a
worker (a thread) that works it off. What can be woken stands in the idle deque: a seat whose worker
sleeps, or the *opening* of a seat that has no worker (nobody came so far, or it left the seat to block).
Waking a seat rings its worker's bell; waking an opening finds it a worker.

Guarantees: no wake-up is lost (I3); an idle pool makes no system calls (I7); a break (Ctrl-C) at any
instruction of `wake_one` leaves nobody asleep who was taken off the idle deque. Who takes an opening
off the idle deque is the only one to fill it.

Assumes: C1, C2, C5 of `_sync`.
See: README.md, P2 and P4.
"""

from .._sync import Bell, Queue, fence, move, now, require_headroom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .scheduler import Scheduler
    from .worker import Tally, Worker

#: The states of a scheduler, which follow each other in this order. DRAINING: tasks may still submit
#: subtasks. CLOSING: nobody may. STOPPED: no worker looks for work any more. FORKED: the parent's.
#: CLOGGED alone goes back to OPEN: too many threads are abandoned, and only tasks may submit.
OPEN, CLOGGED, DRAINING, CLOSING, STOPPED, FORKED = 0, 1, 2, 3, 4, 5


#: How often a submitter looks whether a worker that is about to look for work has come, before it wakes one: for about
#: 3 microseconds.
PATIENCE = 30


class Seat:
    """A place to work, one of the pool's units of parallelism.

    Owner's section: `local.append`, `local.pop` (newest first). Thief's section: `local.popleft`
    (oldest first). The owner is whoever holds the seat; the deque's lock (C1) makes any other use
    harmless, merely out of order.
    """

    __slots__ = ("bell", "closing", "index", "local")

    def __init__(self, index: int) -> None:
        self.index = index
        self.local: Queue[Any] = Queue()
        self.bell = Bell()
        #: Set when the pool shrinks: whoever sits here gets up when the running task is done.
        self.closing = False

    def wake(self, home: "Scheduler") -> None:
        """Wake the worker that sleeps here. Doing it twice wakes once, or a second time for nothing."""
        self.bell.ring()


class Opening:
    """A seat without a worker. A new object each time, so that an old one can't be taken for it."""

    __slots__ = ("_token", "seat")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self._token = [None]

    @property
    def index(self) -> int:
        """The seat's."""
        return self.seat.index

    def wake(self, home: "Scheduler") -> None:
        """Find a worker. After a break it is done twice; then only the first worker to come sits down."""
        home.staff(self)

    def take(self, worker: "Worker") -> bool:
        """Let `worker` sit down; False if another one did. Whoever pops the token sits (C1)."""
        try:
            self._token.pop()
        except IndexError:
            return False
        worker.seat = self.seat
        worker.local = self.seat.local
        return True


def wake_one(home: "Scheduler") -> None:
    """Wake one entry of the idle deque, if there is one; sleeping workers before openings.

    Raises:
        RecursionError: too little of the recursion limit is left; nothing was done.
    """
    require_headroom()  # a RecursionError halfway would leave in our hand what we took
    popped: list[Seat | Opening] = []
    try:
        try:
            move(home.idle, popped)
        except IndexError:
            return
        popped[0].wake(home)
    except BaseException:
        # A break, or the end of the stack: it is off the deque, so nobody else would wake it. No loop in a `try`: C7.
        if popped:
            try:
                popped[0].wake(home)
            except BaseException:
                home.idle.appendleft(popped[0])  # the next one to submit or to wait finds it
        raise


def was_taken(home: "Scheduler", tally: "Tally") -> bool:
    """True if, in a moment, some worker takes what the calling thread has just put into the injector.

    For a thread that has just seen a task end: its worker is back in less time than it takes to wake another one.
    Who takes the last entry has it in hand, and passes on whatever comes after it: nobody need be woken.
    """
    tally.saw_end = False
    return any(not home.injector for _ in range(PATIENCE))


def pass_on(home: "Scheduler") -> None:
    """Wake one more if there is more work. Called by whoever has just found work after a pause (I3).

    A wake-up may stand for several tasks (submitters wake nobody during a spin), so each worker that
    it wakes looks whether there is something for another.
    """
    if fence(home.idle) and home.has_work():
        wake_one(home)


def spin(worker: "Worker") -> bool:
    """Look around a little longer before sleeping; False if another worker does. Then look for work.

    A sleeping thread takes tens of microseconds to wake, and its waker a system call. While somebody
    spins, a submitter wakes nobody (it reads `spinning` after its push). So after *every* spin, also one that found
    nothing, the caller looks for work; then it passes on what is left (`pass_on`) or parks, and both look at each queue
    under its lock. A push that comes after that look sees `spinning` as we left it; one before it is found.
    """
    home = worker.home
    if not home.spin_secs:
        return False
    try:
        home.spin_token.pop()
    except IndexError:
        return False
    home.spinning = True
    until = now() + home.spin_secs
    found = False
    while not found and now() < until:
        found = bool(home.injector) or any(seat.local for seat in home.seats)
    home.spinning = False
    home.spin_token.append(None)
    return True


def park(worker: "Worker") -> bool:
    """Sleep until woken; False if the worker must get up from its seat.

    P2, the worker's half: announce, look again, sleep. A submitter does the opposite: push, then look
    at the idle deque. Our look goes through the lock of what it pushes to: if it does not see the push, then the
    push comes later, and after it our announcement is seen.
    """
    seat, home = worker.seat, worker.home
    assert seat is not None
    idle = home.idle
    idle.append(seat)
    # I3: look again after announcing
    if home.has_work() or home.state >= STOPPED or seat.closing:
        withdraw(home, seat)
        return not seat.closing and (home.state < STOPPED or home.has_work())
    if home.state:
        home.drain.check()
    worker.parks += 1
    seat.bell.wait()
    if seat in idle:  # woken, but not by a submitter: by a stop, a resize, or an old ring
        withdraw(home, seat)
    return True


def withdraw(home: "Scheduler", entry: Seat | Opening) -> bool:
    """Take an announcement back; False if somebody has taken it off the deque to wake it."""
    try:
        home.idle.remove(entry)
    except ValueError:
        return False
    return True


def leave_seat(worker: "Worker") -> Opening | None:
    """P4: before a wait, give the seat to whoever is free; None if the worker has no seat.

    The opening is announced by the same protocol as a sleeping worker's seat.

    Raises:
        RecursionError: too little of the recursion limit is left, also for the way back; nothing was done.
    """
    require_headroom()
    seat, home = worker.seat, worker.home
    opening = None
    if seat is not None:
        worker.seat = worker.local = None
        opening = vacate(home, seat)
    if home.state:
        home.drain.check()  # our wait may be what somebody's shutdown does not have to wait for
    return opening


def vacate(home: "Scheduler", seat: Seat) -> Opening:
    """Announce a seat whose worker has just gone."""
    opening = Opening(seat)
    home.idle.appendleft(opening)
    # I3: look again after announcing. A resize sets `closing`, then looks for openings under the
    # deque's lock: either it finds ours, or we see the mark.
    if seat.closing and withdraw(home, opening):
        home.remove_seat(seat)
    elif home.has_work():
        wake_one(home)
    return opening


def retake_seat(worker: "Worker", opening: Opening | None) -> None:
    """After a wait: sit down again if nobody was woken for the seat.

    Otherwise the body goes on without a seat, beside the spare worker that took it, and the worker
    goes to rest when the body ends. A pool is over its size for that long, and never under it. So does the
    body of an abandoned worker, whose thread ends with it.
    """
    if opening is not None and not worker.abandoned and withdraw(worker.home, opening):
        opening.take(worker)
