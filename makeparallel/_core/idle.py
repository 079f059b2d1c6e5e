"""Seats, and how a worker falls asleep on one and is woken.

What it is: a pool has as many *seats* as it may run tasks at once. A seat has a deque of tasks, and a
worker (a thread) that works it off. A seat is *idle* when its worker sleeps, or when it has none yet
(nobody came so far, or the last worker left it to block); all idle seats stand in one deque. Waking an
idle seat rings its worker's bell, or finds it a worker.

Guarantees: no wake-up is lost (I3); an idle pool makes no system calls (I7); a break (Ctrl-C) at any
instruction of `wake_one` leaves no seat asleep that was taken off the idle deque.

Assumes: C1, C2, C5 of `_sync`.
See: README.md, P2 and P4.
"""

from .._sync import Bell, Queue, fence, move, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .scheduler import Scheduler
    from .worker import Worker

#: The states of a scheduler, which follow each other in this order. DRAINING: tasks may still submit
#: subtasks. CLOSING: nobody may. STOPPED: no worker looks for work any more. FORKED: the parent's.
OPEN, DRAINING, CLOSING, STOPPED, FORKED = 0, 1, 2, 3, 4


class Seat:
    """A place to work, one of the pool's units of parallelism.

    Owner's section: `local.append`, `local.pop` (newest first). Thief's section: `local.popleft`
    (oldest first). The owner is whoever holds the seat; the deque's lock (C1) makes any other use
    harmless, merely out of order.
    """

    __slots__ = ("bell", "closing", "index", "local", "vacancy")

    def __init__(self, index: int) -> None:
        self.index = index
        self.local: Queue[Any] = Queue()
        self.bell = Bell()
        #: Holds one entry while nobody sits here; who pops it sits down (C1).
        self.vacancy: list[None] = [None]
        #: Set when the pool shrinks: whoever sits here gets up when the running task is done.
        self.closing = False

    def sit(self, worker: "Worker") -> bool:
        """Let `worker` sit down; False if somebody else did."""
        try:
            self.vacancy.pop()
        except IndexError:
            return False
        worker.seat = self
        worker.local = self.local
        return True

    def wake(self, home: "Scheduler") -> None:
        """Have somebody look for work here. Doing it twice wakes once, or wakes for nothing."""
        if self.vacancy:  # P2: it stood in the idle deque, whose lock made this entry visible
            home.staff(self)
        else:
            self.bell.ring()


def wake_one(home: "Scheduler") -> None:
    """Wake one idle seat, if there is one; sleeping workers before seats that have none."""
    popped: list[Seat] = []
    try:
        try:
            move(home.idle, popped)
        except IndexError:
            return
        popped[0].wake(home)
    except BaseException:
        for seat in popped:  # a break: the seat is off the deque, so nobody else would wake it
            seat.wake(home)
        raise


def spin(worker: "Worker") -> bool:
    """Look around a little longer before sleeping; False if another worker does. Then look for work.

    A sleeping thread takes tens of microseconds to wake, and its waker a system call. While somebody
    spins, a submitter wakes nobody (it reads `spinning` after its fence on the idle deque). If that read
    is stale, then its fence came before ours below, and so did its push. So after *every* spin, also one
    that found nothing, the caller looks for work, and if it finds more than it takes, wakes another (I3).
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
    fence(home.idle)
    return True


def park(worker: "Worker") -> bool:
    """Sleep until woken; False if the worker must get up from its seat.

    P2, the worker's half: announce, look again, sleep. A submitter does the opposite: push, then look
    at the idle deque. Both looks go through the lock of what the other side has written, so at least
    one of the two sees the other.
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


def withdraw(home: "Scheduler", seat: Seat) -> bool:
    """Take an announcement back; False if somebody has taken the seat to wake it."""
    try:
        home.idle.remove(seat)
    except ValueError:
        return False
    return True


def leave_seat(worker: "Worker") -> Seat | None:
    """P4: before a wait, give the seat to whoever is free; None if the worker has no seat.

    The seat becomes an idle one without a worker, by the same protocol as parking.
    """
    seat, home = worker.seat, worker.home
    if seat is None:
        return None
    worker.seat = worker.local = None
    if seat.closing:
        home.remove_seat(seat)
        return None
    seat.vacancy.append(None)
    home.idle.appendleft(seat)
    # I3: look again after announcing
    if home.has_work():
        wake_one(home)
    if home.state:
        home.drain.check()
    return seat


def retake_seat(worker: "Worker", seat: Seat | None) -> None:
    """After a wait: sit down again if the seat is still free.

    Otherwise the body goes on without a seat, beside the spare worker that took it, and the worker
    goes to rest when the body ends. A pool is over its size for that long, and never under it.
    """
    if seat is None:
        return
    # Sit down first: only then is the announcement in the idle deque, if there is one, surely ours, and
    # not that of a worker that sat here meanwhile and sleeps.
    if seat.sit(worker) and not withdraw(worker.home, seat) and worker.home.has_work():
        wake_one(worker.home)  # I3: who took the announcement off woke a busy seat; pass it on
