"""`parallel_imap`: an iterator over a function's results, which reads its input no faster than they are taken.

What it is: a generator that, whenever a result is asked for, reads as much of the input as may be in flight, in blocks
that last about a millisecond (`_blocks`), and hands each to the pool as a task. So the input is read in the thread
that iterates, only there, and only while a result is waited for.

Guarantees: never more than `buffersize` items have been read and not been handed out; what failed comes in its place,
after everything before it; leaving the iterator, or dropping it, cancels the rest.
"""

from itertools import islice

from ._blocks import BLOCK_SECS, Call, ItemError, adapt, cancel_all, with_index
from ._combinators import Collector
from ._config import check_bool, check_count
from ._core.entries import FAILED, SUCCEEDED, drop_own_frame
from ._core.gate import masked
from ._core.waiting import await_outcome
from ._errors import PoolFullError, PoolShutdownError, TaskError
from ._map import prepare
from ._pool import Pool
from ._sync import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ._handle import AsyncHandle

#: Blocks in flight for each worker, if nothing else is said: enough to even out unequal ones.
BLOCKS_PER_WORKER = 8
#: And no more items than this in one: with some hundred bytes each, a worker's blocks then take a few megabytes.
LARGEST_BLOCK = 4096
#: Items read at most between two looks at the clock, after one, two, four: a slow input must not keep back others.
READ = 64


def parallel_imap(
    func: "Callable[..., Any]",
    *iterables: "Iterable[Any]",
    ordered: bool = True,
    buffersize: int | None = None,
    progress: bool = False,
    pool: Pool | None = None,
) -> "Iterator[Any]":
    """Apply a function to all items in parallel; iterate over the results while the input is read, bit by bit.

    Nothing is read before the first result is asked for. The input may be endless, and is read in the thread that
    iterates. Closing the iterator, or dropping it, cancels what is in flight.

    Args:
        func: a function, decorated or not. The options of a decorated one (its timeout) hold for each
            item, which then is a task of its own.
        iterables: one for each argument of `func`; the shortest ends the map.
        ordered: True for the order of the input, False for the order in which they are done.
        buffersize: how many items may have been read whose results have not been handed out; None to choose: as many
            as keep the workers busy. With slow items among quick ones a larger one keeps them busier.
        progress: not available yet.
        pool: the `Pool` to run on; the function's, else the default one.

    Raises:
        TaskError: from the iterator, in its place, an item that failed; its name and metadata tell the index. What is
            in flight is cancelled.
        TypeError, ValueError: an argument is not what it should be. An error of the input comes from the iterator
            as it is, after the results of all that was read before it.
        NotImplementedError: `progress=True`.
        PoolShutdownError, PoolFullError: from the iterator, as calling a decorated function; a full pool only if
            nothing is in flight.

    Example:
        >>> import itertools
        >>> import makeparallel as mp
        >>> squares = mp.parallel_imap(pow, itertools.count(), itertools.repeat(2))
        >>> [next(squares) for _ in range(4)]
        [0, 1, 4, 9]
        >>> squares.close()

    Thread-safety: reentrant; the iterator is for one thread at a time.
    """
    call, iterators = prepare(func, iterables, progress, pool, "parallel_imap")
    check_bool(ordered, "ordered")
    limit = check_count(buffersize, "buffersize", "a chosen one")
    source = zip(*iterators, strict=False) if call.several else iterators[0]
    return _iterate(Stream(call, source, ordered, limit))


def _iterate(stream: "Stream") -> "Iterator[Any]":
    try:
        yield from stream.results()
    finally:
        masked(cancel_all, [*stream.flying])
        stream.flying.clear()
        stream = None  # type: ignore[assignment]  # I5: an error that is raised keeps this frame


