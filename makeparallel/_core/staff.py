"""Threads for seats: found on the bench or started, and what happens if the system has none to give.

What it is: the only place where worker threads are started, and where a pool changes its size.

Guarantees: a thread starts only when a seat has work to do; one that can't be started costs speed,
never a task: the other workers do the work, and if there are none, the thread that needed one.
"""

from .._sync import fence, get_ident, move, new_thread, now, snapshot
from .entries import CANCELLED, GIVEN_UP
from .gate import WORKERS, reach
from .idle import STOPPED, Opening, Seat, pass_on, vacate, withdraw
from .worker import UNFIT, Worker, next_tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .task import Outcome, Task


def staff(home: "Scheduler", opening: Opening) -> None:
    """Find a worker for a seat that has none: from the bench, or a new thread."""
    try:
        worker = home.bench.pop()
    except IndexError:
        pass
    else:
        worker.offered = opening
        worker.bell.ring()
        return
    if not home.started:
        home.started = True
        home.on_start()
    worker = _record(home)
    try:
        new_thread(worker.main, f"{home.prefix}-{opening.index}", opening).start()
    except RecursionError:
        raise  # the thread may be running: its record is its own; `wake_one` announces the opening again
    except (RuntimeError, MemoryError) as error:
        home.ended.append(worker)
        if get_ident() not in UNFIT:  # P7: reporting runs user code
            home.on_degraded(home.name, error)
        if get_ident() in UNFIT or any(other.seat is not None for other in home.roster[:]):
            # It will look for work before it sleeps, and announce an opening before it blocks; a stale
            # look at its seat is made good by its own look after that announcement (P2). What the supervisor
            # could not staff waits for the next submit, or for whoever waits for a task (`before_wait`).
            home.idle.appendleft(opening)
        else:
            _work_here(home, opening)


def _record(home: "Scheduler") -> Worker:
    """A worker's record: one whose thread is gone, with its counts, or a new one."""
    try:
        return home.ended.pop()
    except IndexError:
        worker = Worker(home, next_tally())
        home.roster.append(worker)
        return worker


def _work_here(home: "Scheduler", opening: Opening) -> None:
    """Work the queues off in the calling thread: the pool has no other."""
    ident = get_ident()
    before = WORKERS.get(ident)
    worker = _record(home)
    worker.thread = None
    worker.ident = ident
    WORKERS[ident] = worker
    try:
        _work_while_there_is(home, worker, opening)
    finally:
        if before is None:
            del WORKERS[ident]
        else:
            WORKERS[ident] = before
        worker_ended(home, worker)


def _work_while_there_is(home: "Scheduler", worker: Worker, opening: Opening) -> None:
    """The loop of `_work_here`: C7."""
    seat = opening.seat
    while opening.take(worker):
        _run_all(worker, seat)
        if worker.seat is not seat:
            break  # a body lent it, and a thread was to be had after all
        worker.get_up()
        opening = Opening(seat)
        home.idle.appendleft(opening)
        # I3: look again after announcing
        if not home.has_work() or not withdraw(home, opening):
            break


def _run_all(worker: Worker, seat: Seat) -> None:
    while worker.seat is seat:
        task = worker.search(seat.local)
        if task is None:
            break
        task.run_on(worker)


def worker_ended(home: "Scheduler", worker: Worker) -> None:
    """A worker's thread is about to end; its record is used again."""
    worker.due.clear()
    seat, worker.seat, worker.local = worker.seat, None, None
    if seat is not None:  # it was thrown out: a break in `_work_here`, or an error that nobody foresaw
        home.idle.appendleft(Opening(seat))  # who submits or waits next finds it a worker
    if worker.abandoned:
        worker.abandoned = False
        home.clog_or_unclog()
        home.alarm()  # there may be room to abandon another one
    home.ended.append(worker)
    fence(home.idle)  # our counts come before the next worker's look at all counts
    if home.state:
        home.drain.check()
    if home.state >= STOPPED:
        home.drain.sweep()


def abandon(worker: Worker, task: "Task") -> "tuple[Seat | None, list[tuple[Task, Outcome]]] | None":
    """Give up a body that did not leave, and whatever waits for it inline. The caller holds the worker's lock.

    The thread goes on in its own time, counts no more, and ends when it comes back. What is left to do is
    returned, for `replace_abandoned`; None if the body is not in its own code, or has left.
    """
    if not reach(worker, task):
        return None
    # The body can't come into the library before the lock is released: its seat and its stack are ours.
    stack = worker.stack[:]
    worker.left[GIVEN_UP] = len(stack)  # before `abandoned`, so that a reader counts too many, not too few
    worker.abandoned = True
    seat, worker.seat, worker.local = worker.seat, None, None
    outcomes = [(outer, (CANCELLED, None, now())) for outer in stack[:-1]]
    for outer, outcome in outcomes:
        outer._settle(outcome)  # I1: its own body can't, before this one leaves
    return seat, outcomes


def replace_abandoned(home: "Scheduler", seat: Seat | None, outcomes: "list[tuple[Task, Outcome]]") -> None:
    """After `abandon`, without the lock: finish the tasks that waited inline, and find the seat a worker."""
    for outer, outcome in outcomes:
        outer.follow(outcome, settled=True, fire=False)
    home.clog_or_unclog()
    if seat is not None:
        vacate(home, seat)
    if home.state:
        home.drain.check()


def resize(home: "Scheduler", workers: int) -> None:
    """Change the number of seats; what is queued at a removed one goes to the injector."""
    with home.lock:
        staying = [*filter(_stays, home.seats)]  # C7: no loop with an `if` stands in a `with`
        home.bench_limit = workers + 4
        index = max(seat.index for seat in home.seats) + 1
        added = tuple(Seat(index + step) for step in range(workers - len(staying)))
        removed = staying[workers:]
        for seat in removed:
            seat.closing = True
        home.seats = (*home.seats, *added)
        home.idle.extendleft(map(Opening, added))
    for _ in added:
        pass_on(home)
    fence(home.idle)  # P2: who leaves a seat from here on sees that it is closing
    openings = [entry for entry in snapshot(home.idle) if isinstance(entry, Opening) and entry.seat.closing]
    for opening in openings:
        _take_away(home, opening)
    for seat in removed:
        seat.bell.ring()  # a worker that sleeps there gets up
    home.clog_or_unclog()  # the limit on abandoned threads follows the size
    home.alarm()


def _take_away(home: "Scheduler", opening: Opening) -> None:
    try:
        if withdraw(home, opening):
            remove_seat(home, opening.seat)
    except BaseException:
        # A break: it may be withdrawn, and then nobody else would remove the seat. If it is not, whoever takes it
        # sits on a seat that is gone, gets up at once, and removes it a second time.
        remove_seat(home, opening.seat)
        raise


def _stays(seat: Seat) -> bool:
    return not seat.closing


def remove_seat(home: "Scheduler", seat: Seat) -> None:
    """Take a closing seat away; what is queued there goes to the injector."""
    with home.lock:
        home.seats = tuple(other for other in home.seats if other is not seat)
    while seat.local:
        try:
            move(seat.local, home.injector)  # C5
        except IndexError:
            break
    if home.state >= STOPPED:
        home.drain.sweep()  # I1: the stop may have swept while the seat was in neither place
    for _ in home.seats:
        pass_on(home)
