"""A discrete-event simulation of the scheduler, for more cores than there are here; `simulate.py` asks it.

Workers and submitters are generators, and each word that several of them write (a lock, an
object's reference count) serves one at a time, dearer when another core had it before. Prices are
measured (`costs.py`); how often a step touches which word is counted in the source. Left out: the collector's stops,
the memory's bandwidth, clock speeds, and that a word gets dearer with the number and the distance of the cores.
"""

import heapq
import random
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count

#: A process gives the moment at which it goes on; None: when somebody wakes it.
Process = Generator[float | None]
#: The words that a step touches, in this order. "ref": a reference is counted up and down; "lock": a locked operation.
Path = tuple[tuple[str, str], ...]
MS, US = 1e6, 1e3
#: A worker looks around for so long before it sleeps; a block of a map takes so long, and grows so fast.
SPIN, BLOCK, GROWTH, HELPERS = 100 * US, 1 * MS, 8, 2


def path(*touches: tuple[str, str, int]) -> Path:
    return tuple((word, kind) for word, kind, times in touches for _ in range(times))


# What is counted: every load of a shared object in the source, on the way of a plain task. `home` is the scheduler,
# `call` the decorated function or a map's Call, `threads` the dict of workers, `local` the deque of a seat.
_CALL = (("call", "ref", 5), ("pool", "ref", 1), ("threads", "ref", 1), ("home", "ref", 5))
_LOOK = (("home", "ref", 1), ("idle", "ref", 1), ("home", "ref", 1))
SUBMIT = path(
    *_CALL, ("tallies", "ref", 1), ("home", "ref", 1), ("injector", "ref", 2), ("injector", "lock", 1), *_LOOK
)  # fmt: skip
SPAWN = path(*_CALL, ("local", "lock", 1), *_LOOK)
JOIN = path(("threads", "ref", 1), ("home", "ref", 3), ("local", "lock", 1))
TAKE = path(("home", "ref", 2), ("injector", "ref", 3), ("injector", "lock", 1))
STEAL = path(("home", "ref", 2), ("seats", "ref", 2), ("local", "lock", 1))
PARK = path(("home", "ref", 3), ("idle", "ref", 1), ("idle", "lock", 2), ("injector", "lock", 1))
TAKE_BLOCK = path(
    ("threads", "ref", 2), ("blocks", "ref", 12), ("blocks", "lock", 1), ("call", "ref", 6), ("home", "ref", 1),
    ("blocks", "ref", 3), ("results", "ref", 1), ("results", "lock", 1), ("context", "ref", 2), ("items", "ref", 2),
)  # fmt: skip


@dataclass(frozen=True)
class Costs:
    """Nanoseconds, with nobody in the way."""

    submit: float
    run: float
    spawn_join: float
    block: float
    item: float
    wake: float
    latency: float
    alone: dict[str, float]
    moved: dict[str, float]


@dataclass(frozen=True)
class Setup:
    """What is simulated."""

    workers: int
    submitters: int  # threads outside, on cores of their own; 0: the work begins inside a worker
    size: float  # ns of a task, or of an item of a map
    tasks: int
    is_map: bool = False
    shards: int = 1  # of the injector and the idle deque
    own_references: bool = False  # each thread reaches the shared words by objects of its own
    seed: int = 1


class Word:
    """One cache line that several cores write: serves one at a time, in the order of the requests."""

    def __init__(self) -> None:
        self.free = self.busy = 0.0
        self.last: object = None

    def use(self, who: object, now: float, alone: float, moved: float) -> float:
        """The moment at which `who` has done its operation."""
        price = alone if self.last is who else moved
        self.free = max(now, self.free) + price
        self.busy += price
        self.last = who
        return self.free


