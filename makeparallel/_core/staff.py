"""Threads for seats: found on the bench or started, and what happens if the system has none to give.

What it is: the only place where worker threads are started, and where a pool changes its size.

Guarantees: a thread starts only when a seat has work to do; one that can't be started costs speed,
never a task: the other workers do the work, and if there are none, the thread that needed one.
"""

from .._sync import fence, get_ident, start_thread
from .idle import Seat, wake_one
from .worker import WORKERS, Worker, next_tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .scheduler import Scheduler


def staff(home: "Scheduler", seat: Seat) -> None:
    """Find a worker for a seat that has none: from the bench, or a new thread."""
    try:
        worker = home.bench.pop()
    except IndexError:
        pass
    else:
        worker.offered = seat
        worker.bell.ring()
        return
    if not home.started:
        home.started = True
        home.on_start()
    worker = _record(home)
    try:
        worker.thread = start_thread(worker.main, f"{home.prefix}-{seat.index}", seat)
    except (RuntimeError, MemoryError) as error:
        home.ended.append(worker)
        home.on_degraded(home.name, error)
        if any(not other.vacancy for other in home.seats):
            home.idle.appendleft(seat)  # a later submit tries again
        else:
            _work_here(home, seat)


def _record(home: "Scheduler") -> Worker:
    """A worker's record: one whose thread is gone, with its counts, or a new one."""
    try:
        return home.ended.pop()
    except IndexError:
        worker = Worker(home, next_tally())
        home.roster.append(worker)
        return worker


def _work_here(home: "Scheduler", seat: Seat) -> None:
    """Work the queues off in the calling thread: the pool has no other."""
    ident = get_ident()
    before = WORKERS.get(ident)
    worker = _record(home)
    WORKERS[ident] = worker
    try:
        while seat.sit(worker):
            _run_all(worker, seat)
            worker.get_up()
            home.idle.appendleft(seat)
            # I3: look again after announcing
            if not home.has_work() or not _take_idle(home, seat):
                break
            seat.vacancy.append(None)
    finally:
        if before is None:
            del WORKERS[ident]
        else:
            WORKERS[ident] = before
        worker_ended(home, worker)


def _run_all(worker: Worker, seat: Seat) -> None:
    while worker.seat is seat:
        task = worker.search(seat.local)
        if task is None:
            break
        task.run_on(worker)


def worker_ended(home: "Scheduler", worker: Worker) -> None:
    """A worker's thread is about to end; its record is used again."""
    home.ended.append(worker)
    fence(home.idle)  # our counts come before the next worker's look at all counts
    if home.state:
        home.drain.check()


def resize(home: "Scheduler", workers: int) -> None:
    """Change the number of seats; what is queued at a removed one goes to the injector."""
    with home.lock:
        staying = [seat for seat in home.seats if not seat.closing]
        home.bench_limit = workers + 4
        index = max(seat.index for seat in home.seats) + 1
        added = tuple(Seat(index + step) for step in range(workers - len(staying)))
        removed = staying[workers:]
        for seat in removed:
            seat.closing = True
        home.seats = (*home.seats, *added)
        home.idle.extendleft(added)
    for _ in added:
        if home.has_work():
            wake_one(home)
    for seat in removed:
        if _take_idle(home, seat):
            remove_seat(home, seat)  # nobody sat there
        else:
            seat.bell.ring()  # its worker gets up by itself


def _take_idle(home: "Scheduler", seat: Seat) -> bool:
    """Take a seat without a worker off the idle deque, and sit on it in thought; False if it isn't one."""
    try:
        seat.vacancy.pop()
    except IndexError:
        return False
    try:
        home.idle.remove(seat)
    except ValueError:  # somebody is about to staff it; the worker will find no vacancy, and rest
        pass
    return True


def remove_seat(home: "Scheduler", seat: Seat) -> None:
    """Take a closing seat away; what is queued there goes to the injector."""
    with home.lock:
        home.seats = tuple(other for other in home.seats if other is not seat)
    while seat.local:
        try:
            home.injector.append(seat.local.popleft())
        except IndexError:
            break
    if fence(home.idle) and home.has_work():
        wake_one(home)
