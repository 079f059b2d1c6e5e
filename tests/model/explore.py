"""Explores the interleavings of threads, one run after another.

What it is: a stateless model checker. The threads of a run are real ones, but only one runs at a time, and before each
shared operation it asks here who goes on. A run is a list of choices; the next run repeats a beginning of
the last one and then chooses otherwise.

Guarantees: every behaviour is covered that any interleaving of the shared operations has (sequentially consistent, see
`stale` for more). Of interleavings that differ only in the order of independent operations, usually one is run:
dynamic partial-order reduction (Flanagan and Godefroid, POPL 2005) with sleep sets (Godefroid 1996).

Assumes: a run is deterministic but for the choices made here.
"""

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: How an operation uses its object. Two operations on one object are dependent unless READ meets READ, or RING meets
#: RING. RELEASE orders, but is never in a race: nobody could have come before it.
READ, WRITE, ACQUIRE, RELEASE, RING, WAIT, TIMED_WAIT = range(7)
MODES = ("reads", "writes", "takes", "releases", "rings", "waits for", "waits a while for")

#: No run of a scenario comes near it: one that does, loops.
MAX_STEPS = 20_000
#: How many waits of a run may end by their timeout while somebody else could go on; more only when nobody can.
EARLY_TIMEOUTS = 3

Op = tuple[int, int]


class Unwind(BaseException):
    """Ends a thread of a run that is over."""


class Violation(AssertionError):
    """A run broke a promise."""


class ModelThread:
    """A thread of one run; what `new_thread` returns."""

    def __init__(self, engine: "Engine", name: str, function: Callable[[], object], daemon: bool) -> None:
        self.engine = engine
        self.name = name
        self.function = function
        #: May sleep for ever when everybody else has ended.
        self.daemon = daemon
        self.index = -1
        self.ident = 0
        self.op: Op = (0, READ)
        self.is_enabled: Callable[[], bool] | None = None
        self.is_done = False
        self.go = threading.Lock()
        self.go.acquire()
        #: The exception class that was sent to it and has not arrived.
        self.sent: type[BaseException] | None = None
        #: Of each thread, how much of what it did is visible here; for stale reads.
        self.clock: dict[int, int] = {}
        self.place = ""

    def start(self) -> None:
        self.engine.point(self, RELEASE)
        self.engine.add(self)

    def join(self, timeout: float | None = None) -> None:
        self.engine.point(self, WAIT, lambda: self.is_done)

    def is_alive(self) -> bool:
        return not self.is_done


@dataclass(slots=True)
class Node:
    """A choice in the current run, and what was tried in its place."""

    enabled: tuple[int, ...]
    chosen: int
    op: Op
    #: Threads whose turn leads to nothing new, with what they would do.
    sleep: dict[int, Op]
    backtrack: set[int]
    done: dict[int, Op] = field(default_factory=dict)
    #: For the choice of a value instead of a thread: how many there are.
    values: int = 0
    was_set: bool = False


@dataclass(slots=True)
class Report:
    """What an exploration found."""

    name: str
    schedules: int = 0
    pruned: int = 0
    steps: int = 0
    is_complete: bool = False


