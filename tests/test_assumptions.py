"""What the library takes for granted of CPython: the facts that `_sync` names (C1 to C9), and others."""

import dis
import gc
import importlib._bootstrap as bootstrap
import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from types import CodeType
from typing import Any

import pytest
from helpers_breaks import BREAK_AFTER, BREAK_AT
from helpers_waiting import LIMIT

from makeparallel import _imports, _tracers
from makeparallel._errors import TaskInterrupt
from makeparallel._sync import can_interrupt, clear_interrupt, fence, move, prefer_prompt_wakeups, send_interrupt

SOURCE = os.path.join(os.path.dirname(os.__file__), "importlib", "_bootstrap.py")


def statements(code: CodeType) -> list[str]:
    """The source lines that a function's instructions stand in, in order; the first is the `def`."""
    with open(SOURCE, encoding="utf-8") as file:
        source = file.read().splitlines()
    return [source[line - 1].strip() for line in sorted({line for _, _, line in code.co_lines() if line is not None})]


def test_import_system_takes_its_locks_in_other_places() -> None:
    """`_imports` recognizes places by their order in the source of `importlib._bootstrap`."""
    get_lock = bootstrap._get_module_lock.__code__  # type: ignore[attr-defined]
    (callback,) = (const for const in get_lock.co_consts if isinstance(const, CodeType))
    for code in (get_lock, callback, bootstrap._ImportLockContext.__enter__.__code__):  # type: ignore[attr-defined]
        assert code.co_filename == _imports.BOOTSTRAP
        assert "acquire_lock" in code.co_names
        assert "_imp.acquire_lock()" == statements(code)[1]
    acquire = statements(bootstrap._ModuleLock.acquire.__code__)  # type: ignore[attr-defined]
    assert "if self.wakeup.acquire(False):" == acquire[-4]
    assert ["self.wakeup.acquire()", "self.wakeup.release()"] == acquire[-2:]
    release = statements(bootstrap._ModuleLock.release.__code__)  # type: ignore[attr-defined]
    assert ["if len(self.waiters) > 0:", "self.waiters.pop()", "self.wakeup.release()"] == release[-3:]


def test_import_system_has_other_locks() -> None:
    """The fields that the repair touches exist, and the frame of an import is recognized."""
    lock = bootstrap._ModuleLock("name")  # type: ignore[attr-defined]
    assert lock.acquire()
    assert (threading.get_ident(), 1, []) == (lock.owner, len(lock.count), lock.waiters)
    assert lock.wakeup.locked() is False
    _imports._release(lock)
    assert (None, []) == (lock.owner, list(lock.count))
    assert "name" in bootstrap._find_and_load.__code__.co_varnames  # type: ignore[attr-defined]


@pytest.mark.unmeasured
@pytest.mark.thread_unsafe(reason="sends exceptions to threads that it starts")
def test_interrupt_is_made_elsewhere_than_where_it_arrives() -> None:
    """CPython makes the instance in the interrupted thread, and its constructor sees the interrupted frame."""
    seen: list[tuple[int, str]] = []

    class Sent(BaseException):
        def __init__(self) -> None:
            import sys

            seen.append((threading.get_ident(), sys._getframe(1).f_code.co_name))

    def body() -> None:
        started.set()
        try:
            while True:
                pass
        except Sent:
            pass

    assert can_interrupt()
    started = threading.Event()
    thread = threading.Thread(target=body)
    thread.start()
    assert started.wait(20)
    assert thread.ident is not None
    send_interrupt(thread.ident, Sent)
    ident = thread.ident
    thread.join(20)
    assert seen in ([(ident, "body")], [(ident, "set")], [(ident, "__exit__")], [(ident, "notify_all")])


@pytest.mark.unmeasured
@pytest.mark.thread_unsafe(reason="sends exceptions to its own thread")
def test_interrupt_that_was_taken_back_arrives() -> None:
    """NULL takes back what is pending (C8); sent by the thread to itself, it arrives at the end of the call."""
    assert can_interrupt()
    me = threading.get_ident()
    with pytest.raises(TaskInterrupt):
        send_interrupt(me, TaskInterrupt)
    clear_interrupt(me)
    time.sleep(0)


