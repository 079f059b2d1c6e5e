"""The programs whose interleavings are explored. Each sets a few threads up, and returns what must hold at the end."""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from .explore import Engine, Violation
from .load import Core
from .model_sync import ModelList, begin_run, place

AtEnd = Callable[[], None]
Scenario = Callable[[Core, Engine], AtEnd]


def check(holds: object, message: str) -> None:
    if not holds:
        raise Violation(message)


class World:
    """A pool of the loaded core, with tasks that count their runs."""

    def __init__(self, core: Core, engine: Engine, seats: int = 1, max_pending: int | None = None) -> None:
        begin_run()
        self.core, self.engine = core, engine
        self.home = core.scheduler.Scheduler("modelled", "worker", seats, max_pending, "wait")
        self.runs: list[Any] = []
        self.tasks: list[Any] = []
        self.refused = 0
        self.told: list[str] = []

    def task(self, body: Callable[[], Any] | None = None, timeout: float | None = None, **terms: Any) -> Any:
        """A task that is not submitted yet."""
        runs = self.runs
        number = len(self.tasks)

        def counted() -> Any:
            runs.append(number)
            return number if body is None else body()

        task = self.core.task.Task.make(copy_context(), counted, (), {}, f"task-{number}", timeout, **terms)
        task._home = self.home
        self.tasks.append(task)
        return task

    def submit(self, task: Any) -> None:
        """Submit a task, or note that it was refused."""
        from makeparallel._errors import PoolFullError, PoolShutdownError

        try:
            self.home.submit(task)
        except (PoolShutdownError, PoolFullError):
            self.refused += 1

    def queued(self, task: Any, local: Any = None) -> Any:
        """Count a task as submitted, and put it into a queue, before the threads begin."""
        tally = self.home._new_tally(1)
        tally.serial += 1
        task._number = tally.serial
        if self.home.room is not None:
            task._terms = task._terms or self.core.entries.Terms(None)
            check(self.home.room._take(task._terms), "no permit")
        if local is not None:
            local.append(task)
        return task

    def worker(self, *, seated: bool = True) -> Any:
        """A worker's record, on the first free seat."""
        worker = self.core.worker.Worker(self.home, self.core.worker.next_tally())
        self.home.roster.append(worker)
        if seated:
            check(self.home.idle[-1].take(worker), "no seat")
            self.home.idle.pop()
        return worker

    def as_worker(self, worker: Any, function: Callable[[], object]) -> Callable[[], None]:
        """`function`, called by the thread of `worker`."""

        def call() -> None:
            ident = worker.ident = self.engine.current.ident  # type: ignore[union-attr]
            self.core.gate.WORKERS[ident] = worker
            function()

        return call

    def looping(self, worker: Any) -> Callable[[], None]:
        """The real loop of a worker that sits already; its thread may sleep for ever."""

        def loop() -> None:
            ident = worker.ident = self.engine.current.ident  # type: ignore[union-attr]
            worker.thread = self.engine.current
            self.core.gate.WORKERS[ident] = worker
            opening = None
            while True:
                worker.work()
                opening = worker._rest()
                if opening is None or not opening.take(worker):
                    break
            del self.core.gate.WORKERS[ident]
            self.home.worker_ended(worker)

        return loop

    def wait_or_be_told(self, number: int) -> None:
        """Wait for the task of that number, unless that is refused as a deadlock."""
        try:
            self.wait(self.tasks[number])
        except RuntimeError as error:
            self.told.append(str(error))

    def wait(self, task: Any) -> None:
        check(self.core.waiting.await_outcome(task, None) is not None, "a wait without a result")

    def at_rest(self, *, idle: bool = True) -> None:
        """Every task is finished, none ran twice, the counts agree, and nobody is lost."""
        for task in self.tasks:
            outcomes = [entry for entry in task._ledger if type(entry) is tuple]
            if task._number:
                check(outcomes, f"{task._label} is not finished")  # I1
                check(task._call is None, f"{task._label} keeps its call")  # I5
                check(all(late[1] is None for late in outcomes[1:]), f"{task._label} keeps a late result")  # I5
                waiters = [entry for entry in task._ledger if isinstance(entry, self.core.entries.Waiter)]
                check(not waiters, f"{task._label} keeps a waiter")
        check(len(self.runs) == len(set(self.runs)), f"a body ran twice: {self.runs}")  # I2
        if idle:
            try:
                self.core._diagnosis.check_at_rest(self.home)
            except AssertionError as error:
                raise Violation(str(error)) from None


SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {}


def scenario(*labels: str, **options: Any) -> Callable[[Scenario], Scenario]:
    """Register a scenario, with the labels of what it shows and its options."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = (function, {"labels": labels, **options})
        return function

    return register


# --- P1 -----------------------------------------------------------------------------------------------


@scenario("P1", "I2", "I5", stale=True)
def claim_against_cancel(core: Core, engine: Engine) -> AtEnd:
    """A worker runs a task that another thread cancels."""
    world = World(core, engine)
    worker, task = world.worker(), world.queued(world.task())
    won: list[bool] = []
    engine.thread("worker", world.as_worker(worker, lambda: task.run_on(worker)))
    engine.thread("canceller", lambda: won.append(task.end(core.entries.CANCELLED)))

    def at_end() -> None:
        world.at_rest(idle=False)
        outcome = task._outcome()
        check((outcome[0] == core.entries.CANCELLED) == won[0], "the canceller believes something else")
        check(won[0] or world.runs == [0], "neither cancelled nor run")
        check(world.home.active_count() == 0, f"{world.home.active_count()} tasks are active")

    return at_end


@scenario("P1", "I2", "I5")
def claim_against_cancel_against_timeout(core: Core, engine: Engine) -> AtEnd:
    """A worker runs a task that one thread cancels and another times out."""
    world = World(core, engine)
    worker, task = world.worker(), world.queued(world.task())
    won: list[int] = []

    def end(state: int) -> None:
        if task.end(state):
            won.append(state)

    engine.thread("worker", world.as_worker(worker, lambda: task.run_on(worker)))
    engine.thread("canceller", partial(end, core.entries.CANCELLED))
    engine.thread("supervisor", partial(end, core.entries.TIMED_OUT))

    def at_end() -> None:
        world.at_rest(idle=False)
        state = task._outcome()[0]
        check([state] == won or (not won and state == core.entries.SUCCEEDED), f"{won} won, and it is {state}")
        check(world.home.active_count() == 0, f"{world.home.active_count()} tasks are active")

    return at_end


@scenario("P1", "I2", stale=True)
def two_claims(core: Core, engine: Engine) -> AtEnd:
    """Two workers have the same task in hand."""
    world = World(core, engine, seats=2)
    first, second = world.worker(), world.worker()
    task = world.queued(world.task())
    engine.thread("first", world.as_worker(first, lambda: task.run_on(first)))
    engine.thread("second", world.as_worker(second, lambda: task.run_on(second)))

    def at_end() -> None:
        world.at_rest(idle=False)
        check(world.runs == [0], "it did not run")
        check(world.home.active_count() == 0, f"{world.home.active_count()} tasks are active")

    return at_end


@scenario("P1", "I3", bound=3)
def settle_against_get(core: Core, engine: Engine) -> AtEnd:
    """Two threads wait for a task that a worker runs."""
    world = World(core, engine)
    worker, task = world.worker(), world.queued(world.task())
    engine.thread("worker", world.as_worker(worker, lambda: task.run_on(worker)))
    engine.thread("first", lambda: world.wait(task))
    engine.thread("second", lambda: world.wait(task))
    return lambda: world.at_rest(idle=False)


@scenario("P1", "P7", bound=3)
def progress_callback_against_the_end(core: Core, engine: Engine) -> AtEnd:
    """A progress callback is registered while the body reports, and ends: it is told each report once, from some on."""
    world = World(core, engine)
    worker = world.worker()
    calls: list[float] = []
    task = None

    def body() -> None:
        for fraction in (0.25, 0.75):
            core._callbacks.report(task, fraction)

    task = world.queued(world.task(body))
    mine = core._callbacks.ProgressCallback(calls.append)
    engine.thread("worker", world.as_worker(worker, lambda: task.run_on(worker)))
    engine.thread("user", lambda: core._callbacks.add_progress(task, mine))

    def at_end() -> None:
        world.at_rest(idle=False)
        check(sorted(calls) in ([0.25, 0.75], [0.75]), f"it was told {calls}")
        check(mine not in list.__iter__(task._ledger), "it stays in the ledger")

    return at_end


# --- P2 -----------------------------------------------------------------------------------------------


def submit_against_park(submitters: int, workers: int, core: Core, engine: Engine) -> AtEnd:
    world = World(core, engine, seats=workers)
    for number in range(workers):
        engine.thread(f"worker-{number}", world.looping(world.worker()), daemon=True)
    for number in range(submitters):
        engine.thread(f"submitter-{number}", partial(world.submit, world.task()))
    return world.at_rest


@scenario("P2", "I1", "I3", stale=True)
def one_submits_one_parks(core: Core, engine: Engine) -> AtEnd:
    """A submit, while the pool's worker goes to sleep."""
    return submit_against_park(1, 1, core, engine)


