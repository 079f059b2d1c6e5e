"""Run the benchmark suite: we and the peers by turns, in one process; a table, and JSON for the charts and the page.

    stress/bench/run [case ...] [--quick] [--rounds N]

Ratios are taken within a round; the table tells the median and the range of the rounds. No figure is asserted:
a bar that is missed changes the exit status with --strict only. Results of cases that are not run now stay in the JSON.
"""

import argparse
import json
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import cases_forkjoin
import cases_grain
import cases_map
import cases_other
import cases_tasks
import machine
from measure import CASES, Bench, Case
from peers import gil_enabled
from table import missed, print_case, print_checks

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "build" / "bench" / "results.json"
#: The modules that enter their cases when they are imported, in the table's order.
MODULES = (cases_tasks, cases_map, cases_forkjoin, cases_grain, cases_other)
PLACES = {module.__name__: place for place, module in enumerate(MODULES)}
ALL = {one.name: one for one in sorted(CASES.values(), key=lambda one: PLACES[one.run.__module__])}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help="all, if none is named")
    parser.add_argument("--rounds", type=int, help="turns of each contender (default: 7, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast it is")
    parser.add_argument("--workers", type=int, default=2, help="of all pools, where the case says nothing else")
    parser.add_argument("--json", type=Path, help="where results are kept (default: build/bench/results.json)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(ALL):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if options.workers < 1 or (options.rounds is not None and options.rounds < 1):
        parser.error("--workers and --rounds must be 1 or more")
    if options.json is None:  # a smoke test's figures are not to be mixed with real ones
        options.json = RESULTS.with_name("quick.json") if options.quick else RESULTS
    return options


def command_line() -> str:
    """How this run was called, without the place of its results."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and not word.startswith("--json"):
            words.append(word)
        skip = word == "--json"
    return shlex.join(["stress/bench/run", *words])


def run_case(one: Case, bench: Bench, facts: dict[str, Any]) -> dict[str, Any]:
    """Run a case; everything that is kept of it."""
    bench.begin()
    start = time.monotonic()
    result = one.run(bench)
    return {
        "title": one.title,
        "unit": one.unit,
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "command": command_line(),
        "workers": bench.workers,
        "rounds": bench.rounds,
        "quick": bench.quick,
        "seconds": time.monotonic() - start,
        "machine": facts,
        "noise": bench.noise_facts(),
        "left_out": bench.left_out,
        **result.facts(),
    }


def keep(file: Path, cases: dict[str, dict[str, Any]]) -> None:
    """Put results beside those of earlier runs, in the table's order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    old: dict[str, Any] = json.loads(file.read_text())["cases"] if file.exists() else {}
    merged = {**old, **cases}
    ordered = {name: merged[name] for name in ALL if name in merged}
    part = file.with_suffix(".part")
    part.write_text(json.dumps({"cases": ordered}, indent=1, ensure_ascii=False) + "\n")
    part.replace(file)


def main() -> int:
    options = read_options()
    if options.list:
        for one in ALL.values():
            print(f"{one.name:12} {one.title}")
        return 0
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # a peer forks beside threads
    facts = machine.describe()
    print("\n".join(machine.words(facts)))
    bench = Bench(options.workers, options.rounds or (2 if options.quick else 7), options.quick)
    print(f"{bench.workers} workers, {bench.rounds} rounds; median, then minimum and maximum of the rounds")
    done: dict[str, dict[str, Any]] = {}
    for name in options.cases or ALL:
        done[name] = run_case(ALL[name], bench, facts)
        print_case(name, done[name])
        sys.stdout.flush()
        keep(options.json, done)
    print_checks(done)
    if not facts["gil"] and gil_enabled():
        print("\nThe GIL was switched on during the run: these figures are of no use.")
        return 1
    return 1 if options.strict and missed(done) else 0