class Engine:
    """Runs threads by turns, and remembers who did what."""

    def __init__(self) -> None:
        self.is_active = False
        self.stale = False
        self.interrupts = False
        self.verbose = False
        self.is_loading = False
        self._os_threads: list[tuple[threading.Lock, list[ModelThread]]] = []
        self.reset()

    def reset(self) -> None:
        self.threads: list[ModelThread] = []
        self.nodes: list[Node] = []
        self.prefix: list[int] = []
        self.current: ModelThread | None = None
        self.sleep: dict[int, Op] = {}
        self.names: dict[Any, int] = {}
        self.kept: list[Any] = []
        self.clocks: dict[int, dict[int, int]] = {}
        self.histories: dict[Any, Any] = {}
        self.time = 0.0
        self.timeouts_left = EARLY_TIMEOUTS
        self.is_over = False
        self.was_pruned = False
        self.failure: BaseException | None = None
        self.finished: set[int] = set()
        self.log: list[str] = []
        self.back = threading.Lock()
        self.back.acquire()

    # --- threads ---------------------------------------------------------------------------------

    def thread(self, name: str, function: Callable[[], object], *, daemon: bool = False) -> ModelThread:
        """Make a thread, and let it take part from now on."""
        thread = ModelThread(self, name, function, daemon)
        self.add(thread)
        return thread

    def add(self, thread: ModelThread) -> None:
        thread.index = len(self.threads)
        thread.ident = 100 + thread.index
        self.threads.append(thread)
        thread.op = (self._name(thread), WAIT)  # its first step: dependent on its start alone
        thread.is_enabled = None
        if self.current is not None:
            thread.clock = dict(self.current.clock)
        if self._os_threads:
            wake, job = self._os_threads.pop()
            job.append(thread)
            wake.release()
        else:
            wake, job = threading.Lock(), [thread]
            threading.Thread(target=self._serve, args=(wake, job), daemon=True).start()

    def _serve(self, wake: threading.Lock, job: list[ModelThread]) -> None:
        wake.acquire()
        while True:
            if job:
                thread = job.pop()
                self._run(thread)
                self._os_threads.append((wake, job))
                self._hand_over(thread)
            wake.acquire()

    def _run(self, thread: ModelThread) -> None:
        thread.go.acquire()
        try:
            if not self.is_over:
                thread.function()
                self.point(thread, RELEASE)
        except Unwind:
            pass
        except BaseException as error:
            if not self.is_over and self.failure is None:
                self.failure = error
        thread.is_done = True

    def _hand_over(self, thread: ModelThread) -> None:
        """A thread has ended: the next one's turn, or the explorer's."""
        successor = None if self.is_over or self.failure else self._choose(None)
        if successor is None:
            self.back.release()
        else:
            self.current = successor
            successor.go.release()

    # --- points ----------------------------------------------------------------------------------

    def point(self, thing: Any, mode: int, is_enabled: Callable[[], bool] | None = None, part: str = "") -> None:
        """The running thread is about to do something to a shared object: whose turn is it?"""
        me = self.current
        if not self.is_active or me is None:
            return
        if self.is_over:
            raise Unwind
        me.op = (self._name(thing, part), mode)
        me.is_enabled = is_enabled
        if self.verbose:
            self._note_place(me, thing, mode, part)
        successor = self._choose(me)
        if successor is not me:
            if successor is None:
                self.back.release()
            else:
                self.current = successor
                successor.go.release()
            me.go.acquire()
            if self.is_over:
                raise Unwind
        me.is_enabled = None
        if self.verbose:
            self.log.append(me.place)

    def choice(self, values: int) -> int:
        """One of `values` numbers: all are explored, 0 first."""
        me = self.current
        if not self.is_active or me is None or values < 2:
            return 0
        if self.is_over:
            raise Unwind
        step = len(self.nodes)
        chosen = self.prefix[step] if step < len(self.prefix) else 0
        self.nodes.append(Node((), chosen, (0, READ), dict(self.sleep), set(), values=values))
        if self.verbose and chosen:
            self.log.append(f"{me.name:<12} ... sees an older value: {chosen} before the newest")
        return chosen

    def _name(self, thing: Any, part: str = "") -> int:
        """A number for an object, or for a part of it, that is the same in all runs that begin alike."""
        key = (id(thing), part)
        number = self.names.get(key)
        if number is None:
            number = self.names[key] = len(self.names) + 1
            self.kept.append(thing)  # so that no other object gets its id
        return number

    def _choose(self, me: ModelThread | None) -> ModelThread | None:
        """Whose turn it is; None if nobody can go on, or nobody need."""
        step = len(self.nodes)
        enabled = tuple(
            [
                thread.index
                for thread in self.threads
                if not thread.is_done and (thread.is_enabled is None or thread.is_enabled())
            ]
        )
        late = [index for index in enabled if self.threads[index].op[1] == TIMED_WAIT and self.timeouts_left <= 0]
        if late and (len(late) < len(enabled) or all(thread.is_done or thread.daemon for thread in self.threads)):
            enabled = tuple([index for index in enabled if index not in late])
        if not enabled:
            return None
        sleep = self.sleep
        if step < len(self.prefix):
            index = self.prefix[step]
            if index not in enabled:
                self.failure = Violation(f"thread {index} can't take step {step}: the scenario is not deterministic")
                return None
        else:
            awake = [index for index in enabled if index not in sleep] if sleep else enabled
            if not awake:
                self.was_pruned = True
                return None
            index = me.index if me is not None and me.index in awake else awake[0]
            if step > MAX_STEPS:
                self.failure = Violation(f"a run of more than {MAX_STEPS} steps")
                return None
        thread = self.threads[index]
        if step >= len(self.prefix) - 1:
            if step >= len(self.prefix):
                self.nodes.append(Node(enabled, index, thread.op, sleep, {index}))
            else:
                self.nodes.append(Node(enabled, index, thread.op, sleep, set()))
            if sleep:
                self.sleep = {other: op for other, op in sleep.items() if not dependent(op, thread.op)}
        else:
            self.nodes.append(Node(enabled, index, thread.op, {}, set()))
        return thread

    def _note_place(self, me: ModelThread, thing: Any, mode: int, part: str) -> None:
        frame = sys._getframe(2)
        while frame.f_back is not None and "/model/" in frame.f_code.co_filename:
            frame = frame.f_back
        what = f"{type(thing).__name__}{'.' + part if part else ''} #{me.op[0]}"
        file = frame.f_code.co_filename.rpartition("/")[2]
        me.place = f"{me.name:<12} {file}:{frame.f_lineno} {frame.f_code.co_name}: {MODES[mode]} {what}"

    # --- one run ---------------------------------------------------------------------------------

    def run(self, prefix: list[int], sleep: dict[int, Op], scenario: Callable[["Engine"], Callable[[], None]]) -> None:
        """Make one run; `scenario` sets it up, and returns what must hold at its end."""
        verbose = self.verbose
        self.reset()
        self.prefix, self.sleep = prefix, sleep
        at_end = scenario(self)
        self.is_active = True
        successor = self._choose(None)
        assert successor is not None
        self.current = successor
        successor.go.release()
        self.back.acquire()
        self.is_active = False
        stuck = [thread for thread in self.threads if not thread.is_done]
        self.finished = {thread.index for thread in self.threads if thread.is_done}
        blocked = [thread.name for thread in stuck if not thread.daemon]
        self.is_over = self.is_active = True
        for thread in stuck:
            self.current = thread
            thread.go.release()
            self.back.acquire()
        self.is_active = False
        self.current = None
        self.verbose = verbose
        if self.failure is not None:
            raise self.failure
        if self.was_pruned:
            return
        if blocked:
            raise Violation(f"nobody can go on, and {', '.join(blocked)} did not end")
        at_end()


