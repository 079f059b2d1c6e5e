"""A worker: the thread that finds tasks and runs them.

What it is: the loop (`work`), the search (own deque, injector, theft: P3), and the counts that only this
thread writes. Parking is in idle.py, waiting inside a task in waiting.py, the task's side in task.py.

Guarantees: no lock of the library is held while user code runs (I6). A worker that has nothing to do
holds no task (I5).

Assumes: C1, C3, C4 of `_sync`.
See: README.md, P3.
"""

from .._sync import Bell, Lock, Queue, count, fence, get_ident, thread_module
from .entries import Claimant
from .gate import WORKERS, Notice
from .idle import STOPPED, Opening, Seat, park, pass_on, spin
from .task import TALLY_BITS, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from .scheduler import Scheduler

#: Every so many tasks the injector comes first, so that a deque which feeds itself can't starve it.
#: A prime, as in Go's scheduler, so that it does not fall in step with patterns of the program.
FAIR = 61

#: Numbers for tallies: unique in the process, because task ids start with them.
_numbers = count(1)

#: Threads that never run a body, whatever happens: the supervisor's.
UNFIT: "dict[int, None]" = {}

#: A wait for this many tasks or more is taken to go on by itself: following it would cost too much.
FOLLOWED = 64


class Tally:
    """Counts that one thread writes and everybody may read (C3, C4)."""

    __slots__ = ("base", "ended", "push", "saw_end", "serial")

    def __init__(self, home: "Scheduler", index: int) -> None:
        #: The injector's `append`: see `Worker.take`.
        self.push = home.injector.append
        #: Task numbers: each writer has its own range, so that none is handed out twice.
        self.base = self.serial = index << TALLY_BITS
        #: Tasks ended from outside their body: [2 * state] before, [2 * state + 1] after its start.
        self.ended = [0] * 10
        #: Owner only: this thread has looked for the end of a task, and seen it, and has submitted nothing since.
        self.saw_end = False