@scenario("P2", "I1", "I3", bound=2)
def two_submit_one_parks(core: Core, engine: Engine) -> AtEnd:
    """Two submits, while the pool's only worker goes to sleep."""
    return submit_against_park(2, 1, core, engine)


@scenario("P2", "I1", "I3", bound=2)
def one_submits_two_park(core: Core, engine: Engine) -> AtEnd:
    """A submit, while two workers go to sleep."""
    return submit_against_park(1, 2, core, engine)


@scenario("P2", "I1", "I3", stale=True)
def submit_against_spin(core: Core, engine: Engine) -> AtEnd:
    """A submit, while the worker looks around before it sleeps; submitters rely on that, and wake nobody."""
    world = World(core, engine)
    world.home.spin_secs = 2.5e-6  # two or three looks
    engine.thread("worker", world.looping(world.worker()), daemon=True)
    engine.thread("submitter", lambda: world.submit(world.tasks[0]))
    world.task()

    def at_end() -> None:
        world.at_rest()
        check(len(world.home.spin_token) == 1, "the spin's token is lost")

    return at_end


@scenario("P2", "I1", "I3", stale=True)
def submit_that_expects_its_worker(core: Core, engine: Engine) -> AtEnd:
    """A submit by a thread that has just seen a task end, and looks for its worker, which goes to sleep."""
    world = World(core, engine)
    core.idle.PATIENCE = 2
    engine.thread("worker", world.looping(world.worker()), daemon=True)

    def submitter() -> None:
        world.home.tally().saw_end = True
        world.submit(world.tasks[0])

    engine.thread("submitter", submitter)
    world.task()
    return world.at_rest


@scenario("P2", "I1", "I3", bound=2)
def two_tasks_against_spin(core: Core, engine: Engine) -> AtEnd:
    """Two submits and two workers, one of which may spin: it passes the second task on. The bodies need each other."""
    world = World(core, engine, seats=2)
    world.home.spin_secs = 1.5e-6
    for number in range(2):
        engine.thread(f"worker-{number}", world.looping(world.worker()), daemon=True)
    bells = core.idle.Bell(), core.idle.Bell()

    def meet(mine: Any, other: Any) -> None:
        other.ring()
        mine.wait()

    world.queued(world.task(), world.home.injector)  # who runs it has not just woken when it comes to spin
    first, second = world.task(partial(meet, *bells)), world.task(partial(meet, *reversed(bells)))

    def both() -> None:
        world.submit(first)
        world.submit(second)

    engine.thread("submitter", both)
    return world.at_rest


@scenario("P2", "I1", "I3", stale=True)
def submit_to_an_empty_seat(core: Core, engine: Engine) -> AtEnd:
    """Two threads submit the first tasks of a pool of one: one thread is started, or one and a record of another."""
    world = World(core, engine)
    engine.thread("first", partial(world.submit, world.task()))
    engine.thread("second", partial(world.submit, world.task()))
    return world.at_rest


# --- P3 -----------------------------------------------------------------------------------------------


@scenario("P3", "I2", "I1", stale=True)
def own_pop_against_steal(core: Core, engine: Engine) -> AtEnd:
    """The owner of a deque and a thief want its last task."""
    world = World(core, engine, seats=2)
    owner, thief = world.worker(), world.worker()
    world.queued(world.task(), owner.local)
    got: list[Any] = []

    def take(worker: Any) -> None:
        task = worker.search(worker.local)
        if task is not None:
            got.append(task)
            task.run_on(worker)

    engine.thread("owner", world.as_worker(owner, lambda: take(owner)))
    engine.thread("thief", world.as_worker(thief, lambda: take(thief)))

    def at_end() -> None:
        world.at_rest(idle=False)
        check(len(got) == 1, f"{len(got)} got it")

    return at_end