def dependent(one: Op, other: Op) -> bool:
    """True if the order of two operations may make a difference."""
    if one[0] != other[0]:
        return False
    pair = (one[1], other[1])
    return pair not in {(READ, READ), (RING, RING)}


def find_races(engine: Engine, bounded: bool) -> None:
    """Mark in the run's nodes where another order of two dependent operations is still to be tried.

    With a bound on preemptions, also where the thread that is to be overtaken had begun its turn, since to go first
    there may cost no preemption (Coons, Musuvathi and McKinley, OOPSLA 2013).
    """
    nodes, threads = engine.nodes, engine.threads
    users: dict[int, set[int]] = {}
    for node in nodes:
        users.setdefault(node.op[0], set()).add(node.chosen)
    pending = [(thread.index, thread.op) for thread in threads if thread.index not in engine.finished]
    for index, op in pending:
        users.setdefault(op[0], set()).add(index)
    clocks: list[dict[int, int]] = [{} for _ in threads]
    accesses: dict[int, list[tuple[int, int, int, dict[int, int]]]] = {}  # of an object: step, thread, mode, clock
    for step, node in enumerate(nodes):
        if node.values or len(users[node.op[0]]) < 2:
            if not node.values:
                clocks[node.chosen][node.chosen] = step
            continue
        mine = clocks[node.chosen]
        _find(nodes, step, node.chosen, node.op, mine, accesses, bounded)
        for _, _, mode, clock in accesses.get(node.op[0], ()):
            if dependent((0, mode), (0, node.op[1])):
                for index, known in clock.items():
                    if known > mine.get(index, -1):
                        mine[index] = known
        mine[node.chosen] = step
        before = accesses.setdefault(node.op[0], [])
        # Of each thread and mode, the last use is enough: the earlier ones come before it.
        before[:] = [entry for entry in before if (entry[1], entry[2]) != (node.chosen, node.op[1])]
        before.append((step, node.chosen, node.op[1], dict(mine)))
    for index, op in pending:
        _find(nodes, len(nodes), index, op, clocks[index], accesses, bounded)


