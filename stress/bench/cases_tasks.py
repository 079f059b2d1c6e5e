"""Tasks by themselves: what one costs in time and memory."""

import threading

from children import ask
from measure import Bench, Check, Result, Row, Spread, case
from peers import EXECUTOR, LOOP, OURS, STDLIB, THREAD_POOL, THREADS, US, Backend, present
from work import contender, empty, submitting

MICRO = 1e6


@case("submit_all", "`@parallel` on an empty function: submit all, then get all", "µs a task")
def submit_all(bench: Bench) -> Result:
    count = bench.size(20_000, 1_000)
    contenders = [
        contender(peer, bench.workers, submitting(empty), int(count * peer.share))
        for peer in [OURS, LOOP, *present(bench, THREADS)]
    ]
    times = bench.compete(contenders)
    check = Check(f"time of {STDLIB}", times.ratios(STDLIB, US), bar=4, goal=6)
    notes = [
        (
            "joblib and dask take all tasks in one call; joblib makes batches of them. Processes are compared where "
            "tasks are coarse: see `metg` and `scaling`."
        )
    ]
    return Result(times.rows(contenders, MICRO), [check], notes)


def one_by_one(backend: Backend, count: int) -> None:
    backend.one_by_one(empty, count)


@case("submit_get", "submit and get, one at a time", "µs a task")
def submit_get(bench: Bench) -> Result:
    count = bench.size(3_000, 200)
    peers = [OURS, *(peer for peer in present(bench, THREADS) if peer.single)]
    contenders = [contender(peer, bench.workers, one_by_one, int(count * peer.share)) for peer in peers]
    times = bench.compete(contenders)
    check = Check(f"time of {STDLIB}", times.ratios(STDLIB, US), bar=1.3, goal=2)
    return Result(times.rows(contenders, MICRO), [check])


SUBMITTERS = 8


@case("submitters", f"tasks from {SUBMITTERS} submitting threads at once", "µs a task")
def submitters(bench: Bench) -> Result:
    count = bench.size(10_000, 800)

    def submit_from_all(backend: Backend, count: int) -> None:
        share = max(count // SUBMITTERS, 1)
        threads = [
            threading.Thread(target=backend.submit_all, args=(empty, share), daemon=True) for _ in range(SUBMITTERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    contenders = [contender(peer, bench.workers, submit_from_all, count) for peer in (OURS, EXECUTOR, THREAD_POOL)]
    times = bench.compete(contenders)
    notes = [f"{SUBMITTERS} threads submit their share and get the results; starting them is part of the time."]
    return Result(times.rows(contenders, MICRO), [Check(f"time of {STDLIB}", times.ratios(STDLIB, US), bar=3)], notes)


@case("pending", "memory of a task that waits for a worker", "bytes a task")
def pending(bench: Bench) -> Result:
    count = bench.size(100_000, 20_000)
    found: dict[str, list[float]] = {US: [], STDLIB: [], THREAD_POOL.name: []}
    for _ in range(min(bench.rounds, 3)):
        bench.calibrate()
        for who, values in found.items():
            values.append(ask("pending", who, str(count))["bytes"])
    ratio = {who: Spread([theirs / ours for theirs, ours in zip(found[who], found[US], strict=True)]) for who in found}
    rows = [Row(who, Spread(found[who]), count, ratio[who] if who != US else None) for who in found]
    notes = [
        (
            f"Growth of the resident set of a process of its own, whose one worker is blocked, over {count:,} tasks "
            "without arguments, whose handles are kept in a list that was made before."
        )
    ]
    return Result(rows, [Check("bytes a task", Spread(found[US]), 450, 350, at_least=False, unit="bytes")], notes)
