"""Room in a bounded pool: `max_pending` permits, and threads that wait for one.

What it is: a counting semaphore made of two deques. A task submitted from outside holds a permit from
its submission until its body begins, or it is ended before that.

Guarantees: no permit is lost or doubled, also when a break (Ctrl-C) falls into a submit; a thread
never sleeps while a permit is free (I3); threads that wait are let in oldest first, as far as visible.

Assumes: C1, C2, C5 of `_sync`.
"""

from .._errors import PoolFullError
from .._sync import Bell, Queue, fence, move, now, snapshot
from .entries import Terms
from .idle import leave_seat, retake_seat
from .waiting import wait_for_bell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .scheduler import Scheduler
    from .worker import Worker


class Room:
    """The permits of one bounded pool.

    Thread-safety: internally synchronized.
    """

    __slots__ = ("_home", "_permits", "_waiters", "limit", "waits")

    def __init__(self, home: "Scheduler", limit: int, waits: bool) -> None:
        # Immutable
        self._home = home
        self.limit = limit
        self.waits = waits
        # Racy by design (P2): their own locks order all access
        self._permits: Queue[None] = Queue([None] * limit)
        self._waiters: Queue[Bell] = Queue()

    def enter(self, terms: Terms, worker: "Worker | None", deadline: float | None) -> None:
        """Take a permit, waiting for it if the pool was told to; a worker lends its seat meanwhile.

        Raises:
            PoolFullError: there is none, and the pool was told not to wait.
            PoolShutdownError: the pool was shut down during the wait.
            TimeoutError: `deadline` has passed.
        """
        if self._take(terms):
            return
        if not self.waits:
            raise PoolFullError(
                f"pool {self._home.name!r} already holds max_pending={self.limit} tasks; "
                "wait for some to finish, or use when_full='wait'"
            )
        bell = Bell()
        seat = None if worker is None else leave_seat(worker)
        try:
            while True:
                self._waiters.append(bell)
                # I3: look again after announcing. The state after the permit: it may come from the shutdown.
                if self._take(terms) and not self._home.state:
                    return
                if self._home.state:
                    raise self._home.refusal()  # the submit gives a permit back
                remaining = None if deadline is None else deadline - now()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError(
                        f"pool {self._home.name!r} had no room for another task in time (max_pending={self.limit}); "
                        "raise max_pending or the timeout"
                    )
                wait_for_bell(worker, bell, remaining)
                self._forget(bell)
        finally:
            self._forget(bell)
            # I3: two permits may have rung us once, or one rang us and we leave without it: pass it on
            self._ring_first()
            if worker is not None:
                retake_seat(worker, seat)

    def leave(self, terms: Terms) -> None:
        """Give the permit back, if the task still holds one; more calls do nothing."""
        try:
            move(terms.permit, self._permits)
        except IndexError:
            return
        self._ring_first()

    def ring_all(self) -> None:
        """Wake everybody who waits: the pool is being shut down."""
        for bell in snapshot(self._waiters):
            bell.ring()

    def is_empty(self) -> bool:
        """True if nobody holds a permit; for `_check`."""
        return len(self._permits) == self.limit

    def _take(self, terms: Terms) -> bool:
        try:
            move(self._permits, terms.permit)
        except IndexError:
            return False
        return True

    def _ring_first(self) -> None:
        if fence(self._waiters) and fence(self._permits):
            try:
                self._waiters[0].ring()  # it takes itself off
            except IndexError:
                pass

    def _forget(self, bell: Bell) -> None:
        try:
            self._waiters.remove(bell)
        except ValueError:
            pass
