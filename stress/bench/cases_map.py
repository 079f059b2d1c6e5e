"""Maps: over a list, and lazily over what never was one."""

from collections import deque
from itertools import repeat
from typing import Any

import makeparallel as mp
from children import ask
from measure import Bench, Check, Contender, Result, Row, Spread, case
from peers import EXECUTOR, LOOP, OURS, STDLIB, THREADS, US, Backend, cpus, present
from work import Use, contender, mapping, nothing

MICRO = 1e6
ONE = f"{US}, 1 worker"


@case("map_empty", "`parallel_map` of an empty function over 1,000,000 ints", "µs an item")
def map_empty(bench: Bench) -> Result:
    count = bench.size(1_000_000, 20_000)
    use = mapping(nothing)
    contenders = [
        contender(OURS, 2, use, count),
        contender(OURS, 1, use, count, ONE),
        contender(LOOP, 1, use, count),
    ]
    contenders += [contender(peer, 2, use, int(count * peer.map_share)) for peer in present(bench, THREADS)]
    times = bench.compete(contenders)
    checks = [
        Check("time with 1 worker, plain loop = 1", times.ratios(ONE, LOOP.name), bar=1.3, at_least=False),
        Check("speed with 2 workers, plain loop = 1", times.ratios(LOOP.name, US), bar=1, goal=1.6),
        Check(f"time of {STDLIB}.map an item", times.ratios(STDLIB, US), bar=50),
    ]
    notes = [
        (
            "The plain loop makes a list: `for x in items: out.append(f(x))`. All pools have 2 workers, except for "
            "one of ours; slower ones get fewer items."
        )
    ]
    return Result(times.rows(contenders, MICRO), checks, notes)


# --- lazily ---------------------------------------------------------------------------------------

WAYS = {"ordered": True, "unordered": False}


@case("imap", "`parallel_imap` of an empty function", "µs an item")
def imap(bench: Bench) -> Result:
    if why := no_imap():
        return Result(skipped=why)
    count = bench.size(200_000, 5_000)
    names = {way: f"{US}, {way}" for way in WAYS}
    contenders = [contender(OURS, bench.workers, lazily(ordered), count, names[way]) for way, ordered in WAYS.items()]
    contenders.append(contender(EXECUTOR, bench.workers, mapping(nothing), int(0.1 * count), f"{STDLIB}.map"))
    times = bench.compete(contenders)
    checks = [
        Check(f"time of {STDLIB}.map an item, {way}", times.ratios(f"{STDLIB}.map", name), bar=10)
        for way, name in names.items()
    ]
    return Result(times.rows(contenders, MICRO, names["ordered"]), checks)


@case("imap_memory", "memory that `parallel_imap` takes over 10,000,000 inputs", "MiB")
def imap_memory(bench: Bench) -> Result:
    if why := no_imap():
        return Result(skipped=why)
    count, few = bench.size(10_000_000, 50_000), bench.size(100_000, 10_000)
    bench.calibrate()
    grown = {way: Spread([ask("imap", way, str(count))["mib"]]) for way in WAYS}
    rows = [Row(f"{US}, {way}", value, count) for way, value in grown.items()]
    rows.append(Row(f"{STDLIB}.map, {few:,} inputs", Spread([ask("map", STDLIB, str(few))["mib"]]), few))
    checks = [Check(f"MiB, {way}", value, bar=20, at_least=False, unit="MiB") for way, value in grown.items()]
    notes = ["By how much the peak of the resident set grows, after a first map, in a process of its own; one run."]
    return Result(rows, checks, notes)


def no_imap() -> str:
    """Why there is no `parallel_imap` to measure, if there is none."""
    try:
        function: Any = mp.parallel_imap  # type: ignore[attr-defined, unused-ignore]
        for _ in function(nothing, [1]):
            pass
    except (NotImplementedError, AttributeError) as error:
        return f"not there yet: {error}"
    return ""


