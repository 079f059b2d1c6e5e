"""How small a task may be, and what more workers bring where tasks are coarse."""

from math import exp, log
from statistics import median

from measure import Bench, Check, Contender, Result, Row, Spread, case
from peers import EXECUTOR, LOOP, OURS, PROCESSES, STDLIB, THREAD_POOL, US, Backend, Peer, cpus, present
from work import Use, contender, spin, submitting

MICRO = 1e6
#: The curves of the METG: who, how, and how many tasks at most.
MAP = "makeParallel, parallel_map"
WAYS: dict[str, tuple[Peer, bool, int]] = {
    US: (OURS, True, 10_000),
    MAP: (OURS, False, 50_000),
    STDLIB: (EXECUTOR, True, 10_000),
    THREAD_POOL.name: (THREAD_POOL, True, 10_000),
    PROCESSES[0].name: (PROCESSES[0], True, 500),
}


@case("metg", "METG(50 %): the smallest task with half of the machine useful", "µs")
def metg(bench: Bench) -> Result:
    sizes = [2.0**power for power in range(bench.size(12, 8))]  # µs
    loops = {size: max(1, round(size * iterations_a_microsecond(bench))) for size in sizes}
    total = bench.size(60_000, 3_000)  # µs of work a turn
    contenders = []
    for size in sizes:
        tasks = max(2 * bench.workers, round(total / size))
        contenders.append(contender(LOOP, 1, submitting(spin, loops[size]), min(tasks, 10_000), f"{LOOP.name} {size}"))
        for who, (peer, submits, most) in WAYS.items():
            use = submitting(spin, loops[size]) if submits else mapping_same(loops[size])
            contenders.append(contender(peer, bench.workers, use, min(tasks, most), f"{who} {size}"))
    times = bench.compete(contenders)

    real = {size: [MICRO * value for value in times[f"{LOOP.name} {size}"]] for size in sizes}
    found: dict[str, Spread] = {}
    curves, notes = {}, []
    short = []  # who gets nowhere
    for who in WAYS:
        useful = {size: times.ratios(f"{LOOP.name} {size}", f"{who} {size}", 1 / bench.workers) for size in sizes}
        curves[who] = [[median(real[size]), useful[size].median] for size in sizes]
        rounds = [
            crossing([(real[size][turn], useful[size].values[turn]) for size in sizes]) for turn in range(bench.rounds)
        ]
        if None in rounds:
            short.append(who)
        else:
            found[who] = Spread([value for value in rounds if value is not None])
    if short:
        largest = max(real[sizes[-1]])
        notes.append(f"Half is not reached in every round, with tasks up to {largest:.0f} µs, by {', '.join(short)}.")
    notes.append(
        "Efficiency: the time of a plain loop over the same calls, divided by the time taken and by "
        f"{bench.workers} workers; the main thread, which submits, counts as none. {MAP} has no task for each item."
    )
    ratio = {who: shares(value, found[US]) for who, value in found.items() if US in found}
    checks = [Check(f"METG of {STDLIB}", ratio[STDLIB], bar=4, goal=8)] if STDLIB in ratio else []
    rows = [Row(who, value, 1, None if who == US else ratio.get(who)) for who, value in found.items()]
    return Result(rows, checks, notes, {"efficiency": curves})


def iterations_a_microsecond(bench: Bench) -> float:
    bench.calibrate()
    return 1e3 / bench.noise_facts()["loop_ns"]


def mapping_same(argument: int) -> Use:
    return lambda backend, count: backend.map(spin, [argument] * count)


def shares(above: Spread, below: Spread) -> Spread:
    return Spread([a / b for a, b in zip(above.values, below.values, strict=True)])


def crossing(curve: list[tuple[float, float]]) -> float | None:
    """The size at which half becomes useful, between the two sizes around it; None if it never does."""
    below: tuple[float, float] | None = None
    for size, useful in curve:
        if useful >= 0.5:
            if below is None:
                return size  # at most
            part = (0.5 - below[1]) / (useful - below[1])
            return exp(log(below[0]) + part * (log(size) - log(below[0])))
        below = (size, useful)
    return None


