"""`parallel_map`: order, chunks, the failing item, the time limit, and a decorated function's own options."""

import math
import re
import threading
import time
import traceback
import weakref

import pytest
from helpers_waiting import eventually

import makeparallel as mp

LIMIT = 30  # seconds: far more than anything here takes, so that a hang becomes a failure


class Stop(Exception):
    """Raised by bodies that were told to fail."""


class Unprintable(Exception):
    """Its text can't be had."""

    def __str__(self):
        raise ZeroDivisionError("no text")


class Seconds:
    """A number of seconds that can do nothing but become a float."""

    def __float__(self):
        return 0.01


class Sequence:
    """Old-style iteration, by index."""

    def __getitem__(self, index):
        if index == 3:
            raise IndexError
        return index


def square(x):
    return x * x


def fail_from_three(x):
    if x >= 3:
        raise Stop(f"item {x}")
    return x


# --- results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 1000])
@pytest.mark.parametrize("chunksize", [None, 1, 7, 10_000])
def test_chunks_lose_items(pool, count, chunksize):
    """Every item comes once and in order, however the items are cut into chunks."""
    assert [n * n for n in range(count)] == mp.parallel_map(square, range(count), chunksize=chunksize, pool=pool)


def test_slow_first_item_comes_last(pool):
    """Results stand in the order of the items, whichever is done first."""
    second_done = threading.Event()

    def body(x):
        if x == 0:
            assert second_done.wait(LIMIT)
        else:
            second_done.set()
        return x

    with mp.Pool(2) as two:
        assert [0, 1] == two.map(body, [0, 1], chunksize=1)


def test_iterables_are_mixed_up(pool):
    """Several iterables give the arguments in order; the shortest ends the map."""
    assert [(1, "a", 5), (2, "b", 6)] == pool.map(lambda *all_: all_, [1, 2, 3], "ab", iter([5, 6, 7, 8]))
    assert [] == pool.map(square, [], [1], ())


@pytest.mark.parametrize(
    "items",
    [(1, 2), {1: 0, 2: 0}, iter([1, 2]), (n for n in (1, 2)), range(1, 3), b"\x01\x02"],
    ids=lambda i: type(i).__name__,
)
def test_kind_of_iterable_is_refused(items):
    """Anything that can be iterated will do."""
    if not hasattr(items, "__next__"):  # an iterator is used up by the first of the threads
        assert [1, 4] == mp.parallel_map(square, items)
    assert [0, 1, 4] == mp.parallel_map(square, Sequence())
    assert [1, 4] == mp.parallel_map(square, (n for n in (1, 2)))
    assert [1, 4] == mp.parallel_map(square, iter([1, 2]))


def test_forms_of_map_differ(pool):
    """`parallel_map`, `Pool.map` and `f.map` are the same."""
    decorated = mp.parallel(square)
    for results in (
        mp.parallel_map(square, range(5)),
        mp.parallel_map(decorated, range(5)),
        mp.parallel_map(decorated, range(5), pool=pool, chunksize=2, timeout=LIMIT, progress=False),
        pool.map(square, range(5), chunksize=2, timeout=LIMIT),
        pool.map(decorated, range(5)),
        decorated.map(range(5), chunksize=2, timeout=LIMIT),
        pool.parallel(square).map(range(5)),
    ):
        assert [0, 1, 4, 9, 16] == results


def test_map_runs_on_the_wrong_pool(pool):
    """It runs on the pool given; else on the function's; a given one goes before the function's."""
    with mp.Pool(1, thread_name_prefix="mine") as mine, mp.Pool(1, thread_name_prefix="other") as other:
        where = mine.parallel(lambda _: threading.current_thread().name.rpartition("-")[0])
        assert ["mine"] == where.map([1])
        assert ["mine"] == mp.parallel_map(where, [1])
        assert ["other"] == mp.parallel_map(where, [1], pool=other)
        assert ["other"] == other.map(where, [1])


def test_map_runs_in_the_caller(pool):
    """Items run in the pool's workers, and in more than one of them."""
    with mp.Pool(2) as two:
        barrier = threading.Barrier(2, timeout=LIMIT)  # broken unless two items run at the same time

        def body(_):
            barrier.wait()
            return threading.get_ident()

        idents = two.map(body, range(2), chunksize=1)
    assert 2 == len(set(idents))
    assert threading.get_ident() not in idents


def test_callable_of_any_kind_is_refused(pool):
    """Builtins, classes, bound methods and callable instances can be mapped."""
    assert [1, 2] == pool.map(abs, [-1, 2])
    assert ["1", "2"] == pool.map(str, [1, 2])
    assert ["a-", "b-"] == pool.map("{}-".format, "ab")
    assert [8, 9] == pool.map(pow, [2, 3], [3, 2])