@pytest.mark.thread_unsafe(reason="asks about threads of the process")
def test_prompt_wakeups_are_wished_for_more_than_one_thread() -> None:
    """The wish holds for the thread that has it, is granted or not, and changes no priority."""
    answers: list[object] = []

    def ask() -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        answers.append(prefer_prompt_wakeups())
        answers.append(before == os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers in ([True, True], [False, True])


def test_coverage_takes_its_lock_in_other_places() -> None:
    """`_tracers` recognizes places by the lines of two functions: a `def`, a test, and a call in the last line."""
    collector = pytest.importorskip("coverage.collector")
    assert collector.__file__.endswith(_tracers._COLLECTOR)
    lock, unlock = collector.Collector.lock_data, collector.Collector.unlock_data
    for function, called in ((lock, "self.data_lock.acquire()"), (unlock, "self.data_lock.release()")):
        head, *rest = [line.strip() for line in inspect.getsource(function).splitlines()]
        assert head.startswith(f"def {function.__name__}(self)")
        assert ["if self.data_lock is not None:", called] == rest[-2:]


# --- the facts that `_sync` names -----------------------------------------------------------------------

SECONDS = 0.15  # how long threads meet at one object
MANY = 20_000  # operations of one thread, where their number must be known


def at_once(*functions: "Callable[[], object]") -> None:
    """Call all functions at the same moment, each in a thread of its own; raise what one of them raised."""
    barrier = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def run(function: "Callable[[], object]") -> None:
        try:
            barrier.wait(LIMIT)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def until_stopped(stop: "list[None]", function: "Callable[[], object]") -> "Callable[[], None]":
    """Call `function` again and again until `stop` has an entry."""

    def loop() -> None:
        while not stop:
            function()

    return loop


def in_step(rounds: int, function: "Callable[[int, int], object]") -> None:
    """Call `function(thread, round)` in two threads, round by round at the same moment."""
    turn = [0, 0]

    def run(me: int) -> None:
        for n in range(rounds):
            turn[me] = n
            looks = 0
            while turn[1 - me] < n:
                looks += 1
                if looks % 1000 == 0:
                    time.sleep(0)  # the other one may need this CPU
            function(me, n)
        turn[me] = rounds

    at_once(lambda: run(0), lambda: run(1))


@pytest.mark.slow
def test_list_loses_an_append_or_shows_another_past() -> None:
    """C1: appends from several threads are all there, in each one's order; every slice is the beginning of the next."""
    history: list[tuple[int, int] | None] = []
    stop: list[None] = []
    before: list[tuple[int, int]] = []

    def write(writer: int) -> None:
        for n in range(MANY):
            history.append((writer, n))
        stop.append(None)

    def come_and_go() -> None:
        history.insert(len(history) // 2, None)
        history.remove(None)

    def read() -> None:
        now = [entry for entry in history[:] if entry is not None]
        assert before == now[: len(before)], "a slice forgot what was there, or has it in another order"
        before[:] = now

    def until_written(function: "Callable[[], object]") -> "Callable[[], None]":
        def loop() -> None:
            while len(stop) < 2:
                function()

        return loop

    at_once(lambda: write(0), lambda: write(1), until_written(come_and_go), until_written(read))
    assert 2 * MANY == len(history)
    for writer in (0, 1):
        assert list(range(MANY)) == [entry[1] for entry in history if entry is not None and entry[0] == writer]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, deque])
def test_queue_loses_or_doubles_an_entry(kind: "type[Any]") -> None:
    """C1: what threads take from both ends, remove and put back is taken once; nothing is lost."""
    queue = kind()
    taken: list[list[int]] = [[], [], []]

    def put() -> None:
        for n in range(MANY):
            queue.append(n)
            if kind is deque:
                queue.rotate(1)
                queue.appendleft(-1 - n)
            else:
                queue.append(-1 - n)

    def take(mine: "list[int]", pop: "Callable[[], int]") -> None:
        while sum(map(len, taken)) < 2 * MANY:
            try:
                mine.append(pop())
            except IndexError:
                pass

    def remove() -> int:
        entry = queue[0]
        try:
            queue.remove(entry)
        except ValueError:
            raise IndexError from None  # somebody was faster
        return entry

    first = queue.popleft if kind is deque else lambda: queue.pop(0)
    at_once(
        put, lambda: take(taken[0], queue.pop), lambda: take(taken[1], first), lambda: take(taken[2], remove)
    )  # fmt: skip
    assert list(range(-MANY, MANY)) == sorted(entry for mine in taken for entry in mine)


