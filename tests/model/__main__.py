"""Explores all scenarios completely, and prints how many schedules each has.

In tests/:

    python -m model                                   all of them, in one process for each CPU
    python -m model NAME ...                          these
    python -m model NAME --replay NUMBER [--stale]    one schedule, step by step
    python -m model --mutants                         all mutants instead, and which schedule finds each out
    python -m model --json FILE                       also writes what was found
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from .load import load
from .mutants import MUTANTS
from .runner import explore, tell, variants
from .scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--replay", type=int, metavar="NUMBER")
    parser.add_argument("--stale", action="store_true", help="with --replay: the schedules with stale reads")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if options.replay is not None:
        if len(options.names) != 1:
            parser.error("--replay needs one scenario")
        print(tell(options.names[0], load(), options.replay, stale=options.stale))
        return 0
    if options.one:
        return explore_one(options.names[0], stale=options.stale)
    if options.mutants:
        return kill_all(options.json)
    return explore_all(options.names or list(SCENARIOS), options.json)


def explore_one(name: str, *, stale: bool) -> int:
    """Explore in this process, and print the result as JSON."""
    start = time.monotonic()
    try:
        report = explore(name, load(), stale=stale)
    except AssertionError as error:
        print(json.dumps({"scenario": name, "stale": stale, "failure": str(error)}))
        return 1
    facts = {"schedules": report.schedules, "pruned": report.pruned, "steps": report.steps}
    seconds = time.monotonic() - start
    print(json.dumps({"scenario": name, "stale": stale, **facts, "complete": report.is_complete, "seconds": seconds}))
    return 0


def kill_all(file: str | None) -> int:
    """Have each mutant found out."""
    results = []
    for mutant in MUTANTS:
        number = 0
        try:
            explore(mutant.scenario, load("mutant", mutant.edits), stale=mutant.stale)
        except AssertionError as error:
            number = int(str(error).split()[1])  # "schedule 12 of ..."
        print(
            f"{f'schedule {number}' if number else 'SURVIVES':<14} {mutant.scenario:<40} {mutant.label}: {mutant.name}",
            flush=True,
        )
        results.append({"name": mutant.name, "label": mutant.label, "scenario": mutant.scenario, "schedule": number})
    survivors = sum(not result["schedule"] for result in results)
    print(f"{len(results)} mutants, {survivors} survive")
    if file:
        with open(file, "w", encoding="utf-8") as target:
            json.dump(results, target, indent=1)
    return 1 if survivors else 0


def explore_all(names: list[str], file: str | None) -> int:
    """Explore in a process for each CPU; print a table."""
    jobs = [(name, stale) for name in names for stale in variants(name)]
    jobs.reverse()  # popped from the end
    results: dict[tuple[str, bool], dict[str, Any]] = {}

    def work(cpu: int) -> None:
        while jobs:
            try:
                name, stale = jobs.pop()
            except IndexError:
                return
            command = [sys.executable, "-W", "ignore", "-m", "model", name, "--one", *(["--stale"] if stale else [])]
            # On one CPU: only one thread of a run runs at a time, and hands over faster to one on the same.
            pin = (lambda: os.sched_setaffinity(0, {cpu})) if hasattr(os, "sched_setaffinity") else None
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=pin, check=False)
            try:
                results[name, stale] = json.loads(done.stdout.splitlines()[-1])
            except (IndexError, ValueError):
                results[name, stale] = {"failure": f"status {done.returncode}: {done.stdout}"}

    start = time.monotonic()
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = 0
    print(f"{'scenario':<55} {'preemptions':<12} {'schedules':>9} {'pruned':>7} {'steps':>10} {'seconds':>8}")
    for name in names:
        for stale in variants(name):
            result = results[name, stale]
            if "failure" in result or not result["complete"]:
                failed += 1
                print(f"{name}: FAILED\n{result.get('failure', 'not complete')}")
                continue
            bound = SCENARIOS[name][1].get("bound")
            print(
                f"{name + (', stale reads' if stale else ''):<55} {'any' if bound is None else f'up to {bound}':<12} "
                f"{result['schedules']:>9} {result['pruned']:>7} {result['steps']:>10} {result['seconds']:>8.1f}"
            )
    total = sum(result.get("schedules", 0) for result in results.values())
    print(f"{total} schedules of {len(names)} scenarios in {time.monotonic() - start:.0f} s; {failed} failed")
    if file:
        with open(file, "w", encoding="utf-8") as target:
            json.dump([results[name, stale] for name in names for stale in variants(name)], target, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
