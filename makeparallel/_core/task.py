"""A task: the state machine of one call, from submission to outcome.

What it is: the one object per call. What is queued *is* the handle that the user holds (`AsyncHandle`
is a subclass). It knows how to be claimed and settled; not where it is queued, nor who waits. How its body is
run and left is in body.py.

Guarantees: a body runs at most once (I2); the first settling entry is the outcome, and every watcher
that was registered before it is woken exactly then (P1); from the claim on, nothing here refers to the
function or its arguments (I5).

Assumes: C1 (a list's lock orders its operations) and C4 (where a break can fall) of `_sync`.
See: README.md, P1.
"""

from .._sync import Ledger, now, require_headroom
from .body import run_body
from .entries import Callbacks, Claimant, Terms, Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from .scheduler import Scheduler
    from .worker import Tally, Worker

    Outcome = tuple[int, Any, float]
    Call = tuple[Context, Callable[..., Any], tuple[Any, ...], dict[str, Any] | None]

#: A task's number is the number of the tally that counted it, and its place in that count.
TALLY_BITS = 40
TALLY_MASK = (1 << TALLY_BITS) - 1


class Task:
    """One call of a function.

    The ledger is the task's history, in the order of its lock (C1): a claim, one or more outcomes of
    which the first counts, and watchers. Every decision is made by position in a snapshot of it.

    Thread-safety: internally synchronized.
    """

    __slots__ = ("__weakref__", "_call", "_home", "_label", "_ledger", "_metadata", "_number", "_start", "_terms")

    # Immutable once submitted
    _home: "Scheduler"
    _label: str
    _number: int
    _terms: Terms | None
    # Racy by design (P1)
    _ledger: "list[Any]"
    # Owner only: whoever made the first entry of the ledger, claim or outcome
    _call: "Call | None"
    # Written by the owner; a reader that sees 0.0 takes the task for pending, a moment late
    _start: float
    # Guarded by a lock for its creation, then a dict (C1)
    _metadata: "dict[str, Any] | None"

    @classmethod
    def make(
        cls,
        context: "Context",
        fn: "Callable[..., Any]",
        args: "tuple[Any, ...]",
        kwargs: "dict[str, Any]",
        label: str,
        timeout: float | None = None,
        interrupt: bool = True,
    ) -> "Task":
        """Make a task that is not submitted yet; `ParallelFunction.__call__` has this unrolled."""
        task = cls.__new__(cls)
        task._ledger = Ledger()
        task._call = (context, fn, args, kwargs or None)  # an empty dict would take 64 bytes
        task._label = label
        task._terms = None if timeout is None and interrupt else Terms(timeout, interrupt)
        task._metadata = None
        task._start = 0.0
        task._number = 0
        return task

    def get_task_id(self) -> str:
        """Return the task's id, unique in the process: the submitting thread's number, then its count."""
        return f"{self._number >> TALLY_BITS}-{self._number & TALLY_MASK}"

    def takes_interrupts(self) -> bool:
        """True unless its body must never be interrupted, only asked."""
        return self._terms is None or self._terms.interrupt

    # --- P1: claim -------------------------------------------------------------------------------

    def run_on(self, worker: "Worker") -> None:
        """Run the body on `worker`, unless somebody was first: a claim, a cancellation."""
        if self._claim(worker):
            run_body(self, worker)
        self = None  # type: ignore[assignment]  # I5: a traceback keeps this frame, and it the task

    def _claim(self, worker: "Worker") -> bool:
        """P1: the first claim wins, if no outcome comes before it."""
        ledger = self._ledger
        # A stale length is harmless: empty is decided below by position, and an entry that was seen
        # stays seen. What must not happen is that a worker takes its own earlier claim for this one;
        # its own entries are never stale to it.
        if not ledger:
            ledger.append(worker)
            if ledger[0] is worker:
                return True
        elif any(isinstance(entry, Claimant) or type(entry) is tuple for entry in ledger[:]):
            return False
        else:
            ledger.append(worker)
        for entry in ledger[:]:
            if isinstance(entry, Claimant) or type(entry) is tuple:
                return entry is worker
        raise AssertionError("a claim vanished from its ledger")

    # --- P1: settle ------------------------------------------------------------------------------

    def _settle(self, outcome: "Outcome") -> "list[Any] | None":
        """Append `outcome`; the entries before it, or None if another outcome came first."""
        self._ledger.append(outcome)
        return self._before(outcome)

    def _drop(self, outcome: "Outcome") -> None:
        """P1: a body's outcome that came too late does not stay, nor does its result (I5).

        `remove` compares by value, states first, and a body's outcome is the only one of its state: so
        no other entry is taken for it, and no user's `__eq__` is called.
        """
        try:
            self._ledger.remove(outcome)
        except ValueError:  # a break fell after the removal
            pass

    def _before(self, outcome: "Outcome") -> "list[Any] | None":
        before: list[Any] = []
        for entry in self._ledger[:]:  # a slice is taken under the list's lock: one consistent history
            if type(entry) is tuple:
                return before if entry is outcome else None
            before.append(entry)
        return None

    def _wake_all(self, before: "list[Any]") -> None:
        for entry in before:
            if isinstance(entry, Watcher):
                entry.wake(self)

    def _fire_all(self, before: "list[Any]") -> None:
        """Run the callbacks, and take the watchers out: a callback often refers to its handle (I5)."""
        for entry in before:
            if isinstance(entry, Watcher):
                entry.fire(self)
        for entry in before:
            if isinstance(entry, Watcher) and not entry.lasting:
                self._unwatch(entry)

    def end(self, state: int, *, fire: bool = True) -> bool:
        """Finish the task from outside its body; True if this call did it.

        Safe from a finalizer (I9), and against a break (Ctrl-C) at any instruction: every step can be
        repeated, and is, before the break goes on.
        """
        if self._outcome() is not None:
            return False
        require_headroom()
        return self.follow((state, None, now()), fire=fire)

    def follow(self, outcome: "Outcome", *, settled: bool = False, fire: bool) -> bool:
        """Settle from outside, unless that is done, and do what follows from it; True if `outcome` came first."""
        tally = self._home.tally()
        counted = 0
        try:
            before = self._before(outcome) if settled else self._settle(outcome)
            if before is None:
                return False  # the entry stays: it holds nothing, and `remove` could take an equal one
            slot = self._ended(outcome[0], before)
            counted = tally.ended[slot] + 1
            tally.ended[slot] = counted
            self._wake_all(before)  # no loop stands in this `try`: C7
            if slot & 1 and self.takes_interrupts():
                self._home.alarm()  # P5: its body is to leave
            if fire:
                self._fire_all(before)
            elif any(isinstance(entry, Watcher) for entry in before):
                self._home.add_chore(Callbacks(self, before))
            if self._home.state:
                self._home.drain.check()  # it may have been the last one, and its worker may sleep already
        except BaseException:
            self._mend(outcome, tally, counted)
            raise
        return True

    def _ended(self, state: int, before: "list[Any]") -> int:
        """Release what an unstarted task holds; the index of what to count."""
        if any(isinstance(entry, Claimant) for entry in before):
            return 2 * state + 1
        self._call = None  # no claim comes before the outcome, so none can win: the call is ours
        if self._terms is not None:
            self._home.return_permit(self._terms)
        return 2 * state

    def _mend(self, outcome: "Outcome", tally: "Tally", counted: int) -> None:
        """A break fell into `end`: do again what may be missing. The callbacks go to a worker."""
        before = self._before(outcome)
        if before is None:
            return
        slot = self._ended(outcome[0], before)
        if counted == 0 or tally.ended[slot] < counted:
            tally.ended[slot] += 1  # C4: the count and its store cannot be parted by anything but a break
        self._wake_all(before)
        if slot & 1:
            self._home.alarm()
        self._home.add_chore(Callbacks(self, before))
        if self._home.state:
            self._home.drain.check()

    # --- watching --------------------------------------------------------------------------------

    def _outcome(self) -> "Outcome | None":
        """The outcome, if there is one."""
        ledger = self._ledger
        if not ledger:  # a stale length is harmless: the outcome comes a moment later
            return None
        for entry in ledger[:]:
            if type(entry) is tuple:
                return entry
        return None

    def _watch(self, watcher: Watcher) -> "Outcome | None":
        """Register `watcher`; the outcome, if there is one (the watcher may have been woken for it as well)."""
        ledger = self._ledger
        ledger.append(watcher)
        for entry in ledger[:]:
            if type(entry) is tuple:
                # Between our append and this look the task may have been settled; then we are woken
                # *and* told, which a waiter does not mind and a callback's `fire` sorts out.
                return entry
        return None

    def _unwatch(self, watcher: Watcher) -> None:
        try:
            self._ledger.remove(watcher)
        except ValueError:  # already taken out by the settling thread
            pass

    def _claimant(self) -> "Worker | None":
        """The worker that runs the body of this unfinished task."""
        claimant = None
        for entry in self._ledger[:]:
            if type(entry) is tuple:
                return None
            if claimant is None and isinstance(entry, Claimant):
                claimant = entry
        return claimant  # type: ignore[return-value]  # the core's only Claimant is Worker