class Stream:
    """What one `parallel_imap` has read and not handed out.

    Thread-safety: externally synchronized, by the generator that it belongs to.
    """

    def __init__(self, call: Call, source: "Iterator[Any]", ordered: bool, limit: int | None) -> None:
        self._call = call
        self._source: Iterator[Any] | None = source  # None once it has ended
        self._error: Exception | None = None  # what the input raised
        self._limit = limit
        self._size = 1  # items in the next block
        self._read = 0  # items read, and so the index of the next one
        self._unsent: list[Any] = []  # a block that a full pool did not take
        self._buffered = 0  # items read and not handed out
        #: The tasks in flight, in the order of the input, each with the index of its first item and their number.
        self.flying: dict[AsyncHandle[Any], tuple[int, int]] = {}
        self._collector = None if ordered else Collector()

    def results(self) -> "Iterator[Any]":
        """All results, one by one."""
        while True:
            self._fill()
            if not self.flying:
                break
            results, error = self._next_block()
            results.reverse()
            while results:
                yield results.pop()  # I5: nothing that was handed out is kept
                self._buffered -= 1
            if error is not None:
                try:
                    raise error
                finally:
                    self = error = None  # type: ignore[assignment]  # I5
        failed, self._error = self._error, None
        if failed is not None:
            try:
                raise failed
            finally:
                self = failed = None  # type: ignore[assignment]  # I5

    # --- reading ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Read and hand to the pool what may be in flight, unless a result is there already."""
        while not self._is_any_ready():
            block = self._unsent or self._read_block()
            self._unsent = []
            if not block:
                return
            try:
                self._send(block)
            except PoolFullError:
                if not self.flying:
                    raise
                self._unsent = block
                return
            except PoolShutdownError as error:
                self._error, self._source = error, None  # after the results of what was taken
                return

    def _is_any_ready(self) -> bool:
        if self._collector is not None:
            finished = self._collector.finished
            while finished and finished[0] not in self.flying:  # noted twice, and handed out
                finished.popleft()
            return bool(finished)
        for first in self.flying:
            return first._outcome() is not None
        return False

    def _room(self) -> int:
        """How many items the next block may have."""
        workers = len(self._call.home.seats)
        size = 1 if self._call.timeout is not None else self._size
        if self._limit is None:
            return size if len(self.flying) < BLOCKS_PER_WORKER * workers else 0
        return min(size, self._limit - self._buffered, self._limit // (2 * workers) or 1)

    def _read_block(self) -> "list[Any]":
        block: list[Any] = []
        room, until, wanted = self._room(), now() + BLOCK_SECS, 1
        while self._source is not None and len(block) < room and (not block or now() < until):
            wanted = min(2 * wanted, READ, room - len(block)) if block else 1
            self._read_some(block, wanted)
        self._buffered += len(block)
        read, block = [block], []  # I5: an error of the input may keep this frame
        return read.pop()

    def _read_some(self, block: "list[Any]", wanted: int) -> None:
        before = len(block)
        try:
            block.extend(islice(self._source, wanted))  # type: ignore[arg-type]  # what came before an error stays in it
            if len(block) < before + wanted:
                self._source = None
        except Exception as error:
            self._error, self._source = error, None
            drop_own_frame(error)
        finally:
            self = block = None  # type: ignore[assignment]  # I5: the error may keep this frame

    def _send(self, block: "list[Any]") -> None:
        call, count = self._call, len(block)
        handle = call.make_task(call.run, block, self._read)
        if self._collector is not None:
            handle._ledger.append(self._collector)
        self.flying[handle] = self._read, count
        try:
            call.home.submit(handle)
        except (PoolFullError, PoolShutdownError):
            del self.flying[handle]
            raise
        self._read += count

    # --- results ---------------------------------------------------------------------------------

    def _next_block(self) -> "tuple[list[Any], TaskError | None]":
        """Wait for the next block, in whatever order it is; its results, and the error that ended it."""
        handle = self._first_in_order() if self._collector is None else self._first_done(self._collector)
        outcome = handle._outcome() or await_outcome(handle, None)
        assert outcome is not None
        start, count = self.flying.pop(handle)
        self._size = min(adapt(count, outcome[2] - handle._start), LARGEST_BLOCK)
        if outcome[0] == SUCCEEDED:
            return outcome[1], None
        done = outcome[1].error.results if outcome[0] == FAILED and isinstance(outcome[1].error, ItemError) else []
        return [*done], with_index(handle, outcome, start)

    def _first_in_order(self) -> "AsyncHandle[Any]":
        return next(iter(self.flying))

    def _first_done(self, collector: Collector) -> "AsyncHandle[Any]":
        while True:
            while not collector.finished:
                masked(self._call.home.before_wait)
                masked(collector.wait, self.flying, None)
            handle: AsyncHandle[Any] = collector.finished.popleft()
            if handle in self.flying:
                return handle