def test_looks_at_a_changing_container_fail() -> None:
    """C1: `in` on a deque, and copies of a dict, are one operation each; `setdefault` has one winner."""
    stop: list[None] = []
    queue = deque(range(50))
    table: dict[int, int] = {n: n for n in range(50)}
    keys = count(1000)

    def change() -> None:
        queue.append(queue.popleft())
        key = next(keys)
        table[key] = key
        table.pop(key - 20, None)

    def look() -> None:
        assert None not in queue
        for copied in (table.copy(), list(table), [*table.values()]):
            assert 50 <= len(copied) <= 72

    at_once(
        until_stopped(stop, change),
        until_stopped(stop, look),
        lambda: (time.sleep(SECONDS), stop.append(None)),
    )

    contest: dict[int, object] = {}
    winners: list[list[object]] = [[], []]
    in_step(1000, lambda me, n: winners[me].append(contest.setdefault(n, object())))
    assert all(one is other for one, other in zip(*winners, strict=True))


class Box:
    """Something with attributes."""

    __slots__ = ("n", "other")

    def __init__(self) -> None:
        self.n = self.other = 0


@pytest.mark.slow
def test_later_operation_does_not_see_what_came_before_the_earlier_one() -> None:
    """C1: what a thread wrote before an append is there for whoever sees that entry; so also with a queue's `pop`."""
    box = Box()
    ledger: list[int] = []
    queue: deque[int] = deque()
    stop: list[None] = []

    def write() -> None:
        for n in range(1, 3 * MANY):
            box.n = n
            ledger.append(n)
            box.other = n
            queue.append(n)
            del ledger[:-2]
        stop.append(None)

    def read() -> None:
        while not stop:
            entries = ledger[:]
            if entries:
                assert box.n >= entries[-1]
            try:
                entry = queue.popleft()
            except IndexError:
                continue
            assert box.other >= entry

    at_once(write, read, read)


@pytest.mark.slow
def test_two_that_announce_and_look_miss_each_other() -> None:
    """C2: of two threads that append to their own deque, then fence the other's, at least one sees the other."""
    empty: deque[int] = deque()
    assert fence(empty) is False
    order = deque([1, 2, 3])
    assert fence(order) is True
    assert [1, 2, 3] == list(order)
    queues = [[deque(), deque()] for _ in range(1000)]
    saw: list[list[bool]] = [[], []]

    def announce(me: int, n: int) -> None:
        queues[n][me].append(1)
        saw[me].append(fence(queues[n][1 - me]))

    in_step(1000, announce)
    assert all(map(max, *saw))


def test_read_shows_half_of_a_write() -> None:
    """C3: a plain read of an attribute, and of a length, shows a value that somebody wrote."""
    box = Box()
    values = [10**30 + n for n in range(5)]
    box.n = values[0]
    queue = deque([0])
    stop: list[None] = []

    def write() -> None:
        for value in values:
            box.n = value * 1
        queue.append(1)
        queue.popleft()

    def read() -> None:
        assert box.n in values
        assert len(queue) in (1, 2)

    at_once(until_stopped(stop, write), until_stopped(stop, read), lambda: (time.sleep(SECONDS), stop.append(None)))


def increment(box: Box) -> None:
    """Count, as the library counts what one thread writes."""
    box.n += 1


def test_count_can_be_broken_in_two() -> None:
    """C4: between the load and the store of `x.n += 1`, and of a list's item, stands no place for a break."""

    def at_index(counts: "list[int]", place: int) -> None:
        counts[place] += 1

    for function in (increment, at_index):
        names = [instruction.opname for instruction in dis.get_instructions(function)]
        store = next(place for place, name in enumerate(names) if name in ("STORE_ATTR", "STORE_SUBSCR"))
        load = next(place for place, name in enumerate(names) if name in ("LOAD_ATTR", "BINARY_SUBSCR", "BINARY_OP"))
        assert load < store
        assert [] == [name for name in names[load:store] if name in (*BREAK_AFTER, *BREAK_AT)], names


@pytest.mark.thread_unsafe(reason="sets the thresholds of the collector")
def test_finalizer_gets_between_a_count_and_its_store() -> None:
    """C4: a thread's own finalizers count on the same attribute, and no count is lost."""
    box = Box()
    freed: list[None] = []
    keep: list[list[object]] = []

    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            box.n += 1
            freed.append(None)

    mine = 0
    before = gc.get_threshold()
    gc.set_threshold(1, 0)
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or len(freed) < 10:
            Garbage()
            keep.append([])
            box.n += 1
            mine += 1
            gc.collect() if mine % 200 == 0 else None
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert mine + len(freed) == box.n


