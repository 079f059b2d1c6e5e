"""Waiting inside tasks: any depth, one worker, cycles, locks."""

import sys
import threading

import pytest

import makeparallel as mp


@pytest.fixture(params=[1, 2])
def small(request: pytest.FixtureRequest) -> "object":
    """A pool of one or two workers, checked at the end."""
    pool = mp.Pool(request.param)
    yield pool
    assert pool.shutdown(timeout_secs=30)
    pool._check()


@pytest.mark.proves("P4")
def test_fib_that_spawns_at_every_level_does_not_deadlock(small: mp.Pool) -> None:
    """Waits nested to any depth end with as little as one worker."""

    @small.parallel
    def fib(n: int) -> int:
        if n < 2:
            return n
        left, right = fib(n - 1), fib(n - 2)
        return left.get() + right.get()

    assert 610 == fib(15).get(60)


@pytest.mark.proves("P4")
def test_recursive_quicksort_does_not_deadlock(small: mp.Pool) -> None:
    """A real divide-and-conquer function sorts."""

    @small.parallel
    def quicksort(items: list[int]) -> list[int]:
        if len(items) < 2:
            return items
        pivot, rest = items[0], items[1:]
        low = quicksort([item for item in rest if item < pivot])
        high = quicksort([item for item in rest if item >= pivot])
        return [*low.get(), pivot, *high.get()]

    items = [(n * 7919) % 1009 for n in range(400)]
    assert sorted(items) == quicksort(items).get(60)


@pytest.mark.slow
@pytest.mark.proves("P4")
def test_chain_of_a_thousand_waits_needs_few_threads(small: mp.Pool) -> None:
    """Each task waits for the next: no RecursionError, and far fewer threads than tasks.

    One worker needs 25. With two, each task that the other one steals before it is run inline costs a
    thread: 30 to 120 were seen.
    """

    @small.parallel
    def chain(n: int) -> int:
        return 0 if n == 0 else 1 + chain(n - 1).get()

    assert 1000 == chain(1000).get(60)
    assert len(small.statistics().per_worker) < 300


@pytest.mark.proves("P4")
def test_deep_recursion_in_an_inlined_body_still_works(small: mp.Pool) -> None:
    """A body that recurses deep on its own still can when it runs inline."""

    def dive(depth: int) -> int:
        return 0 if depth == 0 else 1 + dive(depth - 1)

    deep = sys.getrecursionlimit() // 2

    @small.parallel
    def child() -> int:
        return dive(deep)

    @small.parallel
    def parent() -> int:
        return child().get()

    assert deep == parent().get(30)


@pytest.mark.proves("P4")
def test_only_the_awaited_task_runs_inline() -> None:
    """A wait under a lock must not enter another task that takes the same lock."""
    lock = threading.RLock()
    inside: list[str] = []
    overlaps: list[str] = []

    def critical(name: str) -> None:
        with lock:
            if inside:
                overlaps.append(name)
            inside.append(name)
            inside.pop()

    with mp.Pool(1) as pool:

        def outer() -> None:
            with lock:
                inside.append("outer")
                others = [pool.submit(critical, f"other {n}") for n in range(3)]
                pool.submit(abs, -1).get(30)  # a wait with a timeout blocks; a spare takes the others
                pool.submit(abs, -1).get()  # a wait without one runs this task inline, and no other
                inside.pop()
            mp.gather(others)

        pool.submit(outer).get(30)
    assert [] == overlaps


@pytest.mark.proves("P4")
def test_task_that_awaits_itself_is_told(small: mp.Pool) -> None:
    """A wait for oneself raises, with the task's name, instead of hanging."""
    box: list[mp.AsyncHandle[None]] = []
    ready = threading.Event()

    @small.parallel(name="narcissus")
    def wait_for_myself() -> None:
        ready.wait(30)
        box[0].get()

    box.append(wait_for_myself())
    ready.set()
    error = box[0].exception(30)
    assert error is not None
    assert "RuntimeError" == error.error_type
    assert "narcissus" in error.error_message
    assert "deadlock" in error.error_message