@pytest.mark.proves("P4")
def test_nested_map_deadlocks():
    """With one worker, a map in a map in a map gives its results."""
    with mp.Pool(1) as single:

        def tree(depth):
            return 1 if depth == 0 else sum(single.map(tree, [depth - 1] * 3, chunksize=1))

        assert [27, 27] == single.map(tree, [3, 3])
        assert 27 == single.submit(tree, 3).get(LIMIT)


def test_empty_input_starts_a_task(pool):
    """Nothing to do is done at once, also with no time at all, and submits nothing."""
    before = pool.statistics().submitted
    assert [[], [], []] == [pool.map(square, []), pool.map(square, [], timeout=0), pool.map(square, [1], [])]
    assert pool.statistics().submitted >= before
    with mp.Pool(1) as fresh:
        assert [] == fresh.map(square, [])
        assert 0 == fresh.statistics().submitted


def test_item_costs_a_task():
    """Without a chunksize a thousand items are far fewer tasks."""
    with mp.Pool(2) as two:
        two.map(square, range(1000))
        assert two.statistics().submitted < 200


def test_chunksize_is_ignored():
    """With a chunksize, so many items run one after the other in the same worker."""
    runs = [[], [], [], []]

    def body(x):
        runs[x // 30].append((x, threading.get_ident()))
        if x % 30 == 0:
            both.wait(LIMIT)  # two blocks at once, each with a worker of its own

    both = threading.Barrier(2)
    with mp.Pool(2) as two:
        two.map(body, range(120), chunksize=30)
    assert [list(range(start, start + 30)) for start in range(0, 120, 30)] == [[x for x, _ in run] for run in runs]
    assert [1] * 4 == [len({ident for _, ident in run}) for run in runs]


# --- failures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 2, 100])
def test_failing_item_is_not_the_first(pool, chunksize):
    """The first failing item in order is raised, with its index, its own error and its own frames."""
    with pytest.raises(mp.TaskError) as caught:
        mp.parallel_map(fail_from_three, range(10), chunksize=chunksize, pool=pool)
    error = caught.value
    assert ("fail_from_three[3]", 3) == (error.task_name, error.metadata["index"])
    assert ("Stop", "item 3") == (error.error_type, error.error_message)
    assert Stop is type(error.__cause__)
    assert error.__cause__.__cause__ is None
    assert ["fail_from_three"] == [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)]
    assert "fail_from_three[3]" in str(error)
    assert "item 3" in str(error)


def test_later_failure_overtakes_the_first():
    """A later item that fails earlier doesn't come before the first failing one in order."""
    with mp.Pool(2) as two:
        failed = threading.Event()

        def body(x):
            if x == 1:
                assert failed.wait(LIMIT)
            if x == 2:
                failed.set()
            if x:
                raise Stop(f"item {x}")
            return x

        with pytest.raises(mp.TaskError, match="item 1"):
            two.map(body, range(3), chunksize=1)


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit, Unprintable, TimeoutError]
)
def test_odd_error_of_an_item_escapes(pool, kind):
    """Whatever an item raises becomes the TaskError of that item."""

    def body(x):
        if x == 1:
            raise kind
        return x

    with pytest.raises(mp.TaskError) as caught:
        pool.map(body, range(3))
    assert ("body[1]", 1, kind.__name__) == (
        caught.value.task_name,
        caught.value.metadata["index"],
        caught.value.error_type,
    )
    assert kind is type(caught.value.__cause__)
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.proves("I1")
def test_rest_runs_on_after_a_failure():
    """After a failure what has not begun never runs, and what runs is told."""
    with mp.Pool(1) as single:
        ran = []

        def body(x):
            ran.append(x)
            if x == 3:
                raise Stop
            return x

        with pytest.raises(mp.TaskError):
            single.map(body, range(100), chunksize=1)
        assert single.shutdown(LIMIT)
        statistics = single.statistics()
    assert [0, 1, 2, 3] == ran
    assert 1 == statistics.failed
    assert statistics.submitted == statistics.succeeded + statistics.failed + statistics.cancelled
    single._check()


def test_running_items_are_not_told():
    """A failure cancels the items that run: they are told by `checkpoint`."""
    with mp.Pool(2) as two:
        running, told = threading.Event(), []

        def body(x):
            if x == 0:
                assert running.wait(LIMIT)
                raise Stop
            running.set()
            try:
                mp.sleep(LIMIT)
            finally:
                told.append(mp.cancel_requested())

        with pytest.raises(mp.TaskError, match=r"\[0\]"):
            two.map(body, range(2), chunksize=1)
    assert [True] == told