# --- scaling --------------------------------------------------------------------------------------

#: What is asked of so many CPUs, and wished for.
BARS = {2: 1.9, 16: 14.0}


@case("scaling", "coarse CPU-bound tasks: how many times as fast as a plain loop", "x a plain loop")
def scaling(bench: Bench) -> Result:
    counts = [1]
    while counts[-1] * 2 <= cpus():
        counts.append(counts[-1] * 2)
    if counts[-1] != cpus():
        counts.append(cpus())
    tasks = 16 * counts[-1]
    loops = round(bench.size(10_000, 1_000) * iterations_a_microsecond(bench))
    use = submitting(spin, loops)
    peers = present(bench, [OURS, EXECUTOR, *PROCESSES])
    contenders: list[Contender] = [contender(LOOP, 1, use, tasks, warm=1)]
    for workers in counts:
        contenders += [
            contender(peer, workers, use, tasks, f"{peer.name} {workers}", warm=2 * workers) for peer in peers
        ]
    times = bench.compete(contenders)
    curves = {}
    rows: list[Row] = []
    for peer in peers:
        gains = [times.ratios(LOOP.name, f"{peer.name} {workers}") for workers in counts]
        curves[peer.name] = [[workers, gain.median] for workers, gain in zip(counts, gains, strict=True)]
        rows += [
            Row(f"{peer.name}, {workers} worker{'s' * (workers > 1)}", gain, tasks)
            for workers, gain in zip(counts, gains, strict=True)
        ]
    most = counts[-1]
    gain = times.ratios(LOOP.name, f"{US} {most}")
    notes = [f"{tasks} tasks of about {bench.size(10, 1)} ms. Processes are started before the time is taken."]
    check = Check(f"speed-up, {most} workers on {cpus()} CPUs", gain, bar=BARS.get(most))
    return Result(rows, [check], notes, {"speedup": curves})


# --- one item that takes longer ---------------------------------------------------------------------

LONG, PLACES = 100, {"first": 0.0, "in the middle": 0.5, "last": 1.0}


@case("skewed", f"a map with one item {LONG} times the rest, no chunksize given", "x the best possible")
def skewed(bench: Bench) -> Result:
    count = bench.size(2_000, 400)
    loops = round(bench.size(100, 20) * iterations_a_microsecond(bench))
    contenders = []
    for place, part in PLACES.items():
        items = [loops] * count
        items[round(part * (count - 1))] *= LONG
        contenders += [
            contender(peer, bench.workers if peer is not LOOP else 1, over(items), 1, f"{peer.name}, {place}", warm=0)
            for peer in (OURS, EXECUTOR, THREAD_POOL, LOOP)
        ]
    times = bench.compete(contenders)
    # What a plain loop takes in all, shared evenly; or the long item alone.
    best = max(1 / bench.workers, LONG / (LONG + count - 1))
    rows, checks = [], []
    for peer in (OURS, EXECUTOR, THREAD_POOL):
        for place in PLACES:
            who = f"{peer.name}, {place}"
            rows.append(Row(who, times.ratios(who, f"{LOOP.name}, {place}", 1 / best), count))
    for place in PLACES:
        makespan = times.ratios(f"{US}, {place}", f"{LOOP.name}, {place}", 1 / best)
        checks.append(Check(f"makespan, long item {place}", makespan, 1.10, 1.05, at_least=False))
    late = 1 + LONG * (1 - 1 / bench.workers) / ((LONG + count - 1) / bench.workers)
    notes = [
        (
            f"{count:,} items of about {bench.size(100, 20)} µs. Best possible: the whole work evenly on "
            f"{bench.workers} workers, or the long item. Who meets the long item last, not knowing it, needs "
            f"{late:.2f} x."
        )
    ]
    return Result(rows, checks, notes)


def over(items: list[int]) -> Use:
    def use(backend: Backend, _count: int) -> None:
        backend.map(spin, items)

    return use
