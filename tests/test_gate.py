"""The gate's races (P5), forced one by one: lying lists and a recorded sender number the interleaving."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers_by_hand import make_scheduler, make_task, make_worker

from makeparallel._core import gate
from makeparallel._core.body import run_body
from makeparallel._core.entries import CANCELLED, GIVEN_UP, TIMED_OUT
from makeparallel._core.gate import calm, close, forget, open_again, post, reach
from makeparallel._core.scheduler import Scheduler
from makeparallel._core.staff import abandon
from makeparallel._core.worker import Worker
from makeparallel._errors import TaskInterrupt
from makeparallel._handle import AsyncHandle
from makeparallel._interrupt import NEVER, urge
from makeparallel._pool import copy_context

pytestmark = pytest.mark.thread_unsafe(reason="replaces the sending function of the module")


class LyingList(list):  # type: ignore[type-arg]
    """Lets something happen in the middle of somebody's `append` or `remove`."""

    def __init__(self) -> None:
        super().__init__()
        self.before_append: Callable[[object], None] | None = None
        self.after_look: Callable[[], None] | None = None

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        after, self.after_look = self.after_look, None
        if after:
            after()
        return found

    def append(self, entry: object) -> None:
        before, self.before_append = self.before_append, None
        if before:
            before(entry)
        super().append(entry)


class Scene:
    """A worker without a thread of its own: this one; and what was sent to it."""

    def __init__(self) -> None:
        self.home: Scheduler = make_scheduler(1)
        self.worker: Worker = make_worker(self.home, 1)
        self.worker.armed = LyingList()
        self.worker.ident = threading.get_ident()
        gate.WORKERS[self.worker.ident] = self.worker
        self.sent: list[int] = []
        self.alarms: list[None] = []
        self.home.alarm = lambda: self.alarms.append(None)

    @property
    def armed(self) -> LyingList:
        """The gate's list."""
        assert isinstance(self.worker.armed, LyingList)
        return self.worker.armed

    def task(self, body: Callable[[], object] | None = None) -> "AsyncHandle[Any]":
        """A claimed task, whose body this thread is to run; without a body, one that seems to run."""
        task: Any = make_task() if body is None else AsyncHandle.make(copy_context(), body, (), {}, "body")
        task._home = self.home
        assert task._claim(self.worker)
        if body is None:
            self.worker.stack.append(task)
        return task  # type: ignore[no-any-return]

    def start(self) -> "AsyncHandle[Any]":
        """A task whose body is in its own code."""
        task = self.task()
        self.armed.append(task)
        return task


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scene in which nothing is really sent."""
    made = Scene()
    monkeypatch.setattr(gate, "send_interrupt", lambda ident, exception: made.sent.append(ident))
    yield made
    del gate.WORKERS[made.worker.ident]


@pytest.mark.proves("I4")
def test_sender_that_comes_as_the_body_has_left_sends_nothing(scene: Scene) -> None:
    """The removal comes before the mark: the body can't be reached any more."""
    task = scene.start()
    task.end(CANCELLED)
    scene.armed.before_append = lambda mark: scene.armed.remove(task)  # 2. the body leaves ...
    with scene.worker.lock:  # 1. the supervisor is at work ...
        assert post(scene.worker, task) is False  # 3. ... and looks
    assert [] == scene.sent
    assert [] == list(scene.armed)
    assert [task] == scene.worker.due