class Simulation:
    """One pool, from the first submit to the last task's end."""

    def __init__(self, costs: Costs, setup: Setup) -> None:
        self.costs, self.setup = costs, setup
        self.random = random.Random(setup.seed)
        self.now, self.done = 0.0, 0
        self.left = setup.tasks  # items of a map that nobody has taken
        self.is_over = False
        self.events: list[tuple[float, int, Process]] = []
        self.order = count()
        self.words: dict[tuple[str, int], Word] = {}
        self.injectors: list[deque[int]] = [deque() for _ in range(setup.shards)]
        self.locals: list[deque[int]] = [deque() for _ in range(setup.workers)]
        self.processes = [self.worker(me) for me in range(setup.workers)]
        self.idle: list[list[int]] = [list(range(shard, setup.workers, setup.shards)) for shard in range(setup.shards)]
        self.spinning = False
        self.helpers = 1

    def run(self) -> float:
        """The efficiency: the share of the workers' time that went into bodies."""
        setup = self.setup
        if setup.submitters:
            share, rest = divmod(setup.tasks, setup.submitters)
            for me in range(setup.submitters):
                self.resume(self.submitter(setup.workers + me, share + (me < rest)), 0.0)
        else:
            self.idle[0].remove(0)
            self.locals[0].append(setup.tasks)
            self.resume(self.processes[0], 0.0)
        while self.events and not self.is_over:
            self.now, _, process = heapq.heappop(self.events)
            until = next(process, None)
            if until is not None:
                heapq.heappush(self.events, (until, next(self.order), process))
        assert self.is_over, "everybody sleeps, and there is work"
        return setup.tasks * setup.size / (setup.workers * self.now)

    def busiest(self) -> tuple[str, float]:
        """The word that served most of the time, and the share of it."""
        (name, _), word = max(self.words.items(), key=lambda entry: entry[1].busy)
        return name, word.busy / self.now

    def resume(self, process: Process, at: float) -> None:
        heapq.heappush(self.events, (at, next(self.order), process))

    def step(self, me: int, words: Path, cost: float, at: int = 0) -> Iterator[float]:
        """Do a step of the library: its own work, evenly between the words that it touches. `at`: whose deque."""
        costs = self.costs
        if self.setup.own_references:
            words = tuple(touch for touch in words if touch[1] == "lock")
        gap = max(0.0, cost - sum(costs.alone[kind] for _, kind in words)) / (len(words) + 1)
        yield self.now + gap
        for name, kind in words:
            place = at if name == "local" else me % self.setup.shards if name in {"injector", "idle"} else 0
            word = self.words.get((name, place)) or self.words.setdefault((name, place), Word())
            yield word.use(me, self.now, costs.alone[kind], costs.moved[kind]) + gap

    def wake_one(self, me: int) -> Iterator[float]:
        """Wake a sleeper: of our own shard, or else of any other."""
        own = me % self.setup.shards
        shard = own if self.idle[own] else next((other for other, idle in enumerate(self.idle) if idle), own)
        if self.idle[shard] and not self.spinning:
            sleeper = self.idle[shard].pop()
            yield self.now + self.costs.wake
            self.resume(self.processes[sleeper], self.now + self.costs.latency)

    def submitter(self, me: int, tasks: int) -> Process:
        for _ in range(tasks):
            yield from self.step(me, SUBMIT, self.costs.submit)
            self.injectors[me % self.setup.shards].append(1)
            yield from self.wake_one(me)

    def worker(self, me: int) -> Process:
        fresh, own = True, self.locals[me]
        while not self.is_over:
            task, stolen = 0, False
            if own:
                yield from self.step(me, JOIN, self.costs.spawn_join / 2, me)
                task = own.pop() if own else 0
            elif injector := self.nonempty(me):
                yield from self.step(me, TAKE, self.costs.run)
                task = injector.popleft() if injector else 0
            else:
                yield self.now + 40 * len(self.locals)  # a look at each seat
                victim = self.victim()
                if victim is not None:
                    yield from self.step(me, STEAL, 300, victim)
                    task = self.locals[victim].popleft() if self.locals[victim] else 0
                    stolen = task > 0
                elif not self.spinning:
                    yield from self.spin(me)
                    fresh = True
                    if not self.has_work():
                        yield from self.park(me)
                else:
                    fresh = True
                    yield from self.park(me)
            if task:
                if fresh and self.has_work():
                    yield from self.wake_one(me)
                fresh = False
                yield from self.block_loop(me) if self.setup.is_map else self.body(me, task)
                if stolen and not self.setup.submitters:  # whoever waits for it sleeps, and somebody has its seat
                    yield self.now + self.costs.wake

    def spin(self, me: int) -> Iterator[float]:
        self.spinning = True
        until = self.now + SPIN
        while self.now < until and not self.has_work() and not self.is_over:
            yield from self.step(me, (("home", "ref"), ("injector", "ref")), 150 + 60 * len(self.locals))
        self.spinning = False

    def park(self, me: int) -> Iterator[float | None]:
        """Announce, look again, sleep. Here the last two are one moment, so that no wake-up is lost."""
        yield from self.step(me, PARK, 500 + 50 * len(self.locals))
        if not self.has_work():
            self.idle[me % self.setup.shards].append(me)
            yield None

    def body(self, me: int, leaves: int) -> Iterator[float]:
        """A task: spawn half of the leaves until one is left, and be that one."""
        while leaves > 1:
            yield from self.step(me, SPAWN, self.costs.spawn_join / 2, me)
            self.locals[me].append(leaves // 2)
            leaves -= leaves // 2
            yield from self.wake_one(me)
        yield self.now + self.setup.size * self.random.uniform(0.8, 1.2)
        self.done += 1
        self.is_over = self.done >= self.setup.tasks

    def block_loop(self, me: int) -> Iterator[float]:
        """A task of a map: ask for helpers, then run blocks until there are none."""
        setup, size, first = self.setup, 1, True
        while True:
            yield from self.step(me, TAKE_BLOCK, self.costs.block)
            items = min(size, self.left // (2 * setup.workers) or 1, self.left)
            if not items:
                return
            self.left -= items
            for _ in range(HELPERS * first):
                if self.helpers < setup.workers:
                    self.helpers += 1
                    yield from self.step(me, SPAWN, self.costs.spawn_join / 2, me)
                    self.locals[me].append(1)
                    yield from self.wake_one(me)
            first = False
            yield self.now + items * (setup.size + self.costs.item)
            size = max(1, min(items * GROWTH, int(BLOCK / (setup.size + self.costs.item))))
            self.done += items
            self.is_over = self.done >= setup.tasks

    def nonempty(self, me: int) -> "deque[int] | None":
        """An injector with a task, our own shard's first."""
        own = me % self.setup.shards
        return next((queue for queue in self.injectors[own:] + self.injectors[:own] if queue), None)

    def victim(self) -> int | None:
        """A seat with something to steal, looking around from a random one."""
        seats = len(self.locals)
        start = self.random.randrange(seats)
        return next((seat % seats for seat in range(start, start + seats) if self.locals[seat % seats]), None)

    def has_work(self) -> bool:
        return any(self.injectors) or any(self.locals)