@scenario("P3", "I1", "I3", bound=3)
def thief_finds_what_the_owner_leaves(core: Core, engine: Engine) -> AtEnd:
    """A body submits two tasks; its worker and another one, both in their loops, run them."""
    world = World(core, engine, seats=2)
    owner, other = world.worker(), world.worker()
    second, third = None, None

    def spawn() -> None:
        world.submit(second)
        world.submit(third)

    world.queued(world.task(spawn), world.home.injector)
    second, third = world.task(), world.task()
    engine.thread("owner", world.looping(owner), daemon=True)
    engine.thread("other", world.looping(other), daemon=True)
    return world.at_rest


# --- P4 -----------------------------------------------------------------------------------------------


@scenario("P4", "I1", "I2", stale=True)
def wait_inline_against_thief(core: Core, engine: Engine) -> AtEnd:
    """A body waits for the task on top of its deque: it runs it inline, or a thief does."""
    world = World(core, engine, seats=2)
    owner, thief = world.worker(), world.worker()
    child = None
    parent = world.queued(world.task(lambda: world.wait(child)))
    child = world.queued(world.task(), owner.local)

    def steal() -> None:
        task = thief.search(thief.local)
        if task is not None:
            task.run_on(thief)

    engine.thread("owner", world.as_worker(owner, lambda: parent.run_on(owner)), daemon=True)
    engine.thread("thief", world.as_worker(thief, steal))
    return lambda: world.at_rest(idle=False)


@scenario("P4", "I1", "I3", bound=3)
def blocked_wait_lends_its_seat(core: Core, engine: Engine) -> AtEnd:
    """A body on a pool of one waits, with a timeout of its own, for a task that needs its seat."""
    world = World(core, engine)
    child = None
    parent = world.task(lambda: world.wait(child), timeout=1000.0)  # with a timeout it runs nothing inline
    child = world.task()

    def both() -> None:
        world.submit(parent)
        world.submit(child)

    engine.thread("worker", world.looping(world.worker()), daemon=True)
    engine.thread("submitter", both)
    return world.at_rest


@scenario("P4", "I1", bound=3)
def a_cycle_of_waits(core: Core, engine: Engine) -> AtEnd:
    """Two bodies wait for each other: at least one is told, and both end."""
    world = World(core, engine, seats=2)
    first, second = world.worker(), world.worker()
    told = world.told
    one = world.queued(world.task(partial(world.wait_or_be_told, 1), timeout=1000.0))
    other = world.queued(world.task(partial(world.wait_or_be_told, 0), timeout=1000.0))
    engine.thread("first", world.as_worker(first, lambda: one.run_on(first)))
    engine.thread("second", world.as_worker(second, lambda: other.run_on(second)))

    def at_end() -> None:
        world.at_rest(idle=False)
        check(told, "nobody was told")
        check(all("deadlock" in text for text in told), f"told something else: {told}")

    return at_end


@scenario("P4", bound=3)
def a_chain_of_waits(core: Core, engine: Engine) -> AtEnd:
    """A body waits for one that waits for a task which the first one's worker has run before: that is no cycle."""
    world = World(core, engine, seats=2)
    first, second = world.worker(), world.worker()
    told = world.told
    early = world.queued(world.task())
    middle = world.queued(
        world.task(partial(world.wait_or_be_told, 0), timeout=1000.0)
    )  # with a timeout it runs nothing inline
    late = world.queued(world.task(partial(world.wait_or_be_told, 1), timeout=1000.0))

    def run_two() -> None:
        early.run_on(first)
        late.run_on(first)

    engine.thread("first", world.as_worker(first, run_two))
    engine.thread("second", world.as_worker(second, lambda: middle.run_on(second)))

    def at_end() -> None:
        world.at_rest(idle=False)
        check(not told, f"a wait was refused: {told}")

    return at_end


# --- P5 -----------------------------------------------------------------------------------------------