def test_error_of_the_input_is_hidden(pool):
    """What an input iterable raises comes through as it is, and nothing has run."""
    ran = []

    def items():
        yield 1
        raise Stop("my own mistake")

    with pytest.raises(Stop, match="my own mistake"):
        pool.map(ran.append, items())
    with pytest.raises(TypeError, match="my own type"):
        pool.map(ran.append, [1, 2, 3], raising(TypeError("my own type")))
    assert [] == ran


def raising(error):
    """A generator that raises."""
    yield 1
    raise error


@pytest.mark.proves("I5")
def test_failed_map_keeps_its_items(pool):
    """An error that is kept doesn't keep the items that had nothing to do with it."""

    class Item:
        """Weakly referable."""

    def body(item):
        if item is None:
            raise Stop
        return 0

    references = []

    def run():
        items = [Item() for _ in range(5)]
        references.extend(map(weakref.ref, items))
        try:
            pool.map(body, [*items, None], chunksize=1)
        except mp.TaskError as raised:
            return raised.with_traceback(None)

    error = run()
    deadline = time.monotonic() + LIMIT
    while any(reference() for reference in references) and time.monotonic() < deadline:
        pool.submit(int).get(LIMIT)
    assert [None] * 5 == [reference() for reference in references]
    assert isinstance(error, mp.TaskError)


# --- the time limit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.02, Seconds()], ids=["zero", "float", "object"])
def test_map_outlasts_its_timeout(seconds):
    """At the timeout of the whole call a builtin TimeoutError comes, and the rest is cancelled and told."""
    with mp.Pool(1) as single:
        go, ran, told = threading.Event(), [], []

        def body(x):
            ran.append(x)
            assert go.wait(LIMIT)
            told.append(mp.cancel_requested())

        with pytest.raises(TimeoutError, match="parallel_map") as caught:
            single.map(body, range(10), chunksize=1, timeout=seconds)
        assert not isinstance(caught.value, mp.TaskError)
        go.set()
        assert single.shutdown(LIMIT)
        assert len(ran) <= single.statistics().cancelled <= 1  # one that ends by itself has found nothing to do
    assert ran in ([], [0])
    assert told in ([], [True])


def test_timeout_restarts_for_each_item():
    """The timeout is for the whole call, though every single item is quicker."""
    with mp.Pool(1) as single, pytest.raises(TimeoutError):
        single.map(lambda _: time.sleep(0.02), range(1000), chunksize=1, timeout=0.1)


def test_full_pool_outlasts_the_timeout():
    """The time limit holds also while the map waits for room in a bounded pool."""
    go, released = threading.Event(), []
    timer = threading.Timer(10, lambda: (released.append(True), go.set()))
    timer.start()
    with mp.Pool(1, max_pending=1) as bounded:
        with pytest.raises(TimeoutError):
            bounded.map(lambda _: go.wait(LIMIT), range(10), chunksize=1, timeout=0.05)
        in_time = not released
        timer.cancel()
        go.set()
    assert in_time


def test_bounded_pool_loses_items():
    """A map in a bounded pool needs room for one task, waits for it, and loses nothing."""
    with mp.Pool(2, max_pending=1) as bounded:
        assert [n * n for n in range(100)] == bounded.map(square, range(100), chunksize=1)
    bounded._check()


def test_full_pool_swallows_the_refusal():
    """If the pool is full, and was told not to wait, the map raises `PoolFullError`, and runs nothing."""
    ran = []
    with mp.Pool(1, max_pending=1, when_full="raise") as bounded:
        go, began = threading.Event(), threading.Event()
        bounded.submit(lambda: (began.set(), go.wait(LIMIT)))
        assert began.wait(LIMIT)
        bounded.submit(int)
        with pytest.raises(mp.PoolFullError):
            bounded.map(ran.append, range(10))
        go.set()
    bounded._check()
    assert 2 == bounded.statistics().succeeded
    assert [] == ran


def test_map_after_shutdown_hangs():
    """After the shutdown a map raises `PoolShutdownError`."""
    stopped = mp.Pool(1)
    assert stopped.shutdown(LIMIT)
    with pytest.raises(mp.PoolShutdownError):
        stopped.map(square, [1])


# --- a decorated function's own options -----------------------------------------------------------------


def test_own_timeout_holds_for_the_chunk():
    """A decorated function's timeout holds for each item: many quick items may take longer than it."""
    with mp.Pool(1) as single:
        quick = single.parallel(timeout=1)(lambda x: time.sleep(0.002) or x)
        assert list(range(10)) == quick.map(range(10))
        assert 10 == single.statistics().submitted
        assert list(range(10)) == quick.map(range(10), chunksize=5)
        assert 20 == single.statistics().submitted


