"""Runs of items: how `parallel_map` shares its items among workers, and what a block of items is.

What it is: one cursor per map, behind a lock. A worker takes the next block of items, as many as take about a
millisecond by its clock, and none is bound to a worker before it is taken. So a slow item holds up its own block only,
the items begin in their order, and an item costs little more than the call. (Guided self-scheduling, after
Polychronopoulos and Kuck, 1987, with the clock in place of an estimate.)

Guarantees: every item is run at most once; when an item has failed, or the map was given up, no further block begins
(what is left of one that runs is interrupted, or runs on where the function can't be). Few tasks are made, each by
one before it: as many as could run at once.
"""

from itertools import starmap

from ._core.entries import FAILED, SUCCEEDED, Terms, drop_own_frame
from ._core.gate import masked
from ._core.idle import FORKED
from ._core.waiting import await_outcome
from ._core.worker import current_worker
from ._errors import PoolShutdownError, TaskError, TaskInterrupt, text_of
from ._functions import own_copy
from ._handle import AsyncHandle
from ._sync import Lock, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from typing import Any

    from ._core.entries import Watcher
    from ._core.scheduler import Scheduler
    from ._core.task import Outcome, Task

#: How long a block should take, in seconds: long beside what it costs (microseconds), short beside what one waits for.
BLOCK_SECS = 1e-3
#: How much longer than the one before a block may be, in items: a fast start must not be trusted too much.
GROWTH = 8
#: From so many items on a worker has its own copy of a nested function.
WORTH_A_COPY = 8
#: A worker that begins asks for so many more; with two, all of n are there after log2(n) wake-ups.
HELPERS = 2


class ItemError(BaseException):
    """Carries the index of the failing item out of its block, and the results before it."""

    def __init__(self, index: int, results: "list[Any]") -> None:
        self.index = index
        self.results = results


class Call:
    """What is called for each item, and as what kind of task. Immutable."""

    __slots__ = ("context", "function", "home", "interrupt", "label", "origin", "owner", "several", "timeout")

    def __init__(
        self,
        function: "Callable[..., Any]",
        several: bool,
        home: "Scheduler",
        context: "Context",
        label: str,
        timeout: float | None,
        interrupt: bool,
        origin: str | None,
    ) -> None:
        self.function = function
        #: True if an item is a tuple of arguments, False if it is the one argument.
        self.several = several
        self.home = home
        self.context = context
        self.label = label
        self.timeout = timeout
        self.interrupt = interrupt
        self.origin = origin
        worker = current_worker()
        #: The task that makes the call for itself alone: what runs for it ends with it.
        self.owner: Task | None = None if worker is None else worker.stack[-1]

    def make_task(self, body: "Callable[..., Any]", *args: object) -> "AsyncHandle[Any]":
        """Make a task that runs `body(*args)` for us."""
        handle = AsyncHandle.make(self.context.copy(), body, args, {}, self.label)
        handle._terms = Terms(self.timeout, self.interrupt)
        handle._terms.origin = self.origin
        handle._terms.owner = self.owner
        return handle  # type: ignore[return-value]  # `make` makes what it is called on

    def run(self, items: "Sequence[Any]", start: int) -> "list[Any]":
        """Call the function for each item; the results. `start` is the index of the first.

        Raises:
            ItemError: an item failed; its cause is the item's own error.
        """
        results: list[Any] = []
        try:
            function = self.function if len(items) < WORTH_A_COPY else own_copy(self.function)
            # One C loop: half the time of a loop in Python. What has come stays in the list if it is left by an error.
            results.extend((starmap if self.several else map)(function, items))
            if len(results) < len(items):
                raise StopIteration("raised by the function; its traceback can't be told")
            return results
        except TaskInterrupt:  # the task has been finished from outside
            raise
        except BaseException as error:
            drop_own_frame(error)
            raise ItemError(start + len(results), results) from error
        finally:
            self = items = results = function = None  # type: ignore[assignment]  # I5: see run_body


