#!/usr/bin/env python3
"""Writes docs/design/reliability.md: for each promise what explores it, what is killed for it, what stresses it.

    .venv/bin/python scripts/reliability.py [--seconds N] [--seed S] [--keep]

It explores the model, has the mutants killed, runs the stress suite for N seconds in all, and writes the numbers of
that run; the page's last section is written by hand, and stays. With --keep the results of the last run in
build/reliability are used, where there are some.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HEAD = """\
# Reliability

What is promised, and what would notice if it did not hold. `scripts/reliability.py` writes this page; the numbers are
of one run: {run}.

- **Model**: {scenarios} small programs on the real source of the core, {schedules} schedules. A *schedule* is one order
  of all shared operations; orders that differ only where it makes no difference are left out. *Preemptions*: how often
  a thread may be stopped where it could go on; "any" explores everything. *Stale*: plain reads may give old values, as
  on a weakly ordered CPU.
- **Mutants**: {mutants} copies of the core with one step left out or reversed; each is found out by the scenario that
  is named beside it.
- **Stress**: random programs drawn from a seed, checked after each round.
- **Tests**: those marked as showing the promise. They include injection (an interrupt, a Ctrl-C or a finalizer at
  every place of every public call) and faults (threads that can't start, forks, signals, an exhausted stack).

## Promises

| | promise | model scenarios (schedules) | mutants killed | stress | tests |
| --- | --- | --- | --- | --- | --- |"""
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "reliability"
TARGET = ROOT / "docs" / "design" / "reliability.md"


def main() -> int:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="for the stress suite")
    parser.add_argument("--seed", default="reliability")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    scenarios = explored("scenarios.json", [], options.keep)
    mutants = explored("mutants.json", ["--mutants"], options.keep)
    stress = stressed(options)
    TARGET.write_text(report(scenarios, mutants, stress, options), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return 0


def explored(name: str, arguments: list[str], keep: bool) -> list[dict[str, object]]:
    """What `python -m model` found; it must succeed."""
    file = RESULTS / name
    if not (keep and file.exists()):
        subprocess.run([sys.executable, "-m", "model", *arguments, "--json", file], cwd=ROOT / "tests", check=True)
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def stressed(options: argparse.Namespace) -> str:
    """What the stress suite printed; it must succeed."""
    file = RESULTS / "stress.txt"
    if not (options.keep and file.exists()):
        command = [sys.executable, ROOT / "stress" / "run", "--seconds", str(options.seconds), "--seed", options.seed]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout)
        if done.returncode:
            sys.exit("the stress suite failed")
        file.write_text(done.stdout)
    return file.read_text()


# --- what the sources say ---------------------------------------------------------------------------


def invariants() -> dict[str, str]:
    """The labelled promises, from the core's README: I1 and so on, and the protocols."""
    text = (ROOT / "makeparallel" / "_core" / "README.md").read_text()
    found = dict(re.findall(r"^- \*\*(I\d)\*\* (.+?)(?:\n(?=-|\n))", text, re.MULTILINE | re.DOTALL))
    found |= {label: f"the protocol “{name}”" for label, name in re.findall(r"^## (P\d): (.+)$", text, re.MULTILINE)}
    return {label: " ".join(words.split()) for label, words in found.items()}


def proofs() -> dict[str, dict[str, int]]:
    """How many tests of each file are marked as showing each label."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for decorator in node.decorator_list:
                if ast.unparse(decorator).startswith("pytest.mark.proves(") and isinstance(decorator, ast.Call):
                    label = ast.literal_eval(decorator.args[0])
                    files = found.setdefault(label, {})
                    name = path.stem.removeprefix("test_")
                    files[name] = files.get(name, 0) + 1
    return found


def stress_programs() -> dict[str, list[str]]:
    """The labels that each stress program names in its docstring, in a line like `Stresses: I1, I3.`."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "stress").glob("stress_*.py")):
        words = ast.get_docstring(ast.parse(path.read_text())) or ""
        match = re.search(r"^Stresses: (.+)\.$", words, re.MULTILINE)
        if match is None:
            sys.exit(f"{path.name} does not say what it stresses")
        for label in match[1].split(", "):
            found.setdefault(label, []).append(path.stem)
    return found


def options_of_scenarios() -> dict[str, tuple[str, list[str], str]]:
    """Of each scenario: its docstring, its labels, and its bound on preemptions."""
    found = {}
    for node in ast.parse((ROOT / "tests" / "model" / "scenarios.py").read_text()).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "scenario":
                bounds = [ast.unparse(keyword.value) for keyword in decorator.keywords if keyword.arg == "bound"]
                labels = [ast.literal_eval(argument) for argument in decorator.args]
                found[node.name] = (ast.get_docstring(node) or "", labels, bounds[0] if bounds else "any")
    return found


# --- the page ---------------------------------------------------------------------------------------


def report(scenarios: list, mutants: list, stress: str, options: argparse.Namespace) -> str:  # type: ignore[type-arg]
    """The page's text."""
    facts = options_of_scenarios()
    tests, programs = proofs(), stress_programs()
    total = sum(row["schedules"] for row in scenarios)
    build = f"Python {sys.version.split()[0]}{'' if sys._is_gil_enabled() else ', free-threaded'}"  # type: ignore[attr-defined]
    sections = [
        HEAD.format(
            run=f"{time.strftime('%Y-%m-%d')}, {build}, {os.cpu_count()} CPUs",
            scenarios=len(facts),
            schedules=f"{total:,}",
            mutants=len(mutants),
        )
    ]
    for label, words in sorted(invariants().items()):
        names = [name for name, (_, labels, _) in facts.items() if label in labels]
        counts = {name: sum(row["schedules"] for row in scenarios if row["scenario"] == name) for name in names}
        cells = [
            label,
            words,
            f"{len(names)} ({sum(counts.values()):,})" if names else "-",
            str(sum(mutant["label"] == label for mutant in mutants)) if names else "-",
            ", ".join(name.removeprefix("stress_") for name in programs.get(label, [])) or "-",
            ", ".join(f"{name} {count}" for name, count in tests.get(label, {}).items()) or "-",
        ]
        sections.append(f"| {' | '.join(cells)} |")
    sections += [
        "\n## Scenarios\n",
        "| scenario | shows | preemptions | schedules | steps | what happens |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in scenarios:
        words, labels, bound = facts[row["scenario"]]
        name = f"`{row['scenario']}`{', stale' if row['stale'] else ''}"
        counts = f"{bound} | {row['schedules']:,} | {row['steps']:,}"
        sections.append(f"| {name} | {', '.join(labels)} | {counts} | {words} |")
    sections += ["\n## Mutants\n", "| breaks | mutants, each with the scenario that finds it out |", "| --- | --- |"]
    for label in sorted({mutant["label"] for mutant in mutants}):
        named = [f"{mutant['name']} (`{mutant['scenario']}`)" for mutant in mutants if mutant["label"] == label]
        sections.append(f"| {label} | {'; '.join(named)} |")
    sections += [
        "\n## Faults survived\n",
        "The hazard after which a test is named, and what holds in spite of it (`test_faults.py`, `test_breaks.py`):\n",
    ]
    sections += [f"- {words}" for words in faults()]
    command = f"`stress/run --seconds {options.seconds} --seed {options.seed}`"
    sections += [
        "\n## Stress\n",
        f"{command}; rounds (tasks) that were run, all of which held:\n",
        *stress_table(stress),
    ]
    return "\n".join(sections) + "\n\n" + notes()


def faults() -> list[str]:
    """What the tests of faults and of breaks say of themselves."""
    found = []
    for name in ("test_faults.py", "test_breaks.py"):
        for node in ast.parse((ROOT / "tests" / name).read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                hazard = node.name.removeprefix("test_").replace("_", " ")
                found.append(f"*{hazard}*: {(ast.get_docstring(node) or hazard).splitlines()[0]}")
    return found


def stress_table(stress: str) -> list[str]:
    """How much of each program was run in each setting."""
    cells: dict[str, dict[str, str]] = {}
    for line in stress.splitlines():
        facts = re.match(r"(\w+), (.+?) +[\d.]+ s +ok: (\d+) rounds, (\d+) tasks", line)
        if facts:
            cells.setdefault(facts[1], {})[facts[2]] = f"{int(facts[3]):,} ({int(facts[4]):,})"
    settings = list(next(iter(cells.values())))
    table = [f"| program | {' | '.join(settings)} |", f"| --- | {'--- | ' * len(settings)}"]
    table += [
        f"| {name} | {' | '.join(row.get(setting, '-') for setting in settings)} |" for name, row in cells.items()
    ]
    return [*table, "", stress.strip().splitlines()[-1] + "."]


def notes() -> str:
    """The page's last section, which is written by hand and stays."""
    heading, old = "## What was found, and what this does not show", TARGET.read_text() if TARGET.exists() else ""
    return old[old.index(heading) :] if heading in old else f"{heading}\n"


if __name__ == "__main__":
    sys.exit(main())