def at_peace(world: World, worker: Any, thread: Any) -> None:
    """Nothing of an interrupt is left."""
    check(thread.sent is None, "an interrupt is still on its way")
    check(not worker.armed, f"the gate is open, or a mark stands in it: {worker.armed}")
    check(not worker.due, f"something is due: {worker.due}")
    check(worker.lock.owner is None, "the worker's lock stayed taken")
    check(worker.notice is None and not worker.was_hit, "a notice stayed")
    check(not worker.stack and not worker.shielded, "the stack is not empty")


def interrupted(
    core: Core,
    engine: Engine,
    body: Callable[[World], Any],
    *,
    urges: int = 1,
    told: "list[None] | None" = None,
    begin: Callable[[World], None] = lambda world: None,
) -> AtEnd:
    """A body that is cancelled and told to leave; then its worker runs another one, which must not notice."""
    world = World(core, engine, seats=2)
    worker = world.worker()
    begin(world)
    first = world.queued(world.task(lambda: body(world)))
    second = world.queued(world.task(place))

    def work() -> None:
        first.run_on(worker)
        second.run_on(worker)

    def tell() -> None:
        if not first.end(core.entries.CANCELLED):
            return
        for _ in range(urges):
            core._interrupt.urge(world.home, worker, first)
            if told is not None:
                told.append(None)
            engine.time += 0.06

    thread = engine.thread("worker", world.as_worker(worker, work))
    engine.thread("supervisor", tell)

    def at_end() -> None:
        world.at_rest(idle=False)
        at_peace(world, worker, thread)
        check(second._outcome()[0] == core.entries.SUCCEEDED, "an interrupt hit the wrong task")  # I4
        check(world.home.active_count() == 0, f"{world.home.active_count()} tasks are active")

    return at_end


@scenario("P5", "I4", interrupts=True)
def interrupt_against_finish(core: Core, engine: Engine) -> AtEnd:
    """A body ends while it is told to leave."""
    return interrupted(core, engine, lambda world: place())


@scenario("P5", "I4", interrupts=True)
def interrupt_twice_against_finish(core: Core, engine: Engine) -> AtEnd:
    """A body swallows what it is told, and is told again while it ends."""

    def body(world: World) -> None:
        try:
            place()
        except BaseException:
            pass

    return interrupted(core, engine, body, urges=2)


def interrupted_in_a_call(core: Core, engine: Engine, call: Callable[[World, Callable[[], None]], None]) -> AtEnd:
    """A body is told to leave while it is in a call of the library: that is not cut short, and then it leaves."""
    steps: list[int] = []
    survived: list[bool] = []

    def library() -> None:
        steps.append(1)
        place()
        steps.append(-1)

    def body(world: World) -> None:
        call(world, library)
        was_told = bool(told)
        place()
        survived.append(was_told)

    told: list[None] = ModelList()
    end = interrupted(core, engine, body, told=told)

    def at_end() -> None:
        end()
        check(sum(steps) == 0, "a call of the library was cut short")  # I4
        check(survived != [True], "it went on in its own code after it was told")  # I3

    return at_end


@scenario("P5", "I3", "I4", interrupts=True)
def interrupt_against_a_library_call(core: Core, engine: Engine) -> AtEnd:
    """A body is told to leave while it begins, makes, or ends a call of the library."""
    return interrupted_in_a_call(core, engine, lambda world, library: core.gate.masked(library))


@scenario("P5", "I3", "I4", interrupts=True)
def interrupt_against_a_shield(core: Core, engine: Engine) -> AtEnd:
    """What becomes due in a shield is raised at its end."""

    def shield(world: World, library: Callable[[], None]) -> None:
        worker = world.home.roster[0]
        closed = core.gate.close(worker)
        worker.shielded.append(worker.stack[-1])
        try:
            library()
        finally:
            worker.shielded.pop()
            if closed:
                core.gate.open_again(worker)

    return interrupted_in_a_call(core, engine, shield)


@scenario("P5", "I1", "I3", interrupts=True)
def interrupt_against_a_wait(core: Core, engine: Engine) -> AtEnd:
    """A body that waits for a task which nobody runs is told to leave: the wait ends, and leaves nothing behind."""

    def body(world: World) -> None:
        world.wait(never)

    world_of: list[World] = []
    never: Any = None

    def begin(world: World) -> None:
        nonlocal never
        world_of.append(world)
        never = world.task(timeout=1000.0)
        never._home = core.scheduler.Scheduler("other", "other", 1, None, "wait")
        never._home.staff = lambda opening: None
        world.tasks.pop()

    end = interrupted(core, engine, body, begin=begin)

    def at_end() -> None:
        end()
        check(not never._ledger, "the wait left its watcher behind")

    return at_end


