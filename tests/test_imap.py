"""`parallel_imap`: lazy reading, order, errors in their place, closing; and what it keeps alive."""

import gc
import itertools
import queue
import threading
import time
import weakref

import pytest
from helpers_waiting import LIMIT, eventually, eventually_freed

import makeparallel as mp


class Stop(Exception):
    """Raised by bodies and inputs that were told to fail."""


class Item:
    """Something that can be referred to weakly."""


class Source:
    """Counts what was read of it, and in which threads."""

    def __init__(self, items):
        self.items = iter(items)
        self.read = 0
        self.threads = set()

    def __iter__(self):
        return self

    def __next__(self):
        self.threads.add(threading.get_ident())
        item = next(self.items)
        self.read += 1
        return item


def square(x):
    return x * x


def fail_at_five(x):
    if x == 5:
        raise Stop(f"item {x}")
    return x


def collect(iterator):
    """The results, and the error that ended them."""
    results = []
    try:
        for result in iterator:
            results.append(result)
    except Exception as error:
        return results, error
    return results, None


# --- results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 3000])
@pytest.mark.parametrize("buffersize", [None, 1, 2, 7, 10_000])
@pytest.mark.parametrize("ordered", [True, False])
def test_items_are_lost(pool, count, buffersize, ordered):
    """Every item comes once, and in order if that was asked for."""
    results = list(mp.parallel_imap(square, range(count), ordered=ordered, buffersize=buffersize, pool=pool))
    assert [n * n for n in range(count)] == (results if ordered else sorted(results))


def test_iterables_are_mixed_up(pool):
    """Several iterables give the arguments in order; the shortest ends it, be the others endless."""
    assert [1, 4, 27] == list(pool.imap(pow, itertools.count(1), (1, 2, 3)))


def test_slow_item_holds_up_unordered_ones():
    """Without order, what is done comes first."""
    go = threading.Event()

    def body(x):
        assert x or go.wait(LIMIT)
        return x

    with mp.Pool(2) as two:
        results = two.imap(body, range(4), ordered=False)
        assert [1, 2, 3] == sorted(next(results) for _ in range(3))
        go.set()
        assert [0] == list(results)


def test_slow_item_is_overtaken_in_order():
    """In order, a slow item comes in its place, and the others have been run meanwhile."""
    ran = []

    def body(x):
        if x == 0:
            assert eventually(lambda: len(ran) == 3)
        else:
            ran.append(x)
        return x

    with mp.Pool(2) as two:
        assert [0, 1, 2, 3] == list(two.imap(body, range(4)))


@pytest.mark.parametrize("ordered", [True, False])
def test_task_deadlocks_in_its_own_imap(ordered):
    """A task of a pool with one worker may iterate over the same pool, at any depth."""
    with mp.Pool(1) as single:

        def outer(depth):
            if depth == 0:
                return 1
            return sum(single.imap(outer, [depth - 1] * 3, ordered=ordered))

        assert 27 == single.submit(outer, 3).get(LIMIT)


def test_context_does_not_follow(pool):
    """Items see the context of the call, not that of the iteration."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="default")
    variable.set("call")
    results = pool.imap(lambda _: variable.get(), range(3))
    variable.set("iteration")
    assert ["call"] * 3 == list(results)


# --- reading ------------------------------------------------------------------------------------------


def test_input_is_read_before_it_is_wanted(pool):
    """Nothing is read before the first result is asked for, and all in the thread that asks."""
    source = Source(range(1000))
    results = pool.imap(square, source)
    assert 0 == source.read
    assert [n * n for n in range(1000)] == list(results)
    assert {threading.get_ident()} == source.threads


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("buffersize", [1, 2, 5, 64])
def test_more_is_read_than_the_buffer_holds(pool, buffersize, ordered):
    """Never have more items been read than were handed out and fit into the buffer."""
    source = Source(itertools.count())
    results = pool.imap(square, source, buffersize=buffersize, ordered=ordered)
    for handed_out, _ in enumerate(itertools.islice(results, 500)):
        assert source.read <= handed_out + buffersize
    results.close()


def test_endless_input_is_read_without_end(pool):
    """Without a buffer size, a slow function's endless input is read a little ahead only."""
    source = Source(itertools.count())
    results = pool.imap(lambda x: time.sleep(0.002) or x, source)
    assert [0, 1, 2, 3] == [next(results) for _ in range(4)]
    assert source.read <= 64
    results.close()


