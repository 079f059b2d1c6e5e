"""Random programs against a sequential model: whatever is done to a pool and its handles, in any order.

The model knows what each task may become, from what was done so far: one outcome, or a few where time decides. It
decides by itself which waits would last for ever, so that what the machine does next never depends on time.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from helpers_waiting import LIMIT, eventually
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

import makeparallel as mp
from makeparallel._config import HARD_GRACE_SECS
from makeparallel._default import default_pool

pytestmark = [pytest.mark.slow, pytest.mark.thread_unsafe(reason="uses the default pool for itself")]

OK, FAILED, CANCELLED, TIMED_OUT = "ok", "failed", "cancelled", "timed out"
STATES = {mp.TaskTimeoutError: TIMED_OUT, mp.TaskCancelledError: CANCELLED, mp.TaskError: FAILED, type(None): OK}
FEW = st.integers(1, 4)


class Entry:
    """A task as the model sees it."""

    def __init__(self, fate: str, value: object = None) -> None:
        #: None if it was not accepted.
        self.handle: Any = None
        #: How it ends, if nobody ends it from outside; None if that depends on `target`.
        self.fate: str | None = fate
        self.value = value
        self.target: Entry | None = None
        #: It waits for this one to be opened.
        self.has_gate = False
        self.opened: list[None] = []
        self.was_cancelled = False
        #: A shutdown may have cancelled it, or what it waits for.
        self.is_doomed = False
        #: Every worker is stuck, and was so when this was submitted: it can't begin.
        self.is_behind = False
        self.children: list[Any] = []
        self.refused: list[None] = []
        self.final: str | None = None
        self.metadata: dict[str, object] = {}
        self.calls: list[tuple[str, list[object]]] = []

    def is_stuck(self) -> bool:
        """True if it does not finish before something is opened."""
        if self.handle is None or self.was_cancelled or self.is_doomed:
            return False
        if self.has_gate:
            return not self.opened
        return self.target is not None and self.target.is_stuck()

    def may_become(self) -> set[str]:
        """Every outcome that is allowed."""
        if self.was_cancelled or self.is_behind:
            return {CANCELLED}
        if self.fate is not None:
            states = {self.fate}
        else:
            assert self.target is not None
            states = {OK if self.target.look() == OK else FAILED}
        if self.is_doomed:
            states.add(CANCELLED)
            if self.target is not None or self.children or self.refused:
                states.add(FAILED)  # what it waits for was cancelled, or refused
        return states

    def look(self) -> str | None:
        """The state if it has finished; that it may be so, and stays so, is asserted."""
        if self.handle is None or not self.handle.is_ready():
            assert self.final is None, f"{self.handle!r} is no longer {self.final}"
            return None
        error = self.handle.exception(0)
        state = STATES[type(error)]
        assert state in self.may_become(), f"{self.handle!r}: {error} is not one of {self.may_become()}"
        assert self.final in (None, state), f"{self.handle!r} was {self.final}"
        self.final = state
        assert (state == CANCELLED) == self.handle.is_cancelled()
        if state == OK:
            assert self.expected() == self.handle.get(0) == self.handle.try_get()
            assert 1.0 == self.handle.get_progress()
        else:
            with pytest.raises(type(error)):
                self.handle.try_get()
            assert self.metadata == error.metadata
        return state

    def expected(self) -> object:
        """Return the result, if it succeeds."""
        return self.value if self.target is None else self.target.expected()


# --- bodies ---------------------------------------------------------------------------------------------


def give(value: object) -> object:
    return value


def fail(value: object) -> object:
    raise ValueError(value)


def stay(entry: Entry) -> object:
    """Stay until the gate is opened, or the task has ended."""
    while not entry.opened:
        mp.sleep(0.0005)
    mp.report_progress(0.5)
    return entry.value


def spin(entry: Entry) -> object:
    """The same, in the body's own code."""
    while not entry.opened:
        time.sleep(0.0001)
    mp.report_progress(0.5)
    return entry.value


def have_children(entry: Entry, submit: "Callable[..., Any]", values: "list[int]") -> object:
    with mp.shield():  # so that what was submitted is noted
        try:
            for value in values:
                entry.children.append(submit(give, value))
        except mp.PoolShutdownError:
            entry.refused.append(None)
            raise
    return sum(child.get() for child in entry.children)


