"""Schedulers and workers without threads, for tests that number an interleaving step by step."""

from contextvars import copy_context

from makeparallel._core.idle import Seat
from makeparallel._core.scheduler import Scheduler
from makeparallel._core.worker import Worker
from makeparallel._handle import AsyncHandle


def make_scheduler(workers: int) -> Scheduler:
    """A scheduler whose seats are staffed by hand: no thread ever starts."""
    home = Scheduler("by hand", "by-hand", workers, None, "wait")
    staffed: list[object] = []
    home.staff = staffed.append  # type: ignore[method-assign, assignment]
    home.staffed = staffed  # type: ignore[attr-defined]
    return home


def make_worker(home: Scheduler, index: int) -> Worker:
    worker = Worker(home, 1000 + index)
    home.roster.append(worker)
    return worker


def make_task() -> "AsyncHandle[int]":
    return AsyncHandle.make(copy_context(), abs, (1,), {}, "abs")  # type: ignore[return-value]


def sit(home: Scheduler, index: int) -> tuple[Worker, Seat]:
    """Let a new worker sit on the first seat; nothing else is idle."""
    worker = make_worker(home, index)
    opening = next(entry for entry in home.idle if entry.seat is home.seats[0])
    home.idle.clear()
    assert opening.take(worker)
    return worker, opening.seat
