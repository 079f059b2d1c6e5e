"""Simulate the scheduler on more cores than there are here: where do the words that workers share become too slow?

    .venv/bin/python stress/bench/simulate.py [--factor 2] [--costs FILE] [--quick]

Measures what steps and shared words cost on this machine, compares the simulation with the library on its cores, then
asks it about more. Prints tables; writes JSON, and the tables for "Past this machine" of the performance page.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import costs as measured
from cases_grain import crossing
from simulation import US, Costs, Setup, Simulation

BUILD = Path(__file__).resolve().parent.parent.parent / "build"
CORES, SIZES = (2, 16, 64, 192), (1, 3, 10, 30, 100, 1000)  # size: µs
#: The sizes that have a column.
SHOWN = (1, 10, 100, 1000)
#: Tasks for each worker in a simulation, and µs of a map's work for each.
TASKS, MAP_US = 30, 50_000
#: For each size so many tasks are run by the library.
REAL = {1: 20_000, 10: 4_000, 100: 1_000, 1000: 400}

#: What is asked: the name, and the setup for so many workers and a size in µs.
WAYS: dict[str, Callable[[int, float], Setup]] = {
    "1 thread outside": lambda cores, size: Setup(cores, 1, size * US, TASKS * cores),
    "8 threads outside": lambda cores, size: Setup(cores, 8, size * US, TASKS * cores),
    "fork-join": lambda cores, size: Setup(cores, 0, size * US, TASKS * cores),
    "map": lambda cores, size: Setup(cores, 0, size * US, max(1, round(MAP_US / size)) * cores, is_map=True),
}
#: What could be changed.
AS_IS = "as it is"
PLANS: dict[str, dict[str, Any]] = {
    AS_IS: {},
    "4 injectors, 4 idle deques": {"shards": 4},
    "own references": {"own_references": True},
    "own references, 4 and 4": {"own_references": True, "shards": 4},
    "own references, 16 and 16": {"own_references": True, "shards": 16},
}


def prices(facts: dict[str, Any], factor: float) -> Costs:
    """What the simulation needs, of what was measured."""
    words = facts["words"]
    locks = [words["deque.append, popleft"], words["list.append, pop"]]

    def price(how: str) -> dict[str, float]:
        return {"ref": words["reference"][how], "lock": sum(word[how] for word in locks) / len(locks)}

    moved = {kind: factor * ns for kind, ns in price("moved").items()}
    own = {name: facts[name] for name in ("submit", "run", "spawn_join", "block", "item", "wake", "latency")}
    return Costs(**own, alone=price("alone"), moved=moved)


def ask(costs: Costs, setup: Setup) -> dict[str, Any]:
    simulation = Simulation(costs, setup)
    efficiency = simulation.run()
    word, share = simulation.busiest()
    return {"efficiency": efficiency, "word": word, "busy": share}


# --- against the library ----------------------------------------------------------------------------


def validate(costs: Costs, iteration: float, rounds: int) -> Iterator[dict[str, Any]]:
    """For some sizes the efficiency that the library has here, and that the simulation gives."""
    for size in SHOWN:
        loops, tasks, items = round(size * US / iteration), REAL[size], max(1, 100_000 // size)
        real: dict[str, tuple[Setup, Callable[[], float]]] = {
            "1 worker, 1 thread outside": (
                Setup(1, 1, size * US, tasks),
                partial(measured.stream, 1, tasks, loops),
            ),
            "1 worker, fork-join": (Setup(1, 0, size * US, tasks), partial(measured.fork_join, 1, tasks, loops)),
            "2 workers, fork-join": (Setup(2, 0, size * US, tasks), partial(measured.fork_join, 2, tasks, loops)),
            "2 workers, map": (
                Setup(2, 0, size * US, items, is_map=True),
                partial(measured.map_seconds, 2, items, loops),
            ),
        }
        for name, (setup, run) in real.items():
            found = []
            for _ in range(rounds):
                useful = setup.tasks * measured.spin_seconds(loops) / setup.workers
                found.append(useful / run())
            simulated = ask(costs, setup)["efficiency"]
            yield {"what": name, "size": size, "simulated": simulated, "measured": median(found), "all": found}


# --- what comes out ---------------------------------------------------------------------------------

Rows = list[dict[str, Any]]


def simulate_all(costs: Costs, cores: tuple[int, ...]) -> Rows:
    return [
        {"plan": plan, "way": way, "cores": number, "size": size, **ask(costs, replace(setup(number, size), **change))}
        for plan, change in PLANS.items()
        for way, setup in WAYS.items()
        if plan == AS_IS or way != "map"
        for number in cores
        for size in SIZES
    ]


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def head(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"
    yield "| --- |" + " --- |" * (len(cells) - 1)


def rows_of_validation(checked: Rows) -> Iterator[str]:
    yield from head("measured here / simulated", *(f"{size} µs" for size in SHOWN))
    for what in dict.fromkeys(row["what"] for row in checked):
        found = [row for row in checked if row["what"] == what]
        cells = [f"{percent(row['measured'])} / {percent(row['simulated'])}" for row in found]
        yield f"| {what} | {' | '.join(cells)} |"


def rows_of_plan(rows: Rows, plan: str) -> Iterator[str]:
    """The efficiencies, and the word that is busiest with tasks of 10 µs."""
    yield from head(plan, "cores", *(f"{size} µs" for size in SHOWN), "busiest word at 10 µs")
    for way in WAYS:
        for cores in dict.fromkeys(row["cores"] for row in rows):
            found = {row["size"]: row for row in rows if (row["plan"], row["way"], row["cores"]) == (plan, way, cores)}
            if found:
                cells = [percent(found[size]["efficiency"]) for size in SHOWN]
                busiest = f"{found[10]['word']}, {percent(found[10]['busy'])}"
                yield f"| {way} | {cores} | {' | '.join(cells)} | {busiest} |"


def rows_of_grain(rows: Rows) -> Iterator[str]:
    """For all plans the smallest task with half of the cores useful."""
    yield from head("half useful from", "cores", *PLANS)
    for way in WAYS:
        for cores in dict.fromkeys(row["cores"] for row in rows if way != "map"):
            cells = []
            for plan in PLANS:
                found = [row for row in rows if (row["plan"], row["way"], row["cores"]) == (plan, way, cores)]
                size = crossing([(row["size"], row["efficiency"]) for row in found])
                cells.append("more" if size is None else f"{size:.{1 if size < 10 else 0}f} µs")
            yield f"| {way} | {cores} | {' | '.join(cells)} |"


def draft(found: dict[str, Any]) -> str:
    """The tables of the page's section; what they mean is added by hand."""
    words = found["costs"]["words"]
    factor = "" if found["factor"] == 1 else f" --factor {found['factor']:g}"
    lines = [
        f"Taken {found['date']}, Python {found['python']}, {found['cpus']} CPUs, `stress/bench/simulate.py{factor}`.",
        "In ns, of one operation: alone; with two threads that do nothing else; after the other core had the word.\n",
        *head("word", "alone", "both", "moved"),
        *(f"| `{name}` | {w['alone']:.0f} | {w['both']:.0f} | {w['moved']:.0f} |" for name, w in words.items()),
        "",
        *rows_of_validation(found["checked"]),
        "",
        *rows_of_plan(found["simulated"], AS_IS),
        "",
        *rows_of_grain(found["simulated"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, default=1.0, help="how much dearer a moved word is than here")
    parser.add_argument("--costs", type=Path, help="take costs and comparison from the JSON of an earlier run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few cores: shows that it works")
    parser.add_argument("--json", type=Path, default=BUILD / "bench" / "simulate.json")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "python": sys.version.split()[0],
        "cpus": os.process_cpu_count(),
        "load": os.getloadavg()[0],
    }
    if options.costs:
        found.update(json.loads(options.costs.read_text()))
    else:
        found["costs"] = measured.measure_costs(options.rounds)
        found["checked"] = list(validate(prices(found["costs"], 1.0), found["costs"]["iteration"], options.rounds))
    found["factor"] = options.factor
    rows = simulate_all(prices(found["costs"], options.factor), CORES[:2] if options.quick else CORES)
    found["simulated"] = rows
    text = draft(found)
    print({name: round(ns) for name, ns in found["costs"].items() if name != "words"})
    print("\n".join([text, *(line for plan in list(PLANS)[1:] for line in ["", *rows_of_plan(rows, plan)])]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    options.json.with_suffix(".md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