def test_slow_input_keeps_results_back():
    """A result that is there is handed out before more is read."""
    items = queue.Queue()
    items.put(1)
    items.put(2)

    def read():
        while True:
            yield items.get(timeout=LIMIT)

    with mp.Pool(1) as single:
        results = single.imap(square, read(), buffersize=1)
        assert 1 == next(results)
        assert 4 == next(results)
        results.close()


def test_full_pool_is_an_error_while_work_goes_on():
    """A bounded pool that was told not to wait limits what is in flight, and loses nothing."""
    with mp.Pool(1, max_pending=2, when_full="raise") as bounded:
        assert [n * n for n in range(500)] == list(bounded.imap(square, range(500)))
        gate, began = threading.Event(), threading.Event()
        bounded.submit(lambda: (began.set(), gate.wait(LIMIT)))
        assert began.wait(LIMIT)
        bounded.submit(int)
        bounded.submit(int)
        with pytest.raises(mp.PoolFullError):
            next(bounded.imap(square, range(3)))
        gate.set()
    bounded._check()


# --- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffersize", [None, 1, 3, 100])
def test_failing_item_hides_those_before_it(pool, buffersize):
    """What was before the failing item comes first; then its error, with its index; then nothing."""
    iterator = pool.imap(fail_at_five, itertools.count(), buffersize=buffersize)
    results, error = collect(iterator)
    assert [0, 1, 2, 3, 4] == results
    assert isinstance(error, mp.TaskError)
    assert isinstance(error.__cause__, Stop)
    assert 5 == error.metadata["index"]
    assert "fail_at_five[5]" in str(error)
    assert [] == list(iterator)


def test_failing_item_is_lost_out_of_order(pool):
    """Without order too, an error comes, names its item, and ends the iteration."""
    results, error = collect(pool.imap(fail_at_five, range(10), ordered=False))
    assert 5 not in results
    assert 5 == error.metadata["index"]


def test_failing_input_hides_what_was_read(pool):
    """An error of the input comes as it is, after the results of all that was read before it."""

    def read():
        yield from range(7)
        raise Stop("input")

    results, error = collect(pool.imap(square, read()))
    assert [n * n for n in range(7)] == results
    assert type(error) is Stop
    assert "read" in [frame.name for frame in __import__("traceback").extract_tb(error.__traceback__)]
    results, error = collect(pool.imap(square, read(), ordered=False))
    assert [n * n for n in range(7)] == sorted(results)
    assert type(error) is Stop


def test_stop_iteration_of_the_function_ends_the_input(pool):
    """A function that raises StopIteration fails; it does not look like the end of the items."""

    def body(x):
        if x == 2:
            raise StopIteration
        return x

    for iterate in (pool.imap, pool.map):
        with pytest.raises(mp.TaskError) as caught:
            list(iterate(body, range(5)))
        assert "StopIteration" == caught.value.error_type
        assert 2 == caught.value.metadata["index"]


def test_own_timeout_is_ignored(pool):
    """A decorated function's timeout holds for each item."""
    slow = pool.parallel(timeout=0.05)(lambda x: mp.sleep(LIMIT) if x == 2 else x)
    results, error = collect(mp.parallel_imap(slow, range(5)))
    assert [0, 1] == results
    assert isinstance(error, mp.TaskTimeoutError)
    assert 2 == error.metadata["index"]


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((square,), {}, TypeError),
        ((square, 1), {}, TypeError),
        ((None, [1]), {}, TypeError),
        ((square, [1]), {"ordered": 1}, TypeError),
        ((square, [1]), {"buffersize": 0}, ValueError),
        ((square, [1]), {"buffersize": 1.5}, TypeError),
        ((square, [1]), {"buffersize": True}, TypeError),
        ((square, [1]), {"pool": 3}, TypeError),
        ((square, [1]), {"progress": 1}, TypeError),
        ((square, [1]), {"progress": True}, NotImplementedError),
    ],
)
def test_bad_argument_is_found_late(arguments, keywords, error):
    """Bad arguments raise at the call, not at the first result."""
    with pytest.raises(error):
        mp.parallel_imap(*arguments, **keywords)


def test_shutdown_leaves_the_iterator_waiting():
    """After the pool's shutdown the iterator raises, and so does one that was in use."""
    stopped = mp.Pool(1)
    used = stopped.imap(square, itertools.count())
    assert 0 == next(used)
    assert stopped.shutdown(LIMIT)
    with pytest.raises(mp.PoolShutdownError):
        for _ in used:
            pass
    with pytest.raises(mp.PoolShutdownError):
        next(stopped.imap(square, [1]))


