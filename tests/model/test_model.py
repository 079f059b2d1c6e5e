"""The engine itself against programs whose outcomes are known, and the first schedules of each scenario.

`python -m model` explores all schedules; it is a step of CI of its own.
"""

import pytest

from model.explore import Violation, schedules
from model.load import load
from model.model_sync import Bell, Lock, ModelList, engine, read_attribute, write_attribute
from model.runner import explore, tell, variants
from model.scenarios import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.thread_unsafe(reason="the engine runs one thread of the process at a time")]


class Cell:
    """Something with plain attributes."""

    __slots__ = ("x", "y")

    def __init__(self):
        self.x = self.y = 0


def outcomes(program, *, stale=False, **options):
    """All results that a program has, and how many schedules that took. `program(results)` gives its threads."""
    found = set()
    engine.stale, engine.interrupts = stale, False

    def scenario(engine):
        results = []
        for name, function in program(results).items():
            engine.thread(name, function)
        return lambda: found.add(tuple(sorted(results)))

    for report in schedules(engine, "program", scenario, **options):
        count = report.schedules
    assert report.is_complete
    return found, count


def lost_update(results):
    cell = Cell()

    def add(last):
        write_attribute(cell, "x", read_attribute(cell, "x") + 1)
        if last:
            results.append(("x", cell.x))

    return {"one": lambda: add(False), "two": lambda: add(True)}


def locked_update(results):
    cell, lock = Cell(), Lock()

    def add(name):
        with lock:
            write_attribute(cell, "x", read_attribute(cell, "x") + 1)
            results.append((name, cell.x))

    return {"one": lambda: add("one"), "two": lambda: add("two")}


def store_buffering(results):
    """Each writes one cell, then reads the other."""
    cell = Cell()

    def run(mine, other):
        write_attribute(cell, mine, 1)
        results.append((mine, read_attribute(cell, other)))

    return {"one": lambda: run("x", "y"), "two": lambda: run("y", "x")}


def message_passing(results):
    """Data and a flag, both plain."""
    cell = Cell()

    def send():
        write_attribute(cell, "x", 1)
        write_attribute(cell, "y", 1)

    def receive():
        flag = read_attribute(cell, "y")
        results.append((flag, read_attribute(cell, "x")))

    return {"sender": send, "receiver": receive}


def locked_message_passing(results):
    """Data, and a list as the flag, looked at under its lock."""
    cell, flag = Cell(), ModelList()

    def send():
        write_attribute(cell, "x", 1)
        flag.append(None)

    def receive():
        seen = len(flag[:])
        results.append((seen, read_attribute(cell, "x")))

    return {"sender": send, "receiver": receive}


def rings(results):
    """Two rings are one; a wait takes it."""
    bell, cell = Bell(), Cell()

    def wait():
        bell.wait()
        write_attribute(cell, "x", read_attribute(cell, "x") + 1)
        results.append(("woken", cell.x, bell.wait(0.0)))

    return {"first": bell.ring, "second": bell.ring, "waiter": wait}


def three_writers(results):
    order = ModelList()

    def run(number):
        order.append(number)
        if order.real_length() == 3:
            results.append(tuple(list.__iter__(order)))

    return {f"thread-{number}": lambda number=number: run(number) for number in range(3)}


PROGRAMS = [lost_update, locked_update, store_buffering, message_passing, locked_message_passing, rings, three_writers]


@pytest.mark.parametrize("program", PROGRAMS)
def test_reduction_leaves_an_outcome_out(program):
    """With the reduction a program has the same outcomes as without, in fewer schedules."""
    all_of_them, many = outcomes(program, reduce=False)
    reduced, few = outcomes(program)
    assert all_of_them == reduced
    assert few < many
    assert few >= len(reduced)


def test_engine_misses_known_outcomes():
    """Races have the outcomes that they have; weak memory has more."""
    assert {(("x", 1),), (("x", 2),)} == outcomes(lost_update)[0]
    both_old = (("x", 0), ("y", 0))
    assert both_old not in outcomes(store_buffering)[0]
    assert both_old in outcomes(store_buffering, stale=True)[0]
    assert ((1, 0),) not in outcomes(message_passing)[0]
    assert ((1, 0),) in outcomes(message_passing, stale=True)[0]
    assert {((0, 0),), ((0, 1),), ((1, 1),)} == outcomes(locked_message_passing)[0]
    assert ((1, 0),) not in outcomes(locked_message_passing, stale=True)[0]


def test_bound_is_exceeded():
    """Without a preemption no update is lost; with one it is."""
    assert {(("x", 1),), (("x", 2),)} == outcomes(lost_update, bound=1)[0]
    assert (("x", 1),) in outcomes(lost_update, bound=0)[0]  # the other one has not begun
    counts = [outcomes(store_buffering, bound=bound)[1] for bound in (0, 1, 2)]
    assert counts[0] < counts[1] <= counts[2]


def test_deadlock_is_missed():
    """Two locks taken in two orders: the schedule that hangs is found, and told."""

    def scenario(engine):
        one, two = Lock(), Lock()

        def take(first, second):
            with first:
                with second:
                    pass

        engine.thread("one", lambda: take(one, two))
        engine.thread("two", lambda: take(two, one))
        return lambda: None

    engine.stale = engine.interrupts = False
    with pytest.raises(Violation, match="nobody can go on, and one, two did not end"):
        for _ in schedules(engine, "locks", scenario):
            pass


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_fails(name):
    """Its first schedules hold; all of them are another step of CI."""
    core = load()
    for stale in variants(name):
        assert explore(name, core, stale=stale, limit=20).schedules > 1


def test_failing_schedule_is_not_told():
    """A failure shows the numbered steps, and can be replayed by its number."""
    core = load("broken", (("_core.scheduler", "            push(task)\n", ""),))
    with pytest.raises(AssertionError) as caught:
        explore("one_submits_one_parks", core)
    text = str(caught.value)
    assert "schedule 1 of one_submits_one_parks: Violation: task-0 is not finished" in text
    assert "   0  worker-0" in text
    assert "scheduler.py:" in text
    assert text.splitlines()[-1] == "Again, in tests/: python -m model one_submits_one_parks --replay 1"
    assert tell("one_submits_one_parks", core, 1) == text
    assert "every promise held" in tell("one_submits_one_parks", load(), 3)


def test_edit_that_is_not_there_is_made():
    """A mutant whose text has changed is an error, not the unchanged core."""
    with pytest.raises(ValueError, match="holds 0 times: no such text"):
        load("edited", (("_core.task", "no such text", ""),))