class Sent(BaseException):
    """Is sent to a thread."""


class SentFirst(BaseException):
    """Is sent before the other one."""


def under_fire(body: "Callable[[], None]", check: "Callable[[], None]", seconds: float = 2 * SECONDS) -> int:
    """Run `body` again and again in a thread that gets exceptions all the time; `check` after each, undisturbed."""
    lock = threading.Lock()  # held by the sender while it sends, and by the thread while it must be left alone
    stop: list[None] = []
    hits: list[None] = []
    ident: list[int] = []
    problems: list[BaseException] = []

    def shoot() -> None:
        """One round: open to fire until hit."""
        try:
            try:
                ident.append(threading.get_ident())
                while not stop:
                    body()
            finally:
                ident.clear()
        except Sent:
            hits.append(None)

    def run() -> None:
        while not stop:
            try:
                try:
                    shoot()
                except Sent:  # a second one, in the `finally` of the first
                    pass
                ident.clear()
                with lock:  # so the sender is through
                    clear_interrupt(threading.get_ident())
                check()
            except Sent:
                pass
            except BaseException as error:
                problems.append(error)
                stop.append(None)

    assert can_interrupt()
    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + seconds
    limit = time.monotonic() + LIMIT
    while (time.monotonic() < until or len(hits) < 20) and time.monotonic() < limit and not stop:
        with lock:
            for target in ident[:1]:
                send_interrupt(target, Sent)
        time.sleep(0.00005)
    stop.append(None)
    thread.join(LIMIT)
    assert not thread.is_alive()
    if problems:
        raise problems[0]
    return len(hits)


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.thread_unsafe(reason="sends exceptions to threads that it starts")
@pytest.mark.parametrize("kind", [list, deque])
def test_move_drops_what_it_has_in_hand(kind: "type[Any]") -> None:
    """C5: an exception may come at any place, and an entry is still in one of the two queues."""
    entries = [object() for _ in range(8)]
    one, other = kind(entries), kind()

    def shift() -> None:
        while one:
            move(one, other)
        while other:
            move(other, one)

    def check() -> None:
        assert set(entries) == {*one, *other}, "an entry was lost"
        assert len(entries) == len(one) + len(other)

    assert 20 <= under_fire(shift, check)


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.thread_unsafe(reason="sends exceptions to threads that it starts")
def test_lock_is_taken_and_not_given_back() -> None:
    """C8: no exception falls between taking a lock in a `with` and being in its block."""
    lock = threading.Lock()

    def take() -> None:
        with lock:
            pass

    def check() -> None:
        assert not lock.locked()

    assert 20 <= under_fire(take, check)


@pytest.mark.unmeasured
@pytest.mark.thread_unsafe(reason="sends exceptions to threads that it starts")
def test_exception_that_was_replaced_arrives() -> None:
    """C8: the last one sent replaces what is pending, and arrives at the start of the next function."""
    assert can_interrupt()
    lock = threading.Lock()
    seen: list[object] = []
    waiting: list[int] = []

    def next_function() -> None:
        seen.append("the next function ran")

    def target() -> None:
        try:
            waiting.append(threading.get_ident())
            with lock:
                next_function()
        except BaseException as error:
            seen.append(type(error))

    rounds = 0
    # A thread that has not come to the lock yet may get the first one before the second is sent.
    while seen.count(Sent) < 20 and rounds < 2000:
        rounds += 1
        with lock:
            thread = threading.Thread(target=target)
            thread.start()
            while not waiting:
                time.sleep(0)
            ident = waiting.pop()
            time.sleep(0.0005)
            send_interrupt(ident, SentFirst)
            send_interrupt(ident, Sent)
        thread.join(LIMIT)
    assert "the next function ran" not in seen
    assert rounds == len(seen)
    assert {SentFirst, Sent} >= set(seen)
    assert 20 == seen.count(Sent)


def test_remove_compares_before_it_looks() -> None:
    """C9: an entry that stands where it is looked for is found by identity, whatever its `==` does."""

    class Proud:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("was compared")

        __hash__ = None  # type: ignore[assignment]

    proud = Proud()
    for queue in ([proud, Proud()], deque([proud, Proud()])):
        queue.remove(proud)  # type: ignore[attr-defined]
        assert 1 == len(queue)
        assert queue[0] is not proud