class Worker(Tally, Claimant):
    """One thread of a pool, or the record of one that has ended, to be used again.

    Thread-safety: owner only, but for the fields listed as racy.
    """

    __slots__ = (
        "abandoned", "armed", "bell", "due", "home", "ident", "left", "local", "lock", "notice", "offered", "parks",
        "random", "seat", "shielded", "stack", "steals", "take", "thread", "waiting", "was_hit",
    )  # fmt: skip

    def __init__(self, home: "Scheduler", index: int) -> None:
        super().__init__(home, index)
        # Immutable
        self.home = home
        #: The injector's `popleft`. A method object of our own: on a free-threaded build, to load the scheduler or the
        #: injector counts a reference in a cache line that all threads then wait for.
        self.take = home.injector.popleft
        # Owner only; readers take sums of them, which may be a moment old (C3)
        # bodies that left: [0] settled by somebody else, [1] succeeded, [2] failed; [3] given up: see GIVEN_UP, which
        # who abandons the worker sets under lock, and the owner takes back after it has come through that
        self.left = [0, 0, 0, 0]
        self.parks = 0
        self.steals = 0
        # Owner only (staff.py reads `seat`, and says why that is right; who abandons the worker takes it away)
        self.seat: Seat | None = None
        self.local: Queue[Any] | None = None
        self.shielded: list[Task] = []  # once for each `shield` block a task is in
        self.random = index * 2654435761 + 1
        # Racy by design: the owner appends and pops, others take slices (C1)
        self.stack: list[Task] = []  # the running task, above those that wait for it inline (P4)
        #: What the running task waits for: any one of these. The innermost wait is the last entry.
        self.waiting: list[Collection[Task]] = []
        # Racy by design (P5): see gate.py
        self.armed: list[Any] = []  # the running task while it may be interrupted, and senders' marks
        self.due: list[Task] = []  # tasks to interrupt as soon as they can be reached; or CUT_OFF
        # Guarded by lock, which the owner takes only where it was disturbed; `abandoned` is read without it where a
        # stale value is harmless: a reader counts a body too many
        self.lock = Lock()
        self.notice: Notice | None = None
        self.was_hit = False  # something was sent since a body was last cleaned up after
        #: The body did not leave. All that is on the stack is given up; the thread ends when it comes back.
        self.abandoned = False
        # Written by whoever took this worker off the bench, before its bell rings
        self.offered: Opening | None = None
        self.bell = Bell()
        # Written by the thread itself: shutdown joins it, and a thread that has not begun can't be joined
        self.thread: Any = None
        # For diagnosis
        self.ident = 0

    # --- the loop --------------------------------------------------------------------------------

    def main(self, opening: Opening | None) -> None:
        """Be the thread: sit and work, rest on the bench, until the pool stops or gives the thread up."""
        ident = self.ident = get_ident()
        self.thread = thread_module.current_thread()
        WORKERS[ident] = self
        try:
            self._live(opening)
        finally:
            del WORKERS[ident]
            self.home.worker_ended(self)

    def _live(self, opening: Opening | None) -> None:
        """The loop of `main`: C7."""
        while opening is not None:
            if opening.take(self):
                self.work()
            opening = self._rest()

    def work(self) -> None:
        """Find tasks and run them while the seat is ours."""
        seat = self.seat
        assert seat is not None
        local = seat.local
        turn = 0
        fresh = True  # after a pause: whoever woke us may have done so for more than one task
        while self.seat is seat:
            turn += 1
            task = None
            if local and turn % FAIR:  # C3: the owner alone appends; a thief only shortens it
                try:
                    task = local.pop()
                except IndexError:  # a thief was faster
                    pass
            if task is None:
                if seat.closing:
                    break
                task = self.search(local)
                if task is None and spin(self):
                    task = self.search(local)
                    fresh = True  # submitters relied on the spin, and woke nobody
            if task is not None:
                if fresh:
                    fresh = False
                    pass_on(self.home)
                task.run_on(self)
                task = None  # I5: not while asleep
            elif park(self):
                fresh = True
            else:
                break
        self.get_up()

    def search(self, local: "Queue[Any]") -> "Any | None":
        """P3: the injector, oldest first; our own deque; then theft, oldest first, one pass from a random start."""
        try:
            return self.take()
        except IndexError:
            pass
        if local:
            try:
                return local.pop()
            except IndexError:
                pass
        seats = self.home.seats
        self.random = (self.random * 1103515245 + 12345) & 0x7FFFFFFF
        start = self.random >> 8
        for step in range(len(seats)):
            victim = seats[(start + step) % len(seats)].local
            if victim:  # C3: an empty look is repeated under the lock before the worker sleeps (P2)
                try:
                    task = victim.popleft()
                except IndexError:
                    continue
                self.steals += 1
                return task
        return None

    def get_up(self) -> None:
        seat = self.seat
        if seat is not None:
            self.seat = self.local = None
            if seat.closing:
                self.home.remove_seat(seat)

    def _rest(self) -> Opening | None:
        """Wait on the bench for an opening; None if the thread is not needed any more."""
        if self.abandoned:
            return None
        home, bench = self.home, self.home.bench
        # Whoever woke us may have counted on us for a task that we now don't run: pass it on (I3).
        if home.state < STOPPED:
            pass_on(home)
        bench.append(self)
        fence(home.idle)  # our counts come before the next worker's look at all counts
        if home.state:
            home.drain.check()
        while self.offered is None:
            if home.state >= STOPPED or len(bench) > home.bench_limit:
                try:
                    bench.remove(self)
                    return None
                except ValueError:  # taken off by someone who is about to ring, or by a stop
                    if home.state >= STOPPED:
                        return None
            self.bell.wait()
        opening, self.offered = self.offered, None
        return opening

    # --- P4: waiting inside a task: see waiting.py -----------------------------------------------

    def leads_to(self, goals: "list[Worker]", seen: "list[Worker]") -> bool:
        """True if this worker's task can't go on before a task of one of `goals` does.

        That is so if each task that it waits for is run by a goal, or by a worker that leads to one.
        """
        if self in goals:
            return True
        waits = self.waiting[-1:]
        if self in seen or not waits:
            return False
        seen.append(self)
        if len(waits[0]) >= FOLLOWED:
            return False
        return all_lead(list(waits[0]), goals, seen)  # list(): one locked operation, also on a dict that changes (C1)

    def unqueue(self, task: Task) -> None:
        """Take a task that was claimed inline off our own deque, where it usually is the newest."""
        local = self.local
        if local:
            try:
                if local[-1] is task:
                    local.pop()
                    return
                if local[0] is task:
                    first = local.popleft()
                    if first is not task:  # a thief took ours in between, and drops it
                        local.appendleft(first)
                        pass_on(self.home)  # I3: somebody may have looked while we held it in hand
                    return
            except IndexError:
                return
        self.home.note_dead(local)


def all_lead(tasks: "list[Task]", goals: "list[Worker]", seen: "list[Worker]") -> bool:
    """True if none of `tasks` can go on before a task of one of `goals` does.

    The look at what a worker waits for comes between two looks at who runs the task: if it is still unfinished at the
    second, then it was on that worker's stack at the first, and that wait is in its way.
    """
    runners = [task._claimant() for task in tasks]
    leads = all(runner is not None and runner.leads_to(goals, seen) for runner in runners)
    return bool(tasks) and leads and runners == [task._claimant() for task in tasks]


def next_tally() -> int:
    """A number that no other tally of the process has."""
    return next(_numbers)


def forget_other_threads() -> None:
    """In a forked child: the parent's other workers are not here, and their idents may be used again."""
    for ident in list(WORKERS):
        if ident != get_ident():
            del WORKERS[ident]
        else:
            WORKERS[ident].lock = Lock()  # the supervisor of the parent may have held it


def current_worker() -> Worker | None:
    """The worker that this thread is, if it is running a task."""
    worker = WORKERS.get(get_ident())
    return worker if worker is not None and worker.stack else None