def lazily(ordered: bool) -> Use:
    def use(backend: Backend, count: int) -> None:
        function: Any = mp.parallel_imap  # type: ignore[attr-defined, unused-ignore]
        deque(function(nothing, range(count), ordered=ordered, pool=backend.pool), maxlen=0)

    return use


# --- user's functions that workers share --------------------------------------------------------------

Table = dict[int, int]


def look_up(table: Table, item: int) -> int:
    """About a microsecond of work with a table and its values; the small numbers in it are no shared objects."""
    found = 0
    for step in range(8):
        found += table[(item + step) & 255]
    return found


def make_closure(table: Table) -> Any:
    def look_up_here(item: int) -> int:
        found = 0
        for step in range(8):
            found += table[(item + step) & 255]
        return found

    return look_up_here


class Holder:
    def __init__(self, table: Table) -> None:
        self.table = table

    def look_up(self, item: int) -> int:
        found = 0
        table = self.table
        for step in range(8):
            found += table[(item + step) & 255]
        return found


def make_table() -> Table:
    return {key: 10_000 + key for key in range(256)}


def run_block(function: Any, items: range) -> list[int]:
    """What a worker does with a copy of its own."""
    return [function(item) for item in items]


def run_block_with(table: Table, items: range) -> list[int]:
    return [look_up(table, item) for item in items]


@case("shared", "a closure, a bound method, a shared dict in a map, against a copy for each block", "x a plain loop")
def shared(bench: Bench) -> Result:
    workers, count = cpus(), bench.size(100_000, 4_000)
    table, holder = make_table(), Holder(make_table())
    closure = make_closure(make_table())
    kinds: dict[str, tuple[Use, Use, Use]] = {  # a plain loop; a map that shares; blocks with copies
        "closure": (plainly(closure), mapping(closure), in_blocks(lambda: make_closure(make_table()), workers)),
        "bound method": (
            plainly(holder.look_up),
            mapping(holder.look_up),
            in_blocks(lambda: Holder(make_table()).look_up, workers),
        ),
        "dict as argument": (
            lambda _backend, count: [look_up(table, item) for item in range(count)],
            lambda backend, count: backend.pool.map(look_up, repeat(table), range(count)),
            in_blocks(make_table, workers, run_block_with),
        ),
    }
    contenders: list[Contender] = []
    for kind, (plain, sharing, copying) in kinds.items():
        contenders += [
            contender(LOOP, 1, plain, count, f"{kind}, plain"),
            contender(OURS, workers, sharing, count, f"{kind}, shared"),
            contender(OURS, workers, copying, count, f"{kind}, own copies"),
        ]
    times = bench.compete(contenders)
    rows, checks = [], []
    for kind in kinds:
        for way in ("shared", "own copies"):
            rows.append(Row(f"{kind}, {way}", times.ratios(f"{kind}, plain", f"{kind}, {way}"), count))
        ratio = times.ratios(f"{kind}, own copies", f"{kind}, shared")
        checks.append(Check(f"speed of a shared {kind}, own copies = 1", ratio, bar=0.9))
    notes = [
        (
            f"{workers} workers; an item looks eight values up. Shared: one `parallel_map` with the one object. Own "
            f"copies: {BLOCKS} tasks a worker, each with a function and a table of its own, made before."
        )
    ]
    return Result(rows, checks, notes)


BLOCKS = 4


def plainly(function: Any) -> Use:
    return lambda _backend, count: [function(item) for item in range(count)]


def in_blocks(make: Any, workers: int, run: Any = run_block) -> Use:
    """Cut the items into blocks, each a task with a copy of its own."""
    copies = [make() for _ in range(BLOCKS * workers)]

    def use(backend: Backend, count: int) -> None:
        size = -(-count // len(copies))
        blocks = [range(start, min(start + size, count)) for start in range(0, count, size)]
        submit = backend.pool.submit
        for handle in [submit(run, own, block) for own, block in zip(copies, blocks, strict=False)]:
            handle.get()

    return use
