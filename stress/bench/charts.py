"""Draw the charts of docs/design/performance.md from the results: SVG for the page, PNG in build/ to look at.

    .venv-bench/bin/python stress/bench/charts.py [--json FILE] [--out FOLDER]

The same results give the same files, on every machine: no date, no font, no random ids.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from command import RESULTS, ROOT
from peers import STDLIB, US

IMAGES = ROOT / "docs" / "design" / "img"
#: We are blue; the standard library is dark, the others are lighter.
COLORS = {
    US: "#1f6fb4",
    "makeParallel, parallel_map": "#7fb3dd",
    STDLIB: "#444444",
    "multiprocessing.pool.ThreadPool": "#c0711f",
    "ProcessPoolExecutor": "#3f8f4f",
    "loky": "#9a6fb0",
}
OTHER = "#a6a6a6"
MARKERS = "osD^v"
Cases = dict[str, dict[str, Any]]


def color(who: str) -> str:
    return COLORS.get(who, COLORS[US] if who.startswith(US) else OTHER)


def draw_cost(plot: Any, cases: Cases) -> Any:
    """What one task, and one item of a map, costs with each: bars on a logarithmic scale."""
    figure, places = plot.subplots(1, 2, figsize=(9.6, 3.9))
    titles = {"submit_all": "submit an empty function, then get: µs a task", "map_empty": "map: µs an item"}
    for axes, (name, title) in zip(places, titles.items(), strict=True):
        rows = sorted(cases[name]["rows"], key=lambda row: -row["median"])
        values = [row["median"] for row in rows]
        errors = [
            [value - row["min"] for row, value in zip(rows, values, strict=True)],
            [row["max"] - value for row, value in zip(rows, values, strict=True)],
        ]
        names = [row["who"].replace("multiprocessing.pool.", "") for row in rows]
        axes.barh(names, values, xerr=errors, color=[color(row["who"]) for row in rows], height=0.62, ecolor="#777777")
        for place, row in enumerate(rows):
            axes.text(row["max"] * 1.25, place, f"{row['median']:.3g}", va="center", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 8)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", color="#e4e4e4")
    return figure


def draw_efficiency(plot: Any, cases: Cases) -> Any:
    """Which part of the machine is useful, against the size of a task."""
    figure, axes = plot.subplots(figsize=(7.2, 4.2))
    for place, (who, points) in enumerate(cases["metg"]["curves"]["efficiency"].items()):
        sizes, useful = zip(*points, strict=True)
        axes.plot(sizes, [100 * value for value in useful], color=color(who), marker=MARKERS[place], ms=4, label=who)
    axes.axhline(50, color="#b03030", lw=1, ls="--", label="half: METG(50 %)")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 105)
    axes.set_xlabel("time of one task (µs)")
    axes.set_ylabel(f"useful part of {cases['metg']['workers']} workers (%)")
    axes.grid(color="#e4e4e4")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


def draw_scaling(plot: Any, cases: Cases) -> Any:
    """How many times as fast as a plain loop coarse tasks are, against the number of workers."""
    figure, axes = plot.subplots(figsize=(6.6, 3.8))
    curves = cases["scaling"]["curves"]["speedup"]
    counts = [count for count, _ in next(iter(curves.values()))]
    axes.plot(counts, counts, color="#b03030", lw=1, ls="--", label="ideal")
    for place, (who, points) in enumerate(curves.items()):
        workers, gains = zip(*points, strict=True)
        axes.plot(workers, gains, color=color(who), marker=MARKERS[place], ms=5, label=who)
    axes.set_xticks(counts)
    axes.set_ylim(0, 1.08 * max(counts))
    axes.set_xlabel("workers")
    axes.set_ylabel("times as fast as a plain loop")
    axes.grid(color="#e4e4e4")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


#: For each chart how it is drawn, and the cases that it needs.
CHARTS: dict[str, tuple[Callable[[Any, Cases], Any], tuple[str, ...]]] = {
    "cost": (draw_cost, ("submit_all", "map_empty")),
    "efficiency": (draw_efficiency, ("metg",)),
    "scaling": (draw_scaling, ("scaling",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=IMAGES, help="for the SVG files")
    options = parser.parse_args()
    try:
        matplotlib = import_module("matplotlib")
    except ModuleNotFoundError:
        sys.exit("charts need matplotlib: scripts/bench makes a .venv-bench that has it")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "makeparallel", "axes.axisbelow": True})
    plot = import_module("matplotlib.pyplot")
    cases: Cases = json.loads(options.json.read_text())["cases"]
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = RESULTS.parent
    pictures.mkdir(parents=True, exist_ok=True)
    for name, (draw, needs) in CHARTS.items():
        if missing := [
            case for case in needs if not (cases.get(case, {}).get("rows") or cases.get(case, {}).get("curves"))
        ]:
            print(f"{name}: not drawn, there is no result of {', '.join(missing)}")
            continue
        figure = draw(plot, cases)
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(options.out / f"{name}.svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        figure.savefig(pictures / f"{name}.png", bbox_inches="tight", dpi=110)
        plot.close(figure)
        print(f"wrote {options.out / name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