def _find(nodes: list[Node], step: int, index: int, op: Op, mine: dict[int, int], accesses: Any, bounded: bool) -> None:
    if op[1] == RELEASE:
        return
    for earlier, other, mode, _ in accesses.get(op[0], ()):
        if other == index or mode == RELEASE or not dependent((0, mode), (0, op[1])):
            continue
        if earlier <= mine.get(other, -1):
            continue  # it happened before
        node = nodes[earlier]
        if mode == RING and op[1] == WAIT and not node.was_set:
            continue  # without that ring there was nothing to wait for
        if bounded:
            begin = earlier
            while begin > 0 and (nodes[begin - 1].values or nodes[begin - 1].chosen == node.chosen):
                begin -= 1
            if not nodes[begin].values:
                nodes[begin].backtrack.update({index} & set(nodes[begin].enabled) or nodes[begin].enabled)
        if index in node.enabled:
            node.backtrack.add(index)
            continue
        # Who leads to us, if anybody does; else everybody.
        leaders = {
            nodes[later].chosen
            for later in range(earlier + 1, min(step, len(nodes)))
            if not nodes[later].values
            and nodes[later].chosen in node.enabled
            and later <= mine.get(nodes[later].chosen, -1)
        }
        if not leaders & node.backtrack:
            node.backtrack.update([min(leaders)] if leaders else node.enabled)


def schedules(
    engine: Engine,
    name: str,
    scenario: Callable[[Engine], Callable[[], None]],
    bound: int | None = None,
    limit: int | None = None,
    reduce: bool = True,
) -> Iterator[Report]:
    """Run every schedule; yields the report so far after each. With `bound`, those with so many preemptions at most.

    Without `reduce` nothing is left out, not even what differs in the order of independent operations only.

    Raises:
        Violation: a run broke a promise; its number is `report.schedules`.
    """
    report = Report(name)
    path: list[Node] = []
    prefix: list[int] = []
    sleep: dict[int, Op] = {}
    gc.disable()
    try:
        while True:
            report.schedules += 1
            try:
                engine.run(prefix, sleep, scenario)
            except BaseException as error:
                error.add_note(f"in schedule {report.schedules} of {name}")
                raise
            if engine.was_pruned:
                report.schedules -= 1
                report.pruned += 1
            report.steps += len(engine.nodes)
            # The run's nodes up to the prefix's end are the path's, with what was tried there before.
            for step in range(min(len(path), len(prefix))):
                old, new = path[step], engine.nodes[step]
                new.backtrack |= old.backtrack
                new.done, new.sleep = old.done, old.sleep
            path = engine.nodes
            if reduce:
                find_races(engine, bound is not None)
            else:
                for node in path:
                    node.backtrack.update(node.enabled)
            yield report
            while path:
                node = path[-1]
                if node.values:
                    if node.chosen + 1 < node.values:
                        prefix = [other.chosen for other in path]
                        prefix[-1] += 1
                        sleep = node.sleep
                        break
                else:
                    node.done[node.chosen] = node.op
                    left = sorted(node.backtrack - node.done.keys() - node.sleep.keys())
                    if left and bound is not None:
                        spent = _preemptions(path[:-1])
                        left = [index for index in left if spent + _is_preemption(path[:-1], node, index) <= bound]
                    if left:
                        node.chosen = left[0]
                        prefix = [other.chosen for other in path]
                        # What a sleeping thread would lead to was seen elsewhere; unless the bound hid it there.
                        sleep = {} if bound is not None or not reduce else {**node.sleep, **node.done}
                        break
                path.pop()
            if not path or (limit is not None and report.schedules >= limit):
                report.is_complete = not path
                yield report
                return
    finally:
        gc.enable()


def _is_preemption(before: list[Node], node: Node, index: int) -> bool:
    """True if `index` goes on at a node where the thread that was running could have."""
    for earlier in reversed(before):
        if not earlier.values:
            return earlier.chosen != index and earlier.chosen in node.enabled
    return False


def _preemptions(path: list[Node]) -> int:
    running, count = -1, 0
    for node in path:
        if not node.values:
            count += node.chosen != running and running in node.enabled
            running = node.chosen
    return count
