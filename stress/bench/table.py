"""The table: what each contender needs, then each ratio beside its bar and its goal."""

from typing import Any

#: Above so many percent the machine was doing something else too.
NOISY = 10
HEADS = ("case", "what", "measured", "min to max", "bar", "", "goal", "")


def number(value: float) -> str:
    """Three digits that matter."""
    if value and abs(value) < 0.001:
        return f"{value:.1g}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}" if abs(value) >= 1 else f"{value:.3f}"


def span(facts: dict[str, Any]) -> str:
    if len(facts["values"]) == 1:
        return "one run"
    return f"{number(facts['min'])} to {number(facts['max'])}"


def bound(check: dict[str, Any], name: str) -> str:
    return "" if check[name] is None else f"{check['sign']} {check[name]:g}"


def verdict(check: dict[str, Any], name: str) -> str:
    return {None: "", True: "reached", False: "missed"}[check[f"{name}_reached"]]


def print_case(name: str, facts: dict[str, Any]) -> None:
    """What a case found, as soon as it has."""
    print(f"\n{name}: {facts['title']}" + (f" ({facts['unit']})" if facts["unit"] else ""))
    if facts["skipped"]:
        print(f"  skipped: {facts['skipped']}")
        return
    width = max((len(row["who"]) for row in facts["rows"]), default=0)
    for row in facts["rows"]:
        ratio = "" if row["ratio"] is None else f"{number(row['ratio']['median'])} x ours ({span(row['ratio'])})"
        print(f"  {row['who']:{width}}  {number(row['median']):>9}  {span(row):>17}  {ratio}".rstrip())
    for who, why in facts["left_out"].items():
        print(f"  {who} is left out: {why}")
    for note in facts["notes"]:
        print(f"  {note}")
    noise = facts["noise"]
    print(
        f"  {'NOISY' if noise['spread_percent'] > NOISY else 'noise'}: a fixed loop varied by "
        f"{noise['spread_percent']:.0f} %, "
        f"{noise['involuntary_switches']:.0f} involuntary context switches, {facts['seconds']:.0f} s"
    )


def print_checks(cases: dict[str, dict[str, Any]]) -> None:
    """All ratios with their bars and goals."""
    lines: list[tuple[str, ...]] = [HEADS]
    for name, facts in cases.items():
        if facts["skipped"]:
            lines.append((name, "skipped", "", "", "", "", "", ""))
        for check in facts["checks"]:
            lines.append(
                (
                    name,
                    check["what"],
                    f"{number(check['median'])} {check['unit']}".strip(),
                    span(check),
                    bound(check, "bar"),
                    verdict(check, "bar"),
                    bound(check, "goal"),
                    verdict(check, "goal"),
                )
            )
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADS))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def missed(cases: dict[str, dict[str, Any]]) -> list[str]:
    """The bars that were not reached, of those that an exit status may depend on."""
    return [
        f"{name}: {check['what']}"
        for name, facts in cases.items()
        for check in facts["checks"]
        if check["bar_reached"] is False and check["strict"]
    ]