class Blocks:
    """The items of one map, and who runs them.

    Thread-safety: internally synchronized.
    """

    __slots__ = (
        "_active",
        "_call",
        "_end",
        "_fixed",
        "_items",
        "_lock",
        "_next",
        "_watcher",
        "failed",
        "handles",
        "results",
    )

    def __init__(self, call: Call, items: "Sequence[Any]", size: int | None, watcher: "Watcher") -> None:
        # Immutable
        self._call = call
        self._items = items
        self._fixed = size
        self._watcher = watcher  # stands in the ledger of every handle
        # Each place is written by whoever runs that item; read when all are done
        self.results: list[Any] = [None] * len(items)
        # Guarded by lock, which is held for a moment only
        self._lock = Lock()
        self._next = 0
        self._end = len(items)  # that of the first failed item, if there is one
        self._active: list[int] = []  # where the blocks begin that are being run
        self.failed: AsyncHandle[Any] | None = None  # who ran the item at the end
        self.handles: list[AsyncHandle[Any]] = []

    def start(self, deadline: float | None) -> None:
        """Make the first task; it makes the others."""
        self._submit(deadline)

    def is_decided(self) -> bool:
        """True if all items before the end, or before the first failure, are done."""
        with self._lock:
            end, ahead, active = self._end, self._next, self._active[:]
        return ahead >= end and all(start >= end for start in active)

    def waiting(self) -> "dict[AsyncHandle[Any], None]":
        """The tasks whose ends are worth waiting for; none if it is decided what the map returns or raises."""
        decided = self.is_decided()
        if decided and self.failed is not None:
            return {}
        # Once all items are done: not for those that have not begun, and would find nothing to do.
        return {h: None for h in self.handles[:] if h._outcome() is None and not (decided and h._claimant() is None)}

    def before_wait(self) -> None:
        """Make sure that somebody is awake for our tasks: see `Scheduler.before_wait`."""
        self._call.home.before_wait()

    def failure(self) -> TaskError:
        """The error of the first item that failed."""
        assert self.failed is not None
        outcome = await_outcome(self.failed, None)  # its task has left the item, and may be about to settle
        assert outcome is not None
        return with_index(self.failed, outcome, self._end)

    def close(self) -> None:
        """Let no further block begin."""
        with self._lock:
            self._end = 0

    def release(self) -> "list[Any]":
        """The results, once all items are done. A task that has not begun keeps neither them nor the items (I5)."""
        results, self.results, self._items = self.results, [], ()
        del self._call
        return results

    def _submit(self, deadline: float | None = None) -> bool:
        """Make one more task, unless there are as many as could run at once."""
        handle = self._call.make_task(self._work)
        handle._ledger.append(self._watcher)
        with self._lock:
            most = min(len(self._call.home.seats), -(-len(self._items) // (self._fixed or 1)))
            if self._next >= self._end or len(self.handles) >= most:
                return False
            self.handles.append(handle)
        self._call.home.submit(handle, deadline)
        return True

    def _work(self) -> None:
        """Run blocks until there are none: the body of each task."""
        try:
            self._run_all()
        finally:
            self = None  # type: ignore[assignment]  # I5: see run_body

    def _run_all(self) -> None:
        """The loop of `_work`: C7."""
        size, done = self._fixed or 1, None
        while (block := masked(self._take, size, done)) is not None:
            if done is None:
                masked(self._ask_for_help)
            done, stop = block
            began = now()
            error = self._run(done, stop)
            if self._call.home.state == FORKED:  # an item forked: the parent goes on, and may have held our lock (C6)
                return
            if error is not None:
                self = None  # type: ignore[assignment]  # I5: the item's own error keeps this frame
                try:
                    raise error
                finally:
                    error = None
            if self._fixed is None:
                size = adapt(stop - done, now() - began)

    def _run(self, start: int, stop: int) -> ItemError | None:
        """Run a block; the error of the item that ended it."""
        try:
            call = self._call
            self.results[start:stop] = call.context.copy().run(call.run, self._items[start:stop], start)
            return None
        except ItemError as error:
            if call.home.state != FORKED:
                masked(self._fail, start, error.index)
            return error
        finally:
            self = call = None  # type: ignore[assignment]

    def _take(self, size: int, done: int | None) -> tuple[int, int] | None:
        """The next block, of up to `size` items, after the one that began at `done`; None if there is none."""
        with self._lock:
            if done is not None:
                self._active.remove(done)
            start, left = self._next, self._end - self._next
            if left <= 0:
                return None
            if self._fixed is None:
                # Towards the end the blocks get smaller, so that all workers end together, and in a short map a slow
                # item has few behind it in its block.
                size = min(size, max(left // (8 * len(self._call.home.seats)), size // 20, 1))
            self._next = start + min(size, left)
            self._active.append(start)
            return start, self._next

    def _fail(self, start: int, index: int) -> None:
        """Note that the item at `index` has failed, in the block that began at `start`."""
        worker = current_worker()
        with self._lock:
            self._active.remove(start)
            if index < self._end and worker is not None:
                self._end = index
                self.failed = worker.stack[-1]  # type: ignore[assignment]  # all tasks of users are handles

    def _ask_for_help(self) -> None:
        try:
            for _ in range(HELPERS):
                if not self._submit():
                    return
        except PoolShutdownError:  # those that run must do
            pass


def adapt(size: int, seconds: float) -> int:
    """How many items to take next, after `size` took so many seconds."""
    wanted = int(size * BLOCK_SECS / seconds) if seconds > 0 else size * GROWTH
    return max(1, min(wanted, size * GROWTH))


def cancel_all(handles: "list[AsyncHandle[Any]]") -> None:
    """Cancel what is left of a map, whose caller is told of one error only.

    The last first: what runs is in front, and its worker would begin what comes next.
    """
    for handle in reversed(handles):
        if handle._number:  # it was submitted
            handle.cancel()
            outcome = handle._outcome()
            if outcome is not None and outcome[0] == FAILED:
                outcome[1].seen = True


def error_of(handle: "AsyncHandle[Any]") -> TaskError | None:
    """The error of an ended task of a map that ended otherwise than by an item, or for want of items."""
    outcome = handle._outcome()
    assert outcome is not None
    if outcome[0] == SUCCEEDED or (outcome[0] == FAILED and isinstance(outcome[1].error, ItemError)):
        return None
    return handle._error(outcome)


def with_index(handle: "AsyncHandle[Any]", outcome: "Outcome", index: int) -> TaskError:
    """The handle's error, naming the item."""
    error = handle._error(outcome)
    cause = error.__cause__
    if outcome[0] == FAILED and isinstance(cause, ItemError):
        index, original = cause.index, cause.__cause__
        assert original is not None
        error.error_type = type(original).__qualname__
        error.error_message = text_of(original)
        error.__cause__ = original
    error.task_name = f"{error.task_name}[{index}]"
    error.metadata["index"] = index
    return error
