"""Races that were found once, forced by injection: the lying primitive numbers the interleaving."""

import pytest
from helpers_by_hand import make_scheduler, make_task, make_worker, sit

import makeparallel as mp
from makeparallel._core import idle as idle_module
from makeparallel._core.body import run_body
from makeparallel._core.entries import CANCELLED
from makeparallel._core.idle import Opening, leave_seat, retake_seat, wake_one
from makeparallel._core.staff import remove_seat
from makeparallel._core.worker import Worker
from makeparallel._handle import AsyncHandle
from makeparallel._pool import copy_context


@pytest.mark.proves("I3")
def test_worker_that_returns_leaves_the_sleeper_on_its_old_seat_announced() -> None:
    """A worker back from a wait must not withdraw the announcement of who sits on its old seat now."""
    home = make_scheduler(1)
    (first, seat), spare = sit(home, 1), make_worker(home, 2)
    lent = leave_seat(first)  # 1. first lends its seat
    assert [lent] == list(home.idle)
    assert lent is home.idle.pop()  # 2. a submitter takes the opening off the idle deque ...
    assert lent.take(spare)  # 3. ... and has it filled
    home.idle.append(seat)  # 4. the spare finds no more work, and parks
    retake_seat(first, lent)  # 5. first comes back
    assert [seat] == list(home.idle)
    assert first.seat is None
    assert spare.seat is seat


@pytest.mark.proves("P2")
def test_worker_that_returns_does_not_take_an_opening_that_was_woken() -> None:
    """Who takes an opening off the idle deque fills it; the worker that left goes on without a seat."""
    home = make_scheduler(2)
    first, _ = sit(home, 1)
    lent = leave_seat(first)
    home.injector.append(make_task())  # 1. a submitter pushes ...
    assert lent is home.idle.pop()  # 2. ... and takes the opening
    retake_seat(first, lent)  # 3. the worker that left comes back
    assert first.seat is None
    spare = make_worker(home, 2)
    assert lent.take(spare)  # 4. the opening is filled, and its worker will find the task
    assert not lent.take(make_worker(home, 3))  # a second worker, sent by a repeated wake-up, is not needed


@pytest.mark.proves("I3")
def test_seat_that_closes_while_its_worker_leaves_is_not_announced() -> None:
    """A resize between the worker's getting up and its announcement still removes the seat."""
    home = make_scheduler(2)
    worker, seat = sit(home, 1)
    seat.local.append(make_task())

    class LateQueue(type(home.idle)):  # type: ignore[misc]
        """Shrinks the pool just before the opening is announced."""

        def appendleft(self, entry: object) -> None:
            seat.closing = True  # what resize does first; then it finds no opening, and rings the bell
            super().appendleft(entry)

    home.idle = LateQueue()
    leave_seat(worker)
    assert [] == list(home.idle)
    assert seat not in home.seats
    assert 1 == len(home.injector)


@pytest.mark.proves("I3")
def test_tasks_pushed_as_a_spin_times_out_wake_a_second_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitters wake nobody during a spin; when it ends without finding their tasks, that is made good."""
    home = make_scheduler(2)
    home.spin_secs = 1.0
    worker, _ = sit(home, 1)
    other = Opening(home.seats[1])
    home.idle.append(other)
    clock = iter([0.0, 2.0])
    ran: list[object] = []

    def late() -> float:
        moment = next(clock)
        if moment > 1.0:  # 1. the spin is about to time out: two submits come, and see it spinning
            home.submit(make_task())
            home.submit(make_task())
            assert [] == home.staffed  # type: ignore[attr-defined]
        return moment

    monkeypatch.setattr(idle_module, "now", late)

    def stop(task: object) -> None:
        ran.append(task)
        worker.seat = None  # 3. after one task, leave the loop

    monkeypatch.setattr(AsyncHandle, "run_on", lambda task, on: stop(task))
    worker.work()  # 2. the worker goes on from its spin
    assert 1 == len(ran)
    assert [other] == home.staffed  # type: ignore[attr-defined]


@pytest.mark.proves("I3")
def test_worker_that_was_woken_wakes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wake-up may stand for many tasks: each worker that it wakes passes on."""
    home = make_scheduler(3)
    worker, _ = sit(home, 1)
    others = [Opening(seat) for seat in home.seats[1:]]
    home.idle.extend(others)
    home.injector.extend(make_task() for _ in range(3))  # pushed while somebody spun: nobody was woken

    def stop(task: object, on: Worker) -> None:
        on.seat = None

    monkeypatch.setattr(AsyncHandle, "run_on", stop)
    worker.work()
    assert [others[1]] == home.staffed  # type: ignore[attr-defined]