def wait_for(entry: Entry) -> object:
    return entry.handle.get()


# --- pools ----------------------------------------------------------------------------------------------


class OwnPool:
    """A `Pool`."""

    def __init__(self, workers: int, max_pending: int | None) -> None:
        self.pool = mp.Pool(workers, max_pending=max_pending, when_full="raise", hard_grace_secs=None)
        self.submit = self.pool.submit
        self.parallel = self.pool.parallel
        self.shutdown = self.pool.shutdown
        self.statistics = self.pool.statistics
        self.map = self.pool.map
        self.resize = self.pool.resize

    def close(self) -> None:
        """Leave nothing behind."""


class DefaultPool:
    """The default pool, through the module's functions."""

    def __init__(self, workers: int, max_pending: int | None) -> None:
        assert mp.shutdown(LIMIT)
        mp.reset_shutdown()
        mp.configure(workers=workers, max_pending=max_pending, when_full="raise", hard_grace_secs=None)
        self.pool = default_pool()
        self.parallel = mp.parallel
        self.shutdown = mp.shutdown
        self.statistics = mp.statistics
        self.map = mp.parallel_map

    def submit(self, fn: "Callable[..., Any]", *args: object) -> Any:
        return mp.parallel(fn)(*args)

    def resize(self, workers: int) -> None:
        mp.configure(workers=workers)

    def close(self) -> None:
        """Give the other tests a default pool as they know it."""
        mp.reset_shutdown()
        mp.configure(workers=None, max_pending=None, when_full="wait", hard_grace_secs=HARD_GRACE_SECS)


class Generation:
    """A pool, and what was done to it, until the next one is made."""

    def __init__(self, kind: type, workers: int, max_pending: int | None) -> None:
        self.api = kind(workers, max_pending)
        self.workers = workers
        self.has_shrunk = False
        self.is_bounded = max_pending is not None
        self.is_shut = False
        self.entries: list[Entry] = []
        #: Tasks of maps: of those that succeeded, and how many there may be beside.
        self.mapped = self.loose = 0

    def stuck(self) -> list[Entry]:
        """The tasks that take a worker each until they are opened."""
        return [entry for entry in self.entries if entry.has_gate and entry.is_stuck()]

    def go_on(self) -> None:
        """Something may have made way for what is behind."""
        for entry in self.entries:
            entry.is_behind = entry.is_behind and entry.final is not None

    def is_alive(self) -> bool:
        """True if a worker is left for tasks that are not stuck."""
        return self.is_shut or len(self.stuck()) < self.workers