# --- leaving it ---------------------------------------------------------------------------------------


@pytest.mark.proves("I1")
@pytest.mark.parametrize("drop", [False, True], ids=["closed", "dropped"])
@pytest.mark.parametrize("ordered", [True, False])
def test_left_iterator_runs_on(drop, ordered):
    """Closing or dropping the iterator cancels what is in flight, also what runs."""
    with mp.Pool(1) as single:
        was_read, began, cancelled = threading.Event(), threading.Event(), []

        def read():
            yield 0
            was_read.set()
            yield from itertools.count(1)

        def body(x):
            if x == 0:
                assert was_read.wait(LIMIT)
                return x
            began.set()
            try:
                while True:
                    pass
            finally:
                cancelled.append(x)

        results = single.imap(body, read(), ordered=ordered)
        assert 0 == next(results)
        assert began.wait(LIMIT)
        if drop:
            del results
            gc.collect()
        else:
            results.close()
        assert single.shutdown(LIMIT)
    assert [1] == cancelled
    single._check()


@pytest.mark.proves("I5")
def test_iterator_keeps_what_it_has_handed_out(pool):
    """Neither an item nor a result that was handed out is kept, while the iterator waits to go on."""
    references = []

    def body(item):
        references.append(weakref.ref(item))
        return item

    results = pool.imap(body, (Item() for _ in range(3)), buffersize=1)
    for expected in range(3):
        next(results)
        # a worker may still be on its way out of the item's task
        assert eventually_freed(lambda expected=expected: references[expected]() is None)
    results.close()


@pytest.mark.slow
@pytest.mark.proves("I5")
def test_long_input_is_kept(pool):
    """A million items need no more memory than a few thousand: none is kept."""
    alive = []

    class Counted:
        def __init__(self):
            alive.append(None)

        def __del__(self):
            alive.pop()

    most = 0
    for number, _ in enumerate(pool.imap(lambda item: None, (Counted() for _ in range(100_000)), buffersize=1000)):
        if number % 1000 == 0:
            most = max(most, len(alive))
    assert most <= 3000  # a block is freed when its worker has left it


# --- found in review ------------------------------------------------------------------------------------


@pytest.mark.thread_unsafe(reason="copies would take the pool from each other, and it is about time")
def test_quick_function_lets_a_slow_input_keep_results_back(pool):
    """However large the blocks have become, what a slow input has given is not held until more has come."""
    handed_out = []

    def read():
        yield from range(5000)  # quick: the blocks grow
        for number in range(5000, 5150):  # up to 64 are read before it shows
            time.sleep(0.003)
            lags.append(number - len(handed_out))
            yield number

    lags = []
    for result in pool.imap(square, read(), buffersize=5000):
        handed_out.append(result)
    assert [n * n for n in range(5150)] == handed_out
    assert lags[-1] <= 10


def test_shutdown_drops_what_was_taken():
    """After a shutdown the iterator hands out what the pool had taken, and then raises."""
    with mp.Pool(1) as single:
        results = single.imap(lambda x: time.sleep(0.01) or x, itertools.count())
        assert 0 == next(results)
        closer = threading.Thread(target=single.shutdown)
        closer.start()
        assert eventually(lambda: single._scheduler.state > 0)
        rest, error = collect(results)
        closer.join(LIMIT)
    assert isinstance(error, mp.PoolShutdownError)
    assert list(range(1, len(rest) + 1)) == rest


@pytest.mark.proves("I5")
@pytest.mark.parametrize("what", ["item", "input", "timeout"])
def test_error_keeps_items_and_results(what):
    """Who holds the error of a map holds neither its items nor its results."""
    references = []

    def make(number):
        item = Item()
        item.number = number
        references.append(weakref.ref(item))
        return item

    def read():
        for number in range(40):
            if what == "input" and number == 30:
                raise Stop
            yield make(number)

    def body(item):
        if what == "item" and item.number == 20:
            raise Stop
        if what == "timeout" and item.number == 5:
            mp.sleep(LIMIT)
        return item

    with mp.Pool(1) as single:
        try:
            if what == "timeout":
                single.map(body, read(), timeout=0.05, chunksize=1)
            else:
                for result in single.imap(body, read()):
                    del result
        except (mp.TaskError, TimeoutError, Stop) as error:
            kept = error
        kept.__cause__ = None  # the item's own error keeps the frame of the item's function
        assert single.shutdown(LIMIT)
        assert eventually_freed(lambda: not any(reference() for reference in references))
