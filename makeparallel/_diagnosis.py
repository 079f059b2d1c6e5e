"""Invariants of a pool as code: `_check`, for tests and stress runs."""

from ._core.gate import CUT_OFF
from ._core.idle import STOPPED
from ._core.scheduler import Scheduler
from ._core.worker import Worker
from ._stats import take_statistics
from ._sync import snapshot


def describe(home: Scheduler) -> str:
    """The whole state of a scheduler, for the error message of a failed check."""
    idle = [seat.index for seat in snapshot(home.idle)]
    lines = [
        f"pool {home.name!r}: state {home.state}, active {home.active_count()}",
        f"  injector {len(home.injector)}, idle {idle}, bench {len(home.bench)}",
        f"  {take_statistics(home)}",
    ]
    lines += [
        f"  seat {seat.index}: {len(seat.local)} queued{', closing' if seat.closing else ''}" for seat in home.seats
    ]
    lines += [
        f"  worker {worker.ident}: seat {seat and seat.index}, stack {worker.stack[:]}, "
        f"waiting {worker.waiting[:]}, armed {worker.armed[:]}, due {worker.due[:]}, "
        f"notice {worker.notice}, hit {worker.was_hit}, abandoned {worker.abandoned}, left {worker.left}, "
        f"ended {worker.ended}, serial {worker.serial - worker.base}"
        for worker in home.roster[:]
        for seat in [worker.seat]
    ]
    lines += [
        f"  thread {ident}: ended {tally.ended}, serial {tally.serial - tally.base}"
        for ident, tally in home.tallies.copy().items()
    ]
    return "\n".join(lines)


def _is_free(worker: Worker) -> bool:
    """True if nobody keeps its lock; the supervisor may have it for a moment."""
    if not worker.lock.acquire(timeout=5):
        return False
    worker.lock.release()
    return True


def check_at_rest(home: Scheduler) -> None:
    """Assert the invariants that hold when nothing is submitted, pending or running.

    Raises:
        AssertionError: one doesn't; the message shows the whole state.
    """
    facts = take_statistics(home)
    idle = snapshot(home.idle)
    workers = [worker for worker in home.roster[:] if not worker.abandoned]
    checks = {
        "conservation": facts.submitted == facts.succeeded + facts.failed + facts.cancelled + facts.timed_out,
        "nothing active": home.active_count() == 0,
        "nothing started is missing": facts.submitted
        == facts.started + sum(tally.ended[6] + tally.ended[8] for tally in (*home.roster, *home.tallies.values())),
        "stacks empty": not any(worker.stack for worker in workers),
        "nobody waits": not any(worker.waiting for worker in workers),
        "no shield left": not any(worker.shielded for worker in workers),
        "every gate closed": not any(worker.armed or not _is_free(worker) for worker in workers),
        "nothing due": not any(
            worker.notice or worker.was_hit or any(entry is not CUT_OFF for entry in worker.due) for worker in workers
        ),
        "no seat twice in idle": len(set(map(id, idle))) == len(idle),
        "permits complete": home.room is None or home.room.is_empty(),
        "every seat idle": home.state >= STOPPED
        or {seat.index for seat in idle} == {seat.index for seat in home.seats},
    }
    failed = [name for name, holds in checks.items() if not holds]
    if failed:
        raise AssertionError(f"{', '.join(failed)} does not hold\n{describe(home)}")