def test_own_timeout_is_ignored():
    """The item that runs too long is raised as TaskTimeoutError with its index; those after it are cancelled."""
    with mp.Pool(1) as single:
        go = threading.Event()

        def body(x):
            if x == 2:
                assert go.wait(LIMIT)
            return x

        with pytest.raises(mp.TaskTimeoutError) as caught:
            single.parallel(timeout=0.05, name="job")(body).map(range(5))
        go.set()
    assert ("job[2]", 2) == (caught.value.task_name, caught.value.metadata["index"])


def test_own_name_is_ignored(pool):
    """The error carries the decorated function's name."""
    with pytest.raises(mp.TaskError) as caught:
        mp.parallel(name="job")(fail_from_three).map(range(10))
    assert "job[3]" == caught.value.task_name


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, None, "text"], ids=repr)
def test_function_that_cannot_be_called_is_mapped(pool, value):
    """What can't be called is named, also when there is nothing to do."""
    for items in ([], [1]):
        with pytest.raises(TypeError, match=re.escape(repr(value))):
            mp.parallel_map(value, items)
        with pytest.raises(TypeError, match=re.escape(repr(value))):
            pool.map(value, items)


async def coroutine_function(x): ...


def generator_function(x):
    yield x


@pytest.mark.parametrize(("fn", "remedy"), [(coroutine_function, "async"), (generator_function, "generator")])
def test_function_whose_call_runs_nothing_is_mapped(fn, remedy):
    """Coroutine and generator functions are refused."""
    with pytest.raises(TypeError, match=remedy):
        mp.parallel_map(fn, [1])


def test_missing_iterable_means_nothing_to_do():
    """A map without an iterable is an error."""
    with pytest.raises(TypeError, match="iterable"):
        mp.parallel_map(square)


@pytest.mark.parametrize("value", [3, None, square, list], ids=["3", "None", "function", "class"])
def test_iterable_that_is_none_is_found_in_the_worker(value):
    """What can't be iterated is named with its position."""
    with pytest.raises(TypeError, match=re.escape(repr(value))):
        mp.parallel_map(square, value)
    with pytest.raises(TypeError, match=f"2.*{re.escape(repr(value))}"):
        mp.parallel_map(square, [1], value)


BAD = [
    *[("chunksize", value, TypeError) for value in ("5", 1.5, True, [])],
    *[("chunksize", value, ValueError) for value in (0, -1)],
    *[("timeout", value, TypeError) for value in ("5", True, [])],
    *[("timeout", value, ValueError) for value in (-1, math.nan)],
    *[("progress", value, TypeError) for value in (0, None, "yes")],
    *[("pool", value, TypeError) for value in (3, "pool", mp.Pool)],
]


@pytest.mark.parametrize(("name", "value", "kind"), BAD, ids=lambda value: getattr(value, "__name__", repr(value)))
def test_bad_argument_is_found_too_late(name, value, kind):
    """A wrong argument is named with its value, before any item is read."""

    def items():
        pytest.fail("an item was read")
        yield 1

    with pytest.raises(kind, match=re.escape(f"{name}={value!r}")):
        mp.parallel_map(square, items(), **{name: value})


@pytest.mark.parametrize("value", [None, math.inf, 1e300, 10**12])
def test_endless_timeout_overflows(pool, value):
    """Infinity and every large number of seconds can be waited for."""
    assert [0, 1, 4] == pool.map(lambda x: time.sleep(0.001) or x * x, range(3), timeout=value)


# --- found in review ------------------------------------------------------------------------------------


def test_maps_in_a_task_pile_up():
    """Maps in a long task of a busy pool leave nothing behind in its deque."""
    with mp.Pool(2) as two:
        go = threading.Event()
        two.submit(go.wait, LIMIT)

        def outer():
            for _ in range(50):
                assert [1, 2, 3] == two.map(abs, [-1, -2, -3])
            return two.get_active_task_count()

        assert two.submit(outer).get(LIMIT) <= 3
        go.set()


def test_shutdown_fails_a_map_that_runs():
    """What a shutdown drops of a map may only be tasks that would find nothing to do: then it comes to its end."""
    with mp.Pool(2) as two:
        go, begun = threading.Event(), threading.Event()
        two.submit(go.wait, LIMIT)
        assert eventually(lambda: two.statistics().running == 1)
        results = []

        def body(x):
            if x == 1:
                begun.set()
                assert eventually(lambda: two.statistics().cancelled)  # the task that was to help
            return x

        mapper = threading.Thread(target=lambda: results.append(two.map(body, [0, 1], chunksize=1)))
        mapper.start()
        assert begun.wait(LIMIT)
        closer = threading.Thread(target=two.shutdown, args=[LIMIT, True])
        closer.start()
        mapper.join(LIMIT)
        go.set()
        closer.join(LIMIT)
    assert [[0, 1]] == results