@scenario("P5", "I1", "I8", interrupts=True, bound=2)
def abandon_against_return(core: Core, engine: Engine) -> AtEnd:
    """A body sits in C code; it is given up just as it comes back."""
    world = World(core, engine)
    worker = world.worker()
    sits = core.idle.Bell()
    stuck = world.queued(world.task(sits.wait))
    after = world.queued(world.task())

    def work() -> None:
        stuck.run_on(worker)
        worker.get_up()
        world.home.worker_ended(worker)

    def give_up() -> None:
        if stuck.end(core.entries.CANCELLED):
            core._interrupt.urge(world.home, worker, stuck)
            engine.time += 1.0
            core._interrupt.urge(world.home, worker, stuck)

    engine.thread("worker", world.as_worker(worker, work))
    engine.thread("supervisor", give_up)
    engine.thread("network", sits.ring)
    world.home.injector.append(after)

    def at_end() -> None:
        check(not worker.abandoned and worker.left[core.entries.GIVEN_UP] == 0, "still given up")
        check(worker.lock.owner is None, "the worker's lock stayed taken")
        if after._outcome() is not None:
            world.at_rest(idle=False)
            check(world.home.active_count() == 0, f"{world.home.active_count()} tasks are active")

    return at_end


@scenario("P5", "I3", interrupts=True, bound=2)
def deadline_against_sleep(core: Core, engine: Engine) -> AtEnd:
    """A body with a timeout begins while the supervisor goes to sleep: it wakes at the deadline."""
    world = World(core, engine)
    supervisor = core._supervisor.Supervisor()
    supervisor.adopt(world.home)
    supervisor._start()
    worker = world.worker()
    task = None

    def sit() -> None:
        bell = core.idle.Bell()
        if task._watch(core.entries.Waiter(bell)) is None:  # type: ignore[attr-defined]
            bell.wait()

    task = world.queued(world.task(sit, timeout=1.0))
    engine.thread("worker", world.as_worker(worker, lambda: task.run_on(worker)))

    def at_end() -> None:
        check(task._outcome()[0] == core.entries.TIMED_OUT, "it did not time out")

    return at_end


# --- P6 -----------------------------------------------------------------------------------------------


def shutdown_against_submit(cancel_pending: bool, core: Core, engine: Engine) -> AtEnd:
    world = World(core, engine)
    engine.thread("worker", world.looping(world.worker()))
    engine.thread("submitter", partial(world.submit, world.task()))
    ended: list[bool] = []
    engine.thread("stopper", lambda: ended.append(world.home.drain.run(None, cancel_pending)))

    def at_end() -> None:
        world.at_rest()
        check(ended == [True], "the shutdown gave up")
        check(world.refused or world.tasks[0]._outcome() is not None, "neither refused nor finished")

    return at_end


@scenario("P6", "I1", "I3", bound=2)
def submit_against_shutdown(core: Core, engine: Engine) -> AtEnd:
    """A submit races with a shutdown that runs what is pending; the worker ends."""
    return shutdown_against_submit(False, core, engine)


@scenario("P6", "I1", "I3", bound=2)
def submit_against_shutdown_that_drops(core: Core, engine: Engine) -> AtEnd:
    """A submit races with a shutdown that cancels what is pending; the worker ends."""
    return shutdown_against_submit(True, core, engine)


@scenario("P6", "I1", stale=True)
def submit_against_stop(core: Core, engine: Engine) -> AtEnd:
    """The last step of a shutdown alone: the submit is refused, or its task cancelled; nobody looks any more."""
    world = World(core, engine)
    world.home.idle.clear()  # as if all were at work: nobody is there, and nobody can be woken
    engine.thread("submitter", partial(world.submit, world.task()))
    engine.thread("stopper", world.home.drain.stop)

    def at_end() -> None:
        world.at_rest()
        check(world.refused or world.tasks[0]._outcome() is not None, "neither refused nor finished")

    return at_end


