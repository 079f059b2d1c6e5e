"""Write docs/design/performance.md from the results; what stands between its markers is written by hand, and stays.

.venv-bench/bin/python stress/bench/page.py [--json FILE] [--out FILE]
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import machine
from charts import CHARTS
from command import RESULTS, ROOT
from peers import US
from table import bound, number, span, verdict

TARGET = ROOT / "docs" / "design" / "performance.md"
#: The cases that are columns of one table, with one line for each peer.
COLUMNS = {
    "submit_all": "submit all, get all",
    "submit_get": "one at a time",
    "submitters": "8 submitting threads",
    "map_empty": "map",
    "imap": "lazy map",
    "pending": "memory",
}
#: What is written by hand, after the figures.
BY_HAND = ("Where the time of one task goes", "Past this machine", "Where something else is the better choice")
BEGIN, END = "<!-- by hand: {} -->", "<!-- end -->"
#: So many commands are named at most.
MANY = 3
#: Pages that are longer are not read, and a test says so.
LINES = 200
Cases = dict[str, dict[str, Any]]

HEAD = """\
# Performance

`stress/bench/page.py` writes this page from the results of `stress/bench/run`; to take them on your machine:
`scripts/bench`. We and the peers take turns in one process. Figures are the median of the rounds, with the range in
parentheses; a ratio is of one round.

## The limits of these numbers
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    cases: Cases = json.loads(options.json.read_text())["cases"]
    text = report(cases, options.out.read_text() if options.out.exists() else "", options.out.parent)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    lines = len(text.splitlines())
    print(f"wrote {options.out.name}, {lines} lines{'' if lines < LINES else f': too long, {LINES} is the limit'}")
    return 0


def report(cases: Cases, old: str, folder: Path) -> str:
    """The whole page."""
    found = {name: facts for name, facts in cases.items() if not facts["skipped"]}
    parts = [
        HEAD,
        *limits(cases),
        "\n## Bars\n",
        *bars(found),
        "\n## One task and one item\n",
        *beside_peers(found),
        *chart("cost", "The cost of a task and of an item, beside the peers", folder),
        "\n## The size of a task, and the number of workers\n",
        *chart("efficiency", "The useful part of the machine against the size of a task", folder),
        *chart("scaling", "Speed against the number of workers", folder),
        *others(found),
        "\n## What was done\n",
        *(f"- `{name}`: {' '.join([facts['title'] + '.', *facts['notes']])}" for name, facts in found.items()),
        *(f"- `{name}`: {facts['title']}: {facts['skipped']}" for name, facts in cases.items() if facts["skipped"]),
    ]
    return "\n".join(parts) + "\n" + "".join(by_hand(heading, old) for heading in BY_HAND)


# --- what the results say -------------------------------------------------------------------------


def limits(cases: Cases) -> list[str]:
    """What a reader must know before any number: the machine, its noise, what is not shown."""
    machines = {json.dumps({**facts["machine"], "load_before": 0}): facts["machine"] for facts in cases.values()}
    lines = [f"- {'; '.join(machine.words(facts))}." for facts in machines.values()]
    if len(machines) > 1:
        lines.append("- The cases were not all run on the same machine and interpreter: compare within a case only.")
    dates = sorted(facts["date"] for facts in cases.values())
    commands = list(dict.fromkeys(facts["command"] for facts in cases.values()))
    if len(commands) > MANY:
        commands = [*commands[:MANY], "..."]
    noise = [facts["noise"]["spread_percent"] for facts in cases.values()]
    switches = sum(facts["noise"]["involuntary_switches"] for facts in cases.values())
    lines += [
        (
            f"- Taken {dates[0]}{f' to {dates[-1]}' if dates[-1] != dates[0] else ''}, with "
            f"{', '.join(f'`{command}`' for command in commands)}."
        ),
        (
            f"- How unsteady the machine was: a fixed loop of pure Python, timed before each round, varied "
            f"by {number(min(noise))} to {number(max(noise))} % within a case; involuntary switches: {switches:,.0f}."
        ),
        "- Times are this machine's. Ratios carry further, but not to another number of cores or another Python.",
        "- Empty functions are the worst case for any pool: they show what a task costs, not what a program gains.",
        "- Peers run with their defaults; slow ones get fewer tasks, and figures are for one.",
    ]
    left_out = {who: why for facts in cases.values() for who, why in facts["left_out"].items()}
    lines += [f"- {who} is left out: {why}." for who, why in left_out.items()]
    if any(facts["quick"] for facts in cases.values()):
        lines.append("- **Some cases were run with small sizes, as a smoke test: their figures mean nothing.**")
    return lines


def figure(facts: dict[str, Any]) -> str:
    """The median with its unit, and the range where there is one."""
    median = f"{number(facts['median'])} {facts.get('unit', '')}".strip()
    return median if number(facts["min"]) == number(facts["max"]) else f"{median} ({span(facts)})"


def bars(found: Cases) -> list[str]:
    lines = ["| case | what | measured | bar | goal |", "| --- | --- | --- | --- | --- |"]
    for name, facts in found.items():
        for check in facts["checks"]:
            cells = [f"{bound(check, bar)} {verdict(check, bar)}".strip() for bar in ("bar", "goal")]
            lines.append(f"| `{name}` | {check['what']} | {figure(check)} | {cells[0]} | {cells[1]} |")
    return lines


def beside_peers(found: Cases) -> list[str]:
    """One line for each contender, one column for each case that all can take part in."""
    columns = {name: title for name, title in COLUMNS.items() if name in found}
    cells: dict[str, dict[str, str]] = {}
    for name in columns:
        for row in found[name]["rows"]:
            who = row["who"].removesuffix(".map") if name == "imap" else row["who"]
            cells.setdefault(who, {})[name] = figure(row)
    heads = [f"{title}, {found[name]['unit']}" for name, title in columns.items()]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for who in sorted(cells, key=lambda who: not who.startswith(US)):
        lines.append(f"| {who} | {' | '.join(cells[who].get(name, '') for name in columns)} |")
    return lines


def others(found: Cases) -> list[str]:
    """All other rows; those of one contender stand in one line."""
    lines = ["", "| case | who | figures |", "| --- | --- | --- |"]
    for name, facts in found.items():
        if name in COLUMNS:
            continue
        together: dict[str, list[str]] = {}
        for row in facts["rows"]:
            who, _, way = row["who"].partition(", ")
            together.setdefault(who, []).append(f"{way} {figure(row)}".strip())
        unit = f", {facts['unit']}" if facts["unit"] else ""
        lines += [f"| `{name}`{unit} | {who} | {'; '.join(figures)} |" for who, figures in together.items()]
    return lines


def chart(name: str, words: str, folder: Path) -> list[str]:
    """A chart, if it was drawn."""
    assert name in CHARTS
    return [f"\n![{words}](img/{name}.svg)"] if (folder / "img" / f"{name}.svg").exists() else []


def by_hand(heading: str, old: str) -> str:
    """A section with what stands in the page now."""
    begin = BEGIN.format(heading)
    kept = re.search(re.escape(begin) + r"\n(.*?)" + re.escape(END), old, re.DOTALL)
    return f"\n## {heading}\n\n{begin}\n{kept[1] if kept else ''}{END}\n"


if __name__ == "__main__":
    sys.exit(main())