@pytest.mark.proves("I1")
def test_cancel_of_the_last_task_after_its_worker_slept_ends_the_drain() -> None:
    """The canceller counts last: it has to look whether the pool is drained."""
    home = make_scheduler(1)
    task = home.submit(make_task())
    home.advance(1)
    rung: list[bool] = []

    class Waiting:
        """Stands for a thread in shutdown."""

        def ring(self) -> None:
            rung.append(home.drain.is_drained())

    home.drain._waiting.append(Waiting())  # type: ignore[arg-type]
    home.injector.clear()  # a worker took the entry, found no claim to be had, and sleeps
    assert task.end(CANCELLED)
    assert [True] == rung


@pytest.mark.proves("I1")
def test_tasks_of_a_seat_that_is_removed_during_the_stop_are_cancelled() -> None:
    """What moves from a removed seat to the injector after the last sweep is swept once more."""
    home = make_scheduler(2)
    seat = home.seats[1]
    task = make_task()
    task._home = home
    seat.local.append(task)
    home.seats = home.seats[:1]  # 1. remove_seat has taken the seat out
    home.drain.stop()  # 2. the stop sweeps
    remove_seat(home, seat)  # 3. and goes on
    assert task.is_cancelled()


@pytest.mark.proves("I3")
def test_too_deep_recursion_is_told_before_anything_happens() -> None:
    """A wake-up or a cancel near the recursion limit raises, and changes nothing."""
    home = make_scheduler(1)
    task = home.submit(make_task())
    home.idle.extend([Opening(home.seats[0])])
    entries, outcomes = list(home.idle), []
    unchanged: list[bool] = []

    def dive() -> None:
        try:
            dive()
        except RecursionError:
            for action in (lambda: wake_one(home), lambda: task.end(CANCELLED)):
                try:
                    action()
                except RecursionError:
                    outcomes.append("told")
            if len(unchanged) < 40:  # within the headroom: further up there is room, and the actions take place
                unchanged.append(entries == list(home.idle) and not task.is_ready())
            raise

    with pytest.raises(RecursionError):
        dive()
    assert outcomes[:2] == ["told", "told"]
    assert [True] * 40 == unchanged


@pytest.mark.proves("I2")
def test_worker_does_not_take_its_own_old_claim_for_a_new_one() -> None:
    """A queue entry whose task its worker has already run inline is passed over."""
    home = make_scheduler(1)
    worker = make_worker(home, 1)
    calls: list[int] = []
    task = AsyncHandle.make(copy_context(), calls.append, (1,), {}, "once")
    task._home = home
    task.run_on(worker)
    task.run_on(worker)
    assert calls == [1]


@pytest.mark.proves("P1")
def test_waiter_before_the_claim_does_not_hide_it() -> None:
    """A ledger that begins with a waiter still gives the body to one worker only."""
    home = make_scheduler(1)
    one, two = make_worker(home, 1), make_worker(home, 2)
    calls: list[int] = []
    task = AsyncHandle.make(copy_context(), calls.append, (1,), {}, "once")
    task._home = home
    task._watch(mp._handle.Callback(str, on_success=True))  # type: ignore[attr-defined]
    assert task._claim(one)
    assert not task._claim(two)
    run_body(task, one)
    assert calls == [1]
    assert task.is_ready()


@pytest.mark.proves("P6")
def test_submit_between_the_last_sweep_and_the_end_is_refused() -> None:
    """A submit that read OPEN and pushes after the sweep cancels its own task and raises."""
    home = make_scheduler(1)
    task = make_task()

    class LateQueue(type(home.injector)):  # type: ignore[misc]
        """Stops the pool between the submitter's look at the state and its push."""

        def append(self, entry: object) -> None:
            if entry is task:
                home.drain.stop()
            super().append(entry)

    home.injector = LateQueue()
    with pytest.raises(mp.PoolShutdownError, match="by hand"):
        home.submit(task)
    assert task.is_cancelled()
    assert home.active_count() == 0


@pytest.mark.proves("I6")
def test_library_lock_is_held_while_user_code_runs() -> None:
    """Another thread can take every lock of the library while a body, a callback or a hook runs."""
    import threading

    from makeparallel import _default, _handle, _pool, _process

    answers: list[bool] = []
    pool = mp.Pool(1)
    locks = [
        pool._scheduler.lock,
        _default._lock,
        _handle._metadata_lock,
        _pool._live_lock,
        _process._supervisor[0]._lock,
    ]

    def take_all(*facts: object) -> None:
        def take() -> None:
            for lock in locks:
                answers.append(lock.acquire(timeout=10))
                lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join(60)

    def fail() -> None:
        raise ValueError("to be reported")

    pool._scheduler.on_unseen = take_all
    for ending in (take_all, fail):
        handle = pool.submit(ending)
        handle.set_metadata("key", 1)
        handle.on_complete(take_all)
        handle.on_progress(take_all)
    pool.parallel(take_all).options(timeout=30)().wait(30)  # type: ignore[call-arg]
    handle.on_error(take_all)
    pool.submit(fail).wait(30)
    assert pool.shutdown(timeout_secs=30)
    assert len(answers) >= 4 * len(locks)
    assert all(answers)
