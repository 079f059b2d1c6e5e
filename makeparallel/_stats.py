"""A snapshot of a pool's counts, taken without stopping anybody."""

from typing import NamedTuple

from ._core.entries import CANCELLED, FAILED, GIVEN_UP, SUCCEEDED, TIMED_OUT
from ._core.scheduler import Scheduler


class WorkerStatistics(NamedTuple):
    """One worker thread's part in the counts."""

    name: str
    #: Bodies that this thread has run to their end.
    finished: int
    #: Tasks it took from another worker's deque.
    steals: int
    #: Times it fell asleep for want of work.
    parks: int
    #: Bodies on it now: the running one, and those that wait for it inline.
    running: int


class Statistics(NamedTuple):
    """A frozen snapshot of a pool.

    At rest `submitted == succeeded + failed + cancelled + timed_out + pending + running`. While tasks
    run, each count is a moment old on its own: the finishes are read before the submits, and what is
    not seen as finished counts as pending or running.

    Thread-safety: immutable.
    """

    #: Tasks accepted since the pool was made.
    submitted: int
    #: Tasks whose body began.
    started: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    #: Tasks accepted and not begun.
    pending: int
    #: Tasks begun and not finished.
    running: int
    steals: int
    parks: int
    #: Threads whose body was given up, since it could not be stopped, and has not returned.
    abandoned_workers: int
    #: Entries in the queues, those of cancelled tasks included.
    queue_depth: int
    #: Size of the pool.
    workers: int
    per_worker: tuple[WorkerStatistics, ...]


def take_statistics(home: Scheduler) -> Statistics:
    """Return a snapshot of a scheduler's counts."""
    workers = home.roster[:]
    others = [*home.tallies.copy().values()]
    # Finishes first, then starts, then submits: a sum is never larger than the one it is a part of.
    left = [worker.left[:] for worker in workers]
    ended = [tally.ended[:] for tally in (*workers, *others)]
    succeeded = sum(counts[SUCCEEDED] for counts in left)
    failed = sum(counts[FAILED] for counts in left)
    cancelled = sum(sum(counts[2 * CANCELLED : 2 * CANCELLED + 2]) for counts in ended)
    timed_out = sum(sum(counts[2 * TIMED_OUT : 2 * TIMED_OUT + 2]) for counts in ended)
    unstarted = sum(counts[2 * CANCELLED] + counts[2 * TIMED_OUT] for counts in ended)
    started = sum(map(sum, left)) + sum(len(worker.stack) for worker in workers if not worker.abandoned)
    others = [*home.tallies.copy().values()]
    submitted = sum(tally.serial - tally.base for tally in (*home.roster[:], *others))
    started = min(started, submitted)  # a body that is just leaving counts twice for a moment
    # A body that ends as it is cancelled may be counted for a moment, until its worker sees that (P1): then one
    # finish is too many, and which one is not known yet.
    excess = max(succeeded + failed + cancelled + timed_out - submitted, 0)
    succeeded, failed = max(succeeded - excess, 0), failed - max(excess - succeeded, 0)
    unfinished = submitted - (succeeded + failed + cancelled + timed_out)
    pending = min(max(submitted - started - unstarted, 0), unfinished)
    return Statistics(
        submitted=submitted,
        started=started,
        succeeded=succeeded,
        failed=failed,
        cancelled=cancelled,
        timed_out=timed_out,
        pending=pending,
        running=unfinished - pending,
        steals=sum(worker.steals for worker in workers),
        parks=sum(worker.parks for worker in workers),
        abandoned_workers=sum(worker.abandoned for worker in workers),
        queue_depth=len(home.injector) + sum(len(seat.local) for seat in home.seats),
        workers=sum(not seat.closing for seat in home.seats),
        per_worker=tuple(
            WorkerStatistics(
                name=worker.thread.name if worker.thread is not None else "starting",
                finished=sum(counts[:GIVEN_UP]),
                steals=worker.steals,
                parks=worker.parks,
                running=len(worker.stack),
            )
            for worker, counts in zip(workers, left, strict=True)
        ),
    )