@scenario("P6", "I1", "I3", bound=2)
def shutdown_from_inside(core: Core, engine: Engine) -> AtEnd:
    """A body shuts its pool down, and waits neither for itself nor for ever."""
    world = World(core, engine)
    ended: list[bool] = []
    world.queued(world.task(lambda: ended.append(world.home.drain.run(None, False))), world.home.injector)
    engine.thread("worker", world.looping(world.worker()))
    engine.thread("submitter", partial(world.submit, world.task()))

    def at_end() -> None:
        world.at_rest()
        check(ended == [True], "the shutdown gave up")

    return at_end


# --- resizing, bounded pools --------------------------------------------------------------------------


@scenario("P2", "I1", "I3", bound=1)
def shrink_against_submit(core: Core, engine: Engine) -> AtEnd:
    """A pool of two shrinks to one while a task is submitted."""
    world = World(core, engine, seats=2)
    for number in range(2):
        engine.thread(f"worker-{number}", world.looping(world.worker()), daemon=True)
    engine.thread("resizer", lambda: world.home.resize(1))
    engine.thread("submitter", partial(world.submit, world.task()))

    def at_end() -> None:
        world.at_rest()
        check(len(world.home.seats) == 1, f"{len(world.home.seats)} seats")

    return at_end


@scenario("P4", "I1", bound=3)
def shrink_from_inside(core: Core, engine: Engine) -> AtEnd:
    """A body shrinks its pool so that its own seat goes, submits to its deque, and waits."""
    world = World(core, engine, seats=2)
    worker = world.worker()
    inner = None

    def spawn() -> None:
        world.home.resize(1)
        world.submit(inner)
        world.wait(inner)

    world.queued(world.task(spawn, timeout=1000.0), world.home.injector)  # with a timeout it runs nothing inline
    inner = world.task()
    engine.thread("worker", world.looping(worker), daemon=True)
    return world.at_rest


@scenario("P2", "P4", "I1", "I3", bound=1)
def shrink_against_an_inner_submit(core: Core, engine: Engine) -> AtEnd:
    """A pool of two shrinks to one while the body on the seat that goes submits to its own deque, and waits."""
    world = World(core, engine, seats=2)
    worker = world.worker()
    check(worker.seat is world.home.seats[1], "the first worker sits on another seat")
    inner = None

    def spawn() -> None:
        world.submit(inner)
        world.wait(inner)

    world.queued(world.task(spawn, timeout=1000.0), world.home.injector)  # with a timeout it runs nothing inline
    inner = world.task()
    engine.thread("worker", world.looping(worker), daemon=True)
    engine.thread("resizer", lambda: world.home.resize(1))
    return world.at_rest


@scenario("P2", "I1", "I3")
def room_against_start(core: Core, engine: Engine) -> AtEnd:
    """A submit waits for room in a pool that holds one task, while a worker takes that one."""
    world = World(core, engine, max_pending=1)
    world.queued(world.task(), world.home.injector)
    engine.thread("worker", world.looping(world.worker()), daemon=True)
    engine.thread("submitter", partial(world.submit, world.task()))
    return world.at_rest


@scenario("P2", "P6", "I1", "I3", bound=3)
def room_against_shutdown(core: Core, engine: Engine) -> AtEnd:
    """A submit waits for room while the pool is shut down and its only pending task is dropped."""
    world = World(core, engine, max_pending=1)
    world.queued(world.task(), world.home.injector)
    engine.thread("submitter", partial(world.submit, world.task()))
    engine.thread("stopper", lambda: world.home.drain.run(None, True))

    def at_end() -> None:
        world.at_rest()
        check(world.refused or world.tasks[1]._outcome() is not None, "neither refused nor finished")

    return at_end


@scenario("P2", "I3", bound=2)
def two_wait_for_room(core: Core, engine: Engine) -> AtEnd:
    """Two submits wait for one permit each, and two permits come back."""
    world = World(core, engine, max_pending=2)
    pending = [world.queued(world.task()), world.queued(world.task())]
    world.home.staff = lambda opening: None
    engine.thread("first", partial(world.submit, world.task()))
    engine.thread("second", partial(world.submit, world.task()))

    def free() -> None:
        for task in pending:
            task.end(core.entries.CANCELLED)

    engine.thread("canceller", free)

    def at_end() -> None:
        check(not world.home.room._waiters, "a bell stayed")
        check([1, 1] == [len(task._terms.permit) for task in world.tasks[2:]], "a permit is missing")

    return at_end