@pytest.mark.proves("I4")
def test_body_that_leaves_after_the_look_waits_until_it_was_sent(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """The mark comes before the removal: who closes the gate then waits for the sender to be through."""
    task = scene.start()
    task.end(CANCELLED)
    order: list[str] = []

    def close_here() -> None:
        gate.WORKERS[threading.get_ident()] = scene.worker
        close(scene.worker)  # finds the mark
        order.append("closed")
        del gate.WORKERS[threading.get_ident()]

    body = threading.Thread(target=close_here)

    def send(ident: int, exception: type[BaseException]) -> None:
        body.start()  # 2. between the look and the sending the body comes into the library
        while task in scene.armed:
            body.join(0.001)  # until it has removed its task
        order.append("sent")  # 3. it must still be waiting

    monkeypatch.setattr(gate, "send_interrupt", send)
    with scene.worker.lock:
        assert post(scene.worker, task)  # 1. the supervisor has looked
    body.join(20)
    assert ["sent", "closed"] == order
    assert [] == list(scene.armed)


@pytest.mark.proves("I3")
def test_gate_opened_just_before_the_look_is_sent_through(scene: Scene) -> None:
    """The body's entry comes before the mark, though it was not there when the sender began."""
    task = scene.task()
    task.end(CANCELLED)
    scene.armed.before_append = lambda mark: list.append(scene.armed, task)  # the shield ends right now
    with scene.worker.lock:
        assert post(scene.worker, task) is True
    assert 1 == len(scene.sent)
    assert [] == scene.worker.due


@pytest.mark.proves("I3")
def test_gate_opened_just_after_the_look_raises_what_is_due(scene: Scene) -> None:
    """The body's entry comes after the mark: then it sees that it is due, and raises the interrupt itself."""
    task = scene.task()
    task.end(CANCELLED)

    def the_supervisor_looks(entry: object) -> None:
        with scene.worker.lock:
            assert post(scene.worker, task) is False

    scene.armed.before_append = the_supervisor_looks
    with pytest.raises(TaskInterrupt):
        open_again(scene.worker)
    assert [] == scene.sent
    assert [] == scene.worker.due
    assert scene.alarms  # the supervisor is told, and times the rest


@pytest.mark.proves("I3")
def test_gate_opened_while_the_sender_gives_up_loses_the_interrupt(scene: Scene) -> None:
    """The sender has looked in vain and is about to leave; a body that opens its gate right then must see it."""
    task = scene.task()
    task.end(CANCELLED)
    raised: list[None] = []

    def open_here() -> None:
        gate.WORKERS[threading.get_ident()] = scene.worker
        try:
            open_again(scene.worker)
        except TaskInterrupt:
            raised.append(None)
        del gate.WORKERS[threading.get_ident()]

    body = threading.Thread(target=open_here)

    def the_body_opens() -> None:
        body.start()
        while task not in list(scene.armed) or not (body.is_alive() and scene.worker.due):
            body.join(0.001)  # until it has opened, and seen that it is due, or gone on
            if not body.is_alive():
                break

    scene.armed.after_look = the_body_opens
    with scene.worker.lock:
        assert post(scene.worker, task) is False
    body.join(20)
    assert [None] == raised
    assert [] == scene.worker.due


@pytest.mark.proves("P5")
def test_body_is_told_twice_at_once(scene: Scene) -> None:
    """A second look at a body that was just told sends nothing; nor does one at a body that raised it itself."""
    task = scene.start()
    task.end(CANCELLED)
    again = urge(scene.home, scene.worker, task)
    assert again == urge(scene.home, scene.worker, task) < NEVER
    assert 1 == len(scene.sent)


@pytest.mark.proves("P5")
def test_body_that_left_a_wait_is_interrupted_in_its_clean_up(scene: Scene) -> None:
    """A body that raised the interrupt in a wait of its own is not told once more."""
    task = scene.task()
    task.end(CANCELLED)
    with pytest.raises(TaskInterrupt):
        gate.leave_body(scene.worker)
    scene.armed.append(task)
    assert urge(scene.home, scene.worker, task) < NEVER
    assert [] == scene.sent


@pytest.mark.proves("I4")
def test_interrupt_for_the_outer_task_lands_in_the_inline_one(scene: Scene) -> None:
    """What falls due for a task below waits until it is on top again."""
    outer = scene.task()  # in its `get`, so the gate is closed
    inner = scene.start()
    outer.end(TIMED_OUT)
    assert NEVER == urge(scene.home, scene.worker, outer)
    assert ([], [outer]) == (scene.sent, scene.worker.due)
    close(scene.worker)
    open_again(scene.worker)  # the inner one calls the library: it is not its interrupt
    assert not inner.is_ready()
    scene.armed.remove(inner)
    scene.worker.stack.pop()
    with pytest.raises(TaskInterrupt):
        open_again(scene.worker)  # the end of the outer one's `get`


@pytest.mark.proves("I4")
def test_thread_id_that_is_used_again_gets_an_interrupt(scene: Scene) -> None:
    """A worker whose thread is gone has no open gate: to whomever its ident belongs now, nothing is sent."""
    task = scene.start()
    task.end(CANCELLED)
    calm(scene.worker)  # the body has left, and the thread has ended
    scene.worker.stack.clear()
    assert NEVER == urge(scene.home, scene.worker, task)
    assert ([], []) == (scene.sent, scene.worker.due)


@pytest.mark.proves("I5")
def test_task_that_falls_due_as_it_leaves_is_kept(scene: Scene) -> None:
    """A body that is off the stack before the sender looks is not noted; one noted before that is forgotten."""
    task = scene.task()
    task.end(CANCELLED)
    with scene.worker.lock:
        post(scene.worker, task)
    scene.worker.stack.pop()
    forget(scene.worker, task)
    assert NEVER == urge(scene.home, scene.worker, task)
    assert ([], None) == (scene.worker.due, scene.worker.notice)


@pytest.mark.proves("I2")
def test_task_that_was_cancelled_after_its_claim_runs(scene: Scene) -> None:
    """A cancel between the claim and the stack: the supervisor looked in vain, so the body must not start."""
    ran: list[int] = []
    task = scene.task(lambda: ran.append(1))
    task.end(CANCELLED)  # nobody finds it on a stack
    run_body(task, scene.worker)
    assert [] == ran
    assert ([1, 0, 0, 0], []) == (scene.worker.left, list(scene.armed))


@pytest.mark.proves("I4")
@pytest.mark.parametrize("place", ["first", "second"])
def test_interrupt_that_arrives_as_the_body_ends_escapes(scene: Scene, place: str) -> None:
    """Whether it arrives in the body's last step or after the gate was closed, it ends in `run_body`."""

    class LateList(LyingList):
        def remove(self, entry: object) -> None:
            super().remove(entry)
            if place == "second" and isinstance(entry, AsyncHandle):
                raise TaskInterrupt  # as at the end of a call

    scene.worker.armed = LateList()

    def body() -> None:
        task.end(CANCELLED)
        if place == "first":
            raise TaskInterrupt

    task = scene.task(body)
    run_body(task, scene.worker)
    assert ([1, 0, 0, 0], [], []) == (scene.worker.left, list(scene.armed), scene.worker.stack)


@pytest.mark.proves("I4")
def test_two_interrupts_at_the_end_of_a_body_escape(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """One was pending, another one's sender had looked: both arrive while the gate is being closed."""
    from makeparallel._core import body as body_module

    calls: list[None] = []
    really_calm = calm

    def interrupted_calm(worker: Worker) -> None:
        calls.append(None)
        if len(calls) == 1:
            raise TaskInterrupt
        really_calm(worker)

    monkeypatch.setattr(body_module, "calm", interrupted_calm)

    def body() -> None:
        task.end(CANCELLED)
        list.remove(scene.armed, task)  # so that the removal fails, as if something had come in it
        raise TaskInterrupt

    task = scene.task(body)
    run_body(task, scene.worker)
    assert 2 == len(calls)
    assert [1, 0, 0, 0] == scene.worker.left


@pytest.mark.proves("I4")
def test_interrupt_on_its_way_into_a_call_leaves_the_gate_shut(scene: Scene) -> None:
    """An interrupt that arrives while a call closes the gate goes on to the body, with the gate open."""

    class LateList(LyingList):
        def remove(self, entry: object) -> None:
            super().remove(entry)
            raise TaskInterrupt

    scene.worker.armed = LateList()
    task = scene.start()
    with pytest.raises(TaskInterrupt):
        gate.masked(int)
    assert [task] == list(scene.armed)


@pytest.mark.proves("I8")
def test_thread_that_comes_home_just_before_it_is_abandoned_loses_its_seat(scene: Scene) -> None:
    """The body has closed the gate before the supervisor's mark: it is not abandoned."""
    task = scene.start()
    task.end(CANCELLED)
    scene.armed.before_append = lambda mark: scene.armed.remove(task)
    with scene.worker.lock:
        assert abandon(scene.worker, task) is None
    assert scene.worker.abandoned is False
    assert 0 == scene.worker.left[GIVEN_UP]


@pytest.mark.proves("I8")
def test_thread_that_comes_home_just_after_it_was_abandoned_counts_twice(scene: Scene) -> None:
    """It was counted as left when it was given up; coming home it is counted once, in all."""

    def body() -> None:
        task.end(CANCELLED)
        with scene.worker.lock:
            assert abandon(scene.worker, task) == (None, [])
        assert [0, 0, 0, 1] == scene.worker.left

    task = scene.task(body)
    scene.home.tally().serial += 1
    run_body(task, scene.worker)
    assert [1, 0, 0, 0] == scene.worker.left
    assert [] == list(scene.armed)
    assert scene.worker._rest() is None  # and the thread ends


@pytest.mark.proves("I8")
def test_abandoned_body_takes_its_seat_back(scene: Scene) -> None:
    """A body that was abandoned inside `blocking` does not sit down again when it returns."""
    from makeparallel._core.idle import leave_seat, retake_seat

    opening = next(iter(scene.home.idle))
    scene.home.idle.clear()
    assert opening.take(scene.worker)  # type: ignore[union-attr]
    task = scene.task()
    lent = leave_seat(scene.worker)
    scene.armed.append(task)
    task.end(CANCELLED)
    with scene.worker.lock:
        assert abandon(scene.worker, task) is not None
    close(scene.worker)
    retake_seat(scene.worker, lent)
    assert scene.worker.seat is None
    assert [lent] == list(scene.home.idle)


@pytest.mark.proves("I1")
def test_task_that_waits_inline_below_an_abandoned_body_is_never_finished(scene: Scene) -> None:
    """It is finished as cancelled: its own body can't, before the other one leaves."""
    outer = scene.task()
    inner = scene.start()
    inner.end(CANCELLED)
    with scene.worker.lock:
        rest = abandon(scene.worker, inner)
    assert rest is not None
    assert [outer] == [task for task, _ in rest[1]]
    assert outer.is_cancelled()
    assert 2 == scene.worker.left[GIVEN_UP]


@pytest.mark.proves("I4")
def test_mark_that_was_refused_stays(scene: Scene) -> None:
    """A sender that can't reach the body leaves nothing in its way."""
    task = scene.task()
    with scene.worker.lock:
        assert reach(scene.worker, task) is False
    assert [] == list(scene.armed)


@pytest.mark.proves("P6")
def test_task_in_hand_when_a_shutdown_loses_patience_runs(scene: Scene) -> None:
    """A task that is in no queue and on no stack as a shutdown cancels what is left is cancelled as it begins."""
    ran: list[int] = []
    task = scene.task(lambda: ran.append(1))  # 1. a worker has it in hand
    scene.home.tally().serial += 1
    scene.home.drain._cancel_running()  # 2. the shutdown looks at the queues and stacks
    assert not task.is_ready()
    run_body(task, scene.worker)  # 3. the worker goes on
    assert task.is_cancelled()
    assert [] == ran
    assert 0 == scene.home.active_count()


@pytest.mark.proves("P5")
def test_body_at_the_limit_on_abandoned_threads_is_told_no_more(scene: Scene) -> None:
    """Where no more threads may be given up, a body that swallows the interrupt still gets it again."""
    scene.home.max_abandoned = 0
    scene.home.hard_grace = 0.0
    task = scene.start()
    task.end(CANCELLED)
    for times in (1, 2, 3):
        if scene.worker.notice is not None:
            scene.worker.notice.again = 0.0  # the pause is over
        assert urge(scene.home, scene.worker, task) < NEVER
        assert times == len(scene.sent)
    assert scene.worker.abandoned is False


@pytest.mark.proves("P5")
def test_body_that_was_out_of_reach_at_the_hard_grace_is_forgotten(scene: Scene) -> None:
    """A body in a call of the library just then is told again after it, whatever became of what was due."""
    scene.home.hard_grace = 0.0
    task = scene.task()  # in a call of the library
    task.end(CANCELLED)
    for _ in range(2):
        if scene.worker.notice is not None:
            scene.worker.notice.again = 0.0
        assert urge(scene.home, scene.worker, task) < NEVER
    assert ([], [task]) == (scene.sent, scene.worker.due)
    scene.armed.append(task)  # the call ends in a way that does not look at what is due
    assert scene.worker.notice is not None
    scene.worker.notice.again = 0.0
    scene.home.max_abandoned = 0
    assert urge(scene.home, scene.worker, task) < NEVER
    assert 1 == len(scene.sent)


@pytest.mark.proves("P5")
def test_cooperative_body_is_cut_off_by_a_shutdown(scene: Scene) -> None:
    """A shutdown that loses patience ends the task, but nothing is raised in a body that must not be interrupted."""
    task = scene.task()
    assert task._terms is None
    task._terms = gate_terms()
    scene.worker.due.append(gate.CUT_OFF)
    open_again(scene.worker)
    assert task.is_cancelled()
    assert [task] == list(scene.armed)


def gate_terms() -> Any:
    from makeparallel._core.entries import Terms

    return Terms(None, interrupt=False)


@pytest.mark.proves("I3")
def test_thread_that_dies_takes_its_seat_along(scene: Scene) -> None:
    """A worker that is thrown out of its loop leaves an opening behind."""
    opening: Any = next(iter(scene.home.idle))
    scene.home.idle.clear()
    assert opening.take(scene.worker)
    scene.home.worker_ended(scene.worker)
    assert [opening.seat] == [entry.seat for entry in scene.home.idle]  # type: ignore[union-attr]
    assert scene.worker.seat is None


@pytest.mark.proves("P7")
def test_supervisor_reports_a_thread_that_cannot_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports run user code (log handlers), so the supervisor leaves them to others, and keeps the opening."""
    from makeparallel._core import staff as staff_module

    class NoThread:
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    told: list[object] = []
    scene.home.on_degraded = lambda *facts: told.append(facts)
    monkeypatch.setattr(staff_module, "new_thread", lambda *args: NoThread())
    monkeypatch.setitem(staff_module.UNFIT, threading.get_ident(), None)
    opening: Any = scene.home.idle.pop()
    staff_module.staff(scene.home, opening)
    assert ([], [opening]) == (told, list(scene.home.idle))