class PoolAgainstModel(RuleBasedStateMachine):
    """Every public call on a pool and its handles."""

    entries: "Bundle[Entry]" = Bundle("entries")

    # --- life and death of a pool ------------------------------------------------------------------

    @initialize(kind=st.sampled_from([OwnPool, OwnPool, DefaultPool]), workers=FEW, bound=st.sampled_from([None, 3]))
    def start(self, kind: type, workers: int, bound: int | None) -> None:
        self.kind = kind
        self.generations = [Generation(kind, workers, bound)]
        self.counter = 0

    @property
    def now(self) -> Generation:
        return self.generations[-1]

    @rule(cancel_pending=st.booleans(), patient=st.booleans())
    def shutdown(self, cancel_pending: bool, patient: bool) -> None:
        """With time for what can finish; or with none."""
        generation = self.now
        patient = patient and not generation.stuck()
        if cancel_pending or not patient:
            for entry in generation.entries:
                entry.is_doomed = entry.is_doomed or entry.look() is None
            self.doom_who_waits()
        ended = generation.api.shutdown(LIMIT if patient else 0.0, cancel_pending)
        assert ended or not patient or generation.is_shut
        if not cancel_pending and not generation.is_shut and patient:
            generation.go_on()
        generation.is_shut = True
        for entry in generation.entries:
            # What a worker had in hand when the time was up is cancelled by that worker, a moment later.
            assert entry.handle.wait(LIMIT if entry.is_doomed else 0), f"{entry.handle!r} after shutdown"

    def doom_who_waits(self) -> None:
        """Tasks of other pools wait for those of this one."""
        for generation in self.generations:
            for entry in generation.entries:  # in order: who waits comes after what it waits for
                if entry.target is not None and entry.target.is_doomed:
                    entry.is_doomed = True

    @precondition(lambda self: self.now.is_shut and len(self.generations) < 4)
    @rule(workers=FEW, bound=st.sampled_from([None, 3]))
    def reset(self, workers: int, bound: int | None) -> None:
        """A new pool: for the default one, by `reset_shutdown`."""
        self.generations.append(Generation(self.kind, workers, bound))

    @precondition(lambda self: not self.now.is_shut)
    @rule(workers=FEW)
    def resize(self, workers: int) -> None:
        self.now.go_on()
        self.now.has_shrunk = self.now.has_shrunk or workers < self.now.workers
        self.now.workers = workers
        self.now.api.resize(workers)
        assert workers == self.now.api.statistics().workers

    # --- tasks -------------------------------------------------------------------------------------

    def accept(self, entry: Entry, submit: "Callable[[], Any]") -> Entry:
        """Submit, which a pool that was shut down refuses, and a full one may."""
        generation = self.now
        try:
            entry.handle = submit()
        except mp.PoolShutdownError:
            assert generation.is_shut
        except mp.PoolFullError:
            assert generation.is_bounded
        else:
            assert not generation.is_shut
            # A worker whose seat was taken away may have one more task.
            entry.is_behind = not (generation.is_alive() or generation.has_shrunk)
            generation.entries.append(entry)
        return entry

    def next_value(self) -> int:
        self.counter += 1
        return self.counter

    @rule(target=entries)
    def submit_value(self) -> Entry:
        entry = Entry(OK, self.next_value())
        return self.accept(entry, lambda: self.now.api.submit(give, entry.value))

    @rule(target=entries)
    def submit_failure(self) -> Entry:
        entry = Entry(FAILED)
        return self.accept(entry, lambda: self.now.api.submit(fail, self.next_value()))

    @rule(target=entries, body=st.sampled_from([stay, spin]), timed=st.booleans())
    def submit_at_a_gate(self, body: "Callable[..., Any]", timed: bool) -> Entry:
        entry = Entry(OK, self.next_value())
        entry.has_gate = True
        timeout = 1000 if timed else None
        function = self.now.api.parallel(body, timeout=timeout, interrupt=body is spin)
        return self.accept(entry, lambda: function(entry))

    @rule(target=entries, values=st.lists(st.integers(0, 9), max_size=3))
    def submit_parent(self, values: "list[int]") -> Entry:
        entry = Entry(OK, sum(values))
        submit = self.now.api.pool.submit
        return self.accept(entry, lambda: self.now.api.submit(have_children, entry, submit, values))

    @rule(target=entries, seconds=st.sampled_from([0.0, 0.001, 0.003]))
    def submit_sleeper(self, seconds: float) -> Entry:
        entry = Entry(TIMED_OUT)
        return self.accept(entry, lambda: self.now.api.parallel(mp.sleep, timeout=seconds)(1000))

    @rule(target=entries, awaited=entries)
    def submit_who_waits(self, awaited: Entry) -> Entry:
        entry = Entry(OK)
        if awaited.handle is None:
            return entry
        entry.fate, entry.target = None, awaited
        entry.is_doomed = awaited.is_doomed
        return self.accept(entry, lambda: self.now.api.submit(wait_for, awaited))

    @rule(items=st.lists(st.integers(-9, 9), max_size=8), chunksize=st.integers(1, 3), fails=st.booleans())
    def map(self, items: "list[int]", chunksize: int, fails: bool) -> None:
        generation = self.now
        if not generation.is_alive():
            return
        tasks = math.ceil(len(items) / chunksize)
        error = None
        try:
            results = generation.api.map(fail if fails else give, items, chunksize=chunksize, timeout=LIMIT)
        except mp.PoolShutdownError:
            assert generation.is_shut
        except mp.PoolFullError:
            assert generation.is_bounded
            generation.loose += tasks
        except mp.TaskError as raised:
            error = raised
            generation.loose += tasks
        else:
            assert not generation.is_shut or not items
            assert results == ([] if fails else items)
            generation.mapped += bool(items)  # one task runs them all, or up to as many as there are blocks
            generation.loose += max(tasks - 1, 0)
        if error is not None:
            assert fails
            assert 0 == error.metadata["index"]

    # --- handles -----------------------------------------------------------------------------------

    @rule(entry=entries)
    def open(self, entry: Entry) -> None:
        entry.opened.append(None)
        for generation in self.generations:
            generation.go_on()

    @rule(entry=entries)
    def cancel(self, entry: Entry) -> None:
        if entry.handle is None:
            return
        was_stuck, before = entry.is_stuck(), entry.look()
        if entry.handle.cancel():
            assert before is None
            entry.was_cancelled = True
            for generation in self.generations:
                generation.go_on()
        else:
            assert not was_stuck
            assert entry.look() is not None
        assert entry.handle.is_ready()
        assert entry.handle.cancel() is False

    def can_finish(self, *entries: Entry) -> bool:
        """True if a wait for all of them ends."""
        return all(generation.is_alive() for generation in self.generations) and not any(
            entry.is_stuck() for entry in entries
        )

    @rule(entry=entries)
    def get_at_once(self, entry: Entry) -> None:
        if entry.handle is not None:
            try:
                result = entry.handle.get(timeout=0)
            except mp.TaskError:
                assert entry.look() not in (None, OK)
            except TimeoutError:
                assert entry.final is None
            else:
                assert OK == entry.look()
                assert entry.expected() == result

    @rule(entry=entries)
    def look_on(self, entry: Entry) -> None:
        """Without a wait, which might wake somebody."""
        if entry.handle is not None and self.can_finish(entry):
            assert eventually(entry.handle.is_ready), f"{entry.handle!r} sleeps on"

    @rule(entry=entries)
    def get(self, entry: Entry) -> None:
        """Without a limit, in a thread that can be given up."""
        if entry.handle is None or not self.can_finish(entry):
            return
        results: list[object] = []

        def wait() -> None:
            try:
                results.append(entry.handle.get())
            except mp.TaskError as error:
                results.append(error)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        thread.join(LIMIT)
        assert results, f"get() waits for {entry.handle!r}"
        if entry.look() == OK:
            assert [entry.expected()] == results
        else:
            assert isinstance(results[0], mp.TaskError)

    @rule(
        several=st.lists(entries, max_size=5), mode=st.sampled_from(["return", "skip", "raise"]), patient=st.booleans()
    )
    def gather(self, several: "list[Entry]", mode: str, patient: bool) -> None:
        several = [entry for entry in several if entry.handle is not None]
        if patient and not self.can_finish(*several):
            return
        handles = [entry.handle for entry in several]
        try:
            results = mp.gather(handles, on_error=mode, timeout=LIMIT if patient else 0)
        except mp.TaskError:
            assert mode == "raise"
            assert any(entry.look() not in (None, OK) for entry in several)
            return
        except TimeoutError:
            assert not patient
            return
        states = [entry.look() for entry in several]
        expected = [entry.expected() for entry, state in zip(several, states, strict=True) if state == OK]
        assert None not in states
        assert expected == [result for result in results if not isinstance(result, mp.TaskError)]
        assert len(results) == (len(expected) if mode == "skip" else len(states))

    @rule(several=st.lists(entries, max_size=5), patient=st.booleans())
    def as_completed(self, several: "list[Entry]", patient: bool) -> None:
        several = [entry for entry in several if entry.handle is not None]
        if patient and not self.can_finish(*several):
            return
        handles = {entry.handle for entry in several}
        got: list[Any] = []
        try:
            for handle in mp.as_completed([entry.handle for entry in several], timeout=LIMIT if patient else 0):
                assert handle.is_ready()
                got.append(handle)
        except TimeoutError:
            assert not patient
        else:
            assert handles == set(got)
        assert len(got) == len(set(got))
        assert handles >= set(got)

    @rule(several=st.lists(entries, max_size=5), until=st.sampled_from(["ALL", "FIRST"]), patient=st.booleans())
    def wait(self, several: "list[Entry]", until: str, patient: bool) -> None:
        several = [entry for entry in several if entry.handle is not None]
        if patient and not self.can_finish(*several):
            return
        handles = {entry.handle for entry in several}
        done, rest = mp.wait(handles, timeout=LIMIT if patient else 0, return_when=f"{until}_COMPLETED")
        assert handles == done | rest
        assert not done & rest
        assert all(handle.is_ready() for handle in done)
        if patient:
            assert not rest if until == "ALL" or not handles else done

    @rule(entry=entries, key=st.sampled_from(["a", "b"]), value=st.integers())
    def note(self, entry: Entry, key: str, value: int) -> None:
        if entry.handle is not None:
            entry.handle.set_metadata(key, value)
            entry.metadata[key] = value
            assert value == entry.handle.get_metadata(key)

    @rule(entry=entries, kind=st.sampled_from(["complete", "error", "progress"]))
    def call_back(self, entry: Entry, kind: str) -> None:
        if entry.handle is not None:
            calls: list[object] = []
            entry.calls.append((kind, calls))
            getattr(entry.handle, f"on_{kind}")(calls.append)

    # --- what always holds -------------------------------------------------------------------------

    @invariant()
    def handles_agree_with_the_model(self) -> None:
        for generation in self.generations:
            for entry in generation.entries:
                was_stuck = entry.is_stuck()
                state = entry.look()
                assert not (was_stuck and state), f"{entry.handle!r} has not waited"
                assert not entry.is_behind or not entry.handle.is_running(), f"{entry.handle!r} has overtaken"
                assert entry.metadata == entry.handle.get_all_metadata()
                for kind, calls in entry.calls:
                    self.check_calls(entry, kind, calls)

    def check_calls(self, entry: Entry, kind: str, calls: "list[object]", *, at_end: bool = False) -> None:
        """At most once, and with the right thing; at the end, exactly once if at all."""
        copy = calls[:]
        state = entry.look()
        assert len(copy) <= 1, f"{entry.handle!r}: {copy}"
        if kind == "complete":
            assert copy in ([], [entry.value if entry.target is None else entry.expected()])
            due = state == OK
        elif kind == "error":
            assert all(STATES[type(error)] == state for error in copy)
            due = state != OK
        else:
            assert copy in ([], [0.5])
            due = entry.has_gate and state == OK
            if entry.has_gate and state != OK:  # it may have come so far
                return
        if copy:
            assert due
        if at_end:
            assert due == bool(copy), f"{entry.handle!r}: {kind}"

    @invariant()
    def counts_add_up(self) -> None:
        for generation in self.generations[-1:]:
            facts = generation.api.statistics()
            finished = facts.succeeded + facts.failed + facts.cancelled + facts.timed_out
            assert facts.submitted >= len(generation.entries) + generation.mapped
            assert facts.submitted == finished + facts.pending + facts.running
            assert generation.is_shut or generation.workers == facts.workers

    def teardown(self) -> None:
        """Let everything finish, and look at all of it."""
        if not hasattr(self, "generations"):
            return
        try:
            for generation in self.generations:
                for entry in generation.entries:
                    entry.opened.append(None)
                generation.go_on()
            assert self.now.api.shutdown(LIMIT)
            for generation in self.generations:
                self.check_generation(generation)
        finally:
            self.now.api.close()

    def check_generation(self, generation: Generation) -> None:
        """All has finished, each callback has been called, and all counts agree with the handles."""
        pool = generation.api.pool
        counts = dict.fromkeys((OK, FAILED, CANCELLED, TIMED_OUT), 0)
        for entry in generation.entries:
            state = entry.look()
            assert state is not None, f"{entry.handle!r} after the end"
            counts[state] += 1
            for child in entry.children:
                counts[STATES[type(child.exception(0))]] += 1

            def all_called(entry: Entry = entry) -> bool:
                with suppress(AssertionError):
                    for kind, calls in entry.calls:
                        self.check_calls(entry, kind, calls, at_end=True)
                    return True
                return False

            assert all_called() or eventually(all_called), f"{entry.handle!r}: {entry.calls}"
        counts[OK] += generation.mapped
        # Tasks that nobody holds: of failed maps, and children that were submitted and refused at the same time.
        loose = generation.loose + sum(len(entry.refused) for entry in generation.entries)
        facts = pool.statistics()
        counted = {OK: facts.succeeded, FAILED: facts.failed, CANCELLED: facts.cancelled, TIMED_OUT: facts.timed_out}
        assert all(counts[state] <= counted[state] <= counts[state] + loose for state in counts), (
            counts,
            counted,
            loose,
        )
        assert facts.submitted == sum(counted.values())
        assert eventually(lambda: not any(worker.stack for worker in pool._scheduler.roster[:]))
        pool.shutdown(LIMIT)  # one without time has left its bodies running
        pool._check()


TestPoolAgainstModel = pytest.mark.proves("I1")(PoolAgainstModel.TestCase)
TestPoolAgainstModel.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # what depends on time can't be made shorter
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
