"""What the words that workers share cost, and what the library's own steps cost: the parameters of `simulate.py`.

Measured on this machine, three ways: one thread alone; two threads that do nothing else (then one often has the word
for many operations in a row); and two with pauses, so that the word has been with the other core in between. The last
is what a step of the library pays. Two cores can't tell how much dearer it gets with more of them, or with a second
socket: `simulate.py --factor` asks what if.
"""

import threading
import time
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from itertools import repeat
from statistics import median
from typing import Any

import makeparallel as mp

#: Does so many operations on a shared thing.
Loop = Callable[[Any, int], None]
#: Operations in a loop, without and with pauses: some milliseconds.
COUNT, SPACED = 200_000, 20_000
#: How long the pauses are, in rounds of an empty loop: about 0.25 µs.
PAUSE = 50
NS = 1e9


class Thing:
    """A shared object with an attribute, as the scheduler is one."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[object] = deque()


def nothing(shared: object, count: int) -> None:
    for _ in repeat(None, count):
        pass


def reference(shared: object, count: int) -> None:
    for _ in repeat(None, count):
        shared  # noqa: B018  # pushed and dropped: the reference is counted up and down


def attribute(shared: Thing, count: int) -> None:
    for _ in repeat(None, count):
        shared.queue  # noqa: B018  # two references: the object's, and the queue's


def append_popleft(shared: "deque[object]", count: int) -> None:
    append, popleft = shared.append, shared.popleft
    for _ in repeat(None, count):
        append(None)
        popleft()


def rotate(shared: "deque[object]", count: int) -> None:
    turn = shared.rotate
    for _ in repeat(None, count):
        turn(0)


def list_append_pop(shared: "list[object]", count: int) -> None:
    append, pop = shared.append, shared.pop
    for _ in repeat(None, count):
        append(None)
        pop()


def list_slice(shared: "list[object]", count: int) -> None:
    for _ in repeat(None, count):
        shared[:]


def dict_get(shared: "dict[int, object]", count: int) -> None:
    get = shared.get
    for _ in repeat(None, count):
        get(1)


def lock(shared: Any, count: int) -> None:
    for _ in repeat(None, count):
        with shared:
            pass


def ident(shared: object, count: int) -> None:
    for _ in repeat(None, count):
        get_ident()


#: For each operation: the loop, what it shares, how many operations are in one step.
OPERATIONS: dict[str, tuple[Loop, Callable[[], object], int]] = {
    "reference": (reference, object, 1),
    "attribute": (attribute, Thing, 1),
    "deque.append, popleft": (append_popleft, lambda: deque([None] * 8), 2),
    "deque.rotate(0)": (rotate, deque, 1),
    "list.append, pop": (list_append_pop, lambda: [None] * 8, 2),
    "list[:]": (list_slice, lambda: [None] * 2, 1),
    "dict.get": (dict_get, lambda: {1: None}, 1),
    "lock": (lock, allocate_lock, 1),
    "get_ident": (ident, lambda: None, 1),  # shares nothing: what is left of its figure is noise
}


def together(loop: Loop, shared: object, threads: int, count: int = COUNT) -> float:
    """Nanoseconds from one step to the next, of whichever thread makes it."""
    barrier = threading.Barrier(threads)
    spans: list[float] = []

    def run() -> None:
        barrier.wait()
        start = time.perf_counter()
        loop(shared, count)
        spans.append(time.perf_counter() - start)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return NS * median(spans) / (count * threads)


def measure_words(rounds: int = 5) -> dict[str, dict[str, float]]:
    """For each operation nanoseconds alone, for one of either where two threads do it, and after it was elsewhere."""
    found: dict[str, dict[str, list[float]]] = {name: {"alone": [], "both": [], "moved": []} for name in OPERATIONS}
    for _ in range(rounds):
        bare = together(nothing, None, 1)
        noise = extra(nothing, lambda: None)  # what a second thread costs that shares nothing
        for name, (loop, make, steps) in OPERATIONS.items():
            alone = (together(loop, make(), 1) - bare) / steps
            found[name]["alone"].append(alone)
            found[name]["both"].append((together(loop, make(), 2) - bare / 2) / steps)
            found[name]["moved"] += [alone + (extra(loop, make) - noise) / steps for _ in range(4)]
    middle = {name: {how: max(median(values), 0.1) for how, values in ways.items()} for name, ways in found.items()}
    return {name: {**ways, "moved": max(ways.values())} for name, ways in middle.items()}


def extra(loop: Loop, make: Callable[[], object]) -> float:
    """Nanoseconds by which a second thread slows down a step, with a pause after each step."""
    alone = together(spaced, (loop, make()), 1, SPACED)
    return 2 * together(spaced, (loop, make()), 2, SPACED) - alone


def spaced(shared: tuple[Loop, object], count: int) -> None:
    loop, thing = shared
    own = (None,) * PAUSE  # this thread's: counting its references must not disturb the other one
    for _ in repeat(None, count):
        loop(thing, 1)
        for _ in own:
            pass


# --- the library's steps ----------------------------------------------------------------------------


def empty() -> None:
    pass


def spin(iterations: int) -> None:
    for _ in repeat(None, iterations):
        pass


def held_pool(workers: int) -> tuple[mp.Pool, threading.Event]:
    """A pool whose workers all wait until the event is set."""
    pool, gate = mp.Pool(workers), threading.Event()
    started = [threading.Event() for _ in range(workers)]

    def hold(begun: threading.Event) -> None:
        begun.set()
        gate.wait()

    for begun in started:
        pool.submit(hold, begun)
    for begun in started:
        begun.wait()
    return pool, gate


def submit_and_drain(submitters: int, workers: int, count: int = 4_000) -> tuple[float, float]:
    """Nanoseconds of a submit while nobody works, and of a task on a worker while nobody submits, for one of any."""
    pool, gate = held_pool(workers)
    with pool:
        call = pool.parallel(empty)
        handles: list[list[mp.AsyncHandle[None]]] = [[] for _ in range(submitters)]

        def submit(mine: Any, count: int) -> None:
            own = handles[mine.pop()]
            for _ in repeat(None, count):
                own.append(call())

        submit_ns = together(submit, list(range(submitters)), submitters, count)
        start = time.perf_counter()
        gate.set()
        for own in handles:
            own[-1].get()
        return submit_ns, NS * (time.perf_counter() - start) / (count * submitters)


def fork_join(workers: int, leaves: int, iterations: int) -> float:
    """Seconds to spawn and join so many leaves, halving: the tasks are made inside the workers."""
    with mp.Pool(workers) as pool:

        @pool.parallel
        def branch(leaves: int) -> None:
            spawned = []
            while leaves > 1:
                spawned.append(branch(leaves // 2))
                leaves -= leaves // 2
            if iterations:
                spin(iterations)
            for handle in reversed(spawned):
                handle.get()

        branch(64).get()
        start = time.perf_counter()
        branch(leaves).get()
        return time.perf_counter() - start


def map_seconds(workers: int, items: int, iterations: int, chunksize: int | None = None) -> float:
    """Seconds of a `parallel_map`."""
    with mp.Pool(workers) as pool:
        pool.map(spin, [1] * 64)
        start = time.perf_counter()
        pool.map(spin, [iterations] * items, chunksize=chunksize)
        return time.perf_counter() - start


def stream(workers: int, count: int, iterations: int) -> float:
    """Seconds from the first submit of an outside thread to the last result."""
    with mp.Pool(workers) as pool:
        call = pool.parallel(spin)
        mp.gather([call(1) for _ in range(64)])
        start = time.perf_counter()
        mp.gather([call(iterations) for _ in range(count)])
        return time.perf_counter() - start


def wake_up(count: int = 300) -> tuple[float, float]:
    """Nanoseconds that waking a sleeping thread takes its waker, and until it runs."""
    bell, done = allocate_lock(), allocate_lock()
    bell.acquire()
    done.acquire()
    woken: list[float] = []

    def sleep() -> None:
        for _ in range(count):
            bell.acquire()
            woken.append(time.perf_counter())
            done.release()

    threading.Thread(target=sleep).start()
    cost, latency = [], []
    for turn in range(count):
        time.sleep(0.0005)  # it is asleep by now
        start = time.perf_counter()
        bell.release()
        cost.append(time.perf_counter() - start)
        done.acquire()
        latency.append(woken[turn] - start)
    return NS * median(cost), NS * median(latency)


def spin_seconds(iterations: int) -> float:
    """Seconds of one `spin`."""
    times = []
    for _ in range(max(5, 20_000 // iterations)):
        start = time.perf_counter()
        spin(iterations)
        times.append(time.perf_counter() - start)
    return median(times)


def measure_costs(rounds: int = 5) -> dict[str, Any]:
    """Everything that the simulation takes from this machine, in nanoseconds."""
    drained = [submit_and_drain(1, 1) for _ in range(rounds)]
    waking = [wake_up() for _ in range(3)]
    many, blocks = 100_000, 1_000
    return {
        "words": measure_words(rounds),
        "submit": median(submit for submit, _ in drained),
        "run": median(run for _, run in drained),
        "spawn_join": NS * median(fork_join(1, 4_000, 0) for _ in range(rounds)) / 4_000,
        "wake": median(cost for cost, _ in waking),
        "latency": median(latency for _, latency in waking),
        "iteration": NS * spin_seconds(20_000) / 20_000,
        "block": NS * median(map_seconds(1, blocks, 0, 1) for _ in range(rounds)) / blocks,
        "item": NS * median(map_seconds(1, many, 0) for _ in range(rounds)) / many,
    }
