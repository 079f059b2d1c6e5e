"""Everything else: combinators, an idle pool, the import."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import makeparallel as mp
from children import ask
from measure import Bench, Check, Contender, Result, Row, Spread, Work, bare, case
from peers import EXECUTOR, OURS, PEBBLE, STDLIB, THREAD_POOL, US, present
from work import empty

MICRO = 1e6

# --- combinators ----------------------------------------------------------------------------------

Combine = Callable[[list[Any]], object]


def exhaust(found: Iterable[object]) -> None:
    for _ in found:
        pass


OUR_COMBINATORS: dict[str, Combine] = {
    "as_completed": lambda handles: exhaust(mp.as_completed(handles)),
    "gather": lambda handles: mp.gather(handles),
    "wait": lambda handles: mp.wait(handles),
}
#: The standard library has no `gather`: a loop that gets the results is the way to write one.
THEIR_COMBINATORS: dict[str, Combine] = {
    "as_completed": lambda pending: exhaust(futures.as_completed(pending)),
    "gather": lambda pending: [future.result() for future in pending],
    "wait": lambda pending: futures.wait(pending),
}


@contextmanager
def our_handles(count: int, finished: bool, combine: Combine) -> Iterator[Work]:
    with mp.Pool(1) as pool:
        gate = hold(pool.submit)
        call = pool.parallel(empty)
        yield from combined([call() for _ in range(count)], gate, finished, combine)


@contextmanager
def their_futures(count: int, finished: bool, combine: Combine) -> Iterator[Work]:
    with futures.ThreadPoolExecutor(1) as pool:
        gate = hold(pool.submit)
        yield from combined([pool.submit(empty) for _ in range(count)], gate, finished, combine)


def hold(submit: Callable[..., object]) -> threading.Lock:
    """Keep the only worker busy until the lock is released."""
    gate = threading.Lock()
    gate.acquire()
    submit(gate.acquire)
    return gate


def combined(handles: list[Any], gate: threading.Lock, finished: bool, combine: Combine) -> Iterator[Work]:
    """Give work that combines the handles, once all have finished or before the first has begun."""
    if finished:
        gate.release()
        for handle in handles:
            handle.get() if isinstance(handle, mp.AsyncHandle) else handle.result()
        yield lambda _count: combine(handles)
        return

    def release_and_combine(_count: int) -> None:
        gate.release()
        combine(handles)

    yield release_and_combine


@case("combinators", "`as_completed`, `gather`, `wait` over many handles", "µs a handle")
def combinators(bench: Bench) -> Result:
    many, few = bench.size(100_000, 4_000), bench.size(25_000, 1_000)
    contenders: list[Contender] = []

    def add(name: str, open_handles: Any, count: int, finished: bool, combine: Combine) -> str:
        contenders.append(Contender(name, lambda: open_handles(count, finished, combine), count, warm=0))
        return name

    names = []
    for finished in (True, False):
        for word in OUR_COMBINATORS:
            state = f"{word}, {'finished' if finished else 'unfinished'}"
            names.append(
                (
                    state,
                    add(f"{US}, {state}", our_handles, many, finished, OUR_COMBINATORS[word]),
                    add(f"{US}, {state}, fewer", our_handles, few, finished, OUR_COMBINATORS[word]),
                    add(f"{STDLIB}, {state}", their_futures, few, finished, THEIR_COMBINATORS[word]),
                )
            )
    times = bench.compete(contenders, most=5)
    rows, checks = [], []
    for state, ours, _, theirs in names:
        rows.append(Row(ours, Spread([MICRO * value for value in times[ours]]), many))
        rows.append(Row(theirs, Spread([MICRO * value for value in times[theirs]]), few, times.ratios(theirs, ours)))
        checks.append(Check(f"time of the standard library, {state}", times.ratios(theirs, ours), bar=5))
    growth = [times.ratios(ours, fewer).values for _, ours, fewer, _ in names]
    worst = Spread([max(values) for values in zip(*growth, strict=True)])
    checks.append(Check("time of a handle, a quarter as many = 1: the worst", worst, bar=1.5, at_least=False))
    notes = [
        (
            f"{many:,} handles (the standard library: {few:,}). Unfinished: the only worker is blocked; the time is "
            "from its release to the last handle, and so includes running the tasks. The standard library's `gather` "
            "is a loop over `result()`."
        )
    ]
    return Result(rows, checks, notes)


# --- idle -----------------------------------------------------------------------------------------


@case("idle", "an idle pool after use: its threads' context switches, and CPU", "")
def idle(bench: Bench) -> Result:
    seconds = bench.size(5, 1)
    bench.calibrate()
    rows, checks = [], []
    for peer in present(bench, [OURS, EXECUTOR, THREAD_POOL, PEBBLE]):
        facts = ask("idle", peer.name, str(seconds))
        rows.append(Row(f"{peer.name}, threads", Spread([facts["threads"]])))
        rows.append(Row(f"{peer.name}, switches", Spread([facts["switches"]])))
        rows.append(Row(f"{peer.name}, µs of CPU", Spread([facts["cpu_us"]])))
        if peer is OURS:
            checks.append(Check("voluntary context switches", Spread([facts["switches"]]), 0, None, False, ""))
            checks.append(Check("CPU time (µs)", Spread([facts["cpu_us"]]), 0, None, False, ""))
    notes = [f"In a process of its own, over {seconds} s, of all threads but the main one; the kernel's counts."]
    return Result(rows, checks, notes)


# --- import ---------------------------------------------------------------------------------------

IMPORTS = {"bare": "pass", US: "import makeparallel", "concurrent.futures": "import concurrent.futures.thread"}


def run_python(code: str) -> Work:
    return lambda _count: subprocess.run([sys.executable, "-c", code], check=True)


@case("import", "`import makeparallel`, over a bare interpreter", "ms")
def import_time(bench: Bench) -> Result:
    contenders = [
        Contender(name, lambda code=code: bare(run_python(code)), 1, warm=1)  # type: ignore[misc]
        for name, code in IMPORTS.items()
    ]
    times = bench.compete(contenders, times=bench.size(4, 1))
    rows = [Row("a bare interpreter in all", Spread([1e3 * value for value in times["bare"]]))]
    for name in list(IMPORTS)[1:]:
        rows.append(Row(name, Spread([1e3 * (a - b) for a, b in zip(times[name], times["bare"], strict=True)])))
    checks = [Check("ms over a bare interpreter", rows[1].value, 25, 15, at_least=False, unit="ms", strict=False)]
    return Result(rows, checks, ["Processes alternate; each difference is of two neighbours."])