@pytest.mark.proves("P4")
@pytest.mark.parametrize("length", [2, 3, 5])
def test_tasks_that_await_each_other_in_a_ring_are_told(length: int) -> None:
    """At least one task of a ring gets an error; then all end."""
    handles: list[mp.AsyncHandle[str]] = []
    barrier = threading.Barrier(length)
    ready = threading.Event()

    def wait_for_next(index: int) -> str:
        ready.wait(30)
        barrier.wait(30)
        return handles[(index + 1) % length].get()

    with mp.Pool(length) as pool:
        handles += [
            pool.parallel(
                wait_for_next,
            )(n)
            for n in range(length)
        ]
        ready.set()
        errors = [handle.exception(30) for handle in handles]
    assert all(error is not None for error in errors)
    assert any("deadlock" in str(error) for error in errors)


@pytest.mark.proves("P4")
def test_two_tasks_that_await_each_others_children_finish(small: mp.Pool) -> None:
    """Mutual waits that are no cycle end."""
    shared: dict[str, mp.AsyncHandle[int]] = {}
    ready = {"a": threading.Event(), "b": threading.Event()}

    def work(mine: str, other: str) -> int:
        shared[mine] = small.submit(abs, -3)
        ready[mine].set()
        with mp.blocking():
            assert ready[other].wait(30)
        return shared[other].get()

    one, two = small.submit(work, "a", "b"), small.submit(work, "b", "a")
    assert [3, 3] == mp.gather([one, two], timeout=30)


@pytest.mark.proves("P4")
def test_blocking_lends_the_only_worker() -> None:
    """What a blocked task waits for runs on a spare, in a pool of one."""
    event = threading.Event()
    with mp.Pool(1) as pool:

        def wait_outside() -> bool:
            pool.submit(event.set)
            with mp.blocking():
                return event.wait(30)

        assert pool.submit(wait_outside).get(30)
        assert 1 == pool.statistics().workers
    pool._check()


def test_waiting_for_many_inside_a_task_needs_no_second_worker() -> None:
    """gather, as_completed, wait and parallel_map end inside a task of a pool of one."""
    with mp.Pool(1) as pool:

        def body() -> list[object]:
            def squares() -> list[mp.AsyncHandle[int]]:
                return [pool.submit(pow, n, 2) for n in range(5)]

            return [
                mp.gather(squares()),
                sorted(handle.get() for handle in mp.as_completed(squares())),
                len(mp.wait(squares())[0]),
                pool.map(abs, [-1, -2]),
            ]

        assert [[0, 1, 4, 9, 16], [0, 1, 4, 9, 16], 5, [1, 2]] == pool.submit(body).get(30)


@pytest.mark.proves("P3")
def test_a_deque_that_feeds_itself_does_not_starve_the_injector() -> None:
    """A task that keeps resubmitting itself lets tasks from outside through."""
    stop = threading.Event()
    with mp.Pool(1) as pool:

        def feed() -> None:
            if not stop.is_set():
                pool.submit(feed)

        pool.submit(feed)
        outside = pool.submit(stop.set)
        assert outside.wait(30)


@pytest.mark.proves("P4")
def test_wait_for_a_task_of_another_pool_borrows_none_of_its_workers() -> None:
    """A task of one pool never runs on a thread of another."""
    with mp.Pool(1, name="one") as one, mp.Pool(1, name="two") as two:

        def where() -> str:
            return threading.current_thread().name

        def ask() -> tuple[str, str]:
            return where(), two.submit(where).get()

        assert ("one-0", "two-0") == one.submit(ask).get(30)


@pytest.mark.proves("I5")
def test_results_taken_inline_are_not_kept_by_the_queue() -> None:
    """A body that gets its children oldest first leaves no results behind in its worker's deque."""
    import gc
    import weakref

    class Result:
        pass

    with mp.Pool(1) as pool:

        def body() -> int:
            handles = [pool.submit(Result) for _ in range(2000)]
            refs = []
            handles.reverse()
            while handles:
                refs.append(weakref.ref(handles.pop().get()))
            gc.collect()
            return sum(ref() is not None for ref in refs)

        assert pool.submit(body).get(60) < 200
