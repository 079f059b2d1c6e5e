"""Timing that compares: contenders take turns, each ratio is of one round, and the machine's noise stands beside it."""

import gc
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

#: Does so many operations.
Work = Callable[[int], object]
#: Iterations of the loop that shows how steady the machine is: about ten milliseconds.
CALIBRATION = 400_000


@dataclass(frozen=True)
class Contender:
    """One that takes turns: `open` prepares a turn, outside of the time taken, and gives what is timed."""

    name: str
    open: Callable[[], AbstractContextManager[Work]]
    count: int  # operations in a turn; times are given for one
    warm: int = 100  # operations before the turn, at most `count`


@dataclass(frozen=True)
class Spread:
    """The rounds of one figure."""

    values: list[float]

    @property
    def median(self) -> float:
        return median(self.values)

    def facts(self) -> dict[str, Any]:
        return {"median": self.median, "min": min(self.values), "max": max(self.values), "values": self.values}


@dataclass(frozen=True)
class Row:
    """What one contender needs for one operation; `ratio` is how many times as much as we."""

    who: str
    value: Spread
    count: int = 1
    ratio: Spread | None = None

    def facts(self) -> dict[str, Any]:
        return {
            "who": self.who,
            "count": self.count,
            **self.value.facts(),
            "ratio": self.ratio and self.ratio.facts(),
        }


@dataclass(frozen=True)
class Check:
    """A figure, mostly a ratio, beside its bar and its goal; the median decides."""

    what: str
    value: Spread
    bar: float | None = None
    goal: float | None = None
    at_least: bool = True  # else at most
    unit: str = "x"
    strict: bool = True  # False: an absolute time, which no exit status may depend on

    def reached(self, bound: float | None) -> bool | None:
        if bound is None:
            return None
        return self.value.median >= bound if self.at_least else self.value.median <= bound

    def facts(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "sign": "≥" if self.at_least else "≤",
            **self.value.facts(),
            "bar": self.bar,
            "bar_reached": self.reached(self.bar),
            "goal": self.goal,
            "goal_reached": self.reached(self.goal),
            "strict": self.strict,
        }


@dataclass
class Result:
    """What a case found."""

    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""  # why there is nothing

    def facts(self) -> dict[str, Any]:
        return {
            "rows": [row.facts() for row in self.rows],
            "checks": [check.facts() for check in self.checks],
            "notes": self.notes,
            "curves": self.curves,
            "skipped": self.skipped,
        }


class Timings(dict[str, list[float]]):
    """For each contender the seconds of one operation, round by round."""

    def ratios(self, above: str, below: str, factor: float = 1.0) -> Spread:
        """How many times as long `above` takes as `below`, in each round."""
        return Spread([factor * over / under for over, under in zip(self[above], self[below], strict=True)])

    def rows(self, contenders: list[Contender], scale: float, us: str = "makeParallel") -> list[Row]:
        """A row for each contender, with times multiplied by `scale`."""
        return [
            Row(
                one.name,
                Spread([scale * value for value in self[one.name]]),
                one.count,
                self.ratios(one.name, us) if us in self and one.name != us else None,
            )
            for one in contenders
        ]


class Bench:
    """One run: its options, and what the machine did meanwhile."""

    def __init__(self, workers: int, rounds: int, quick: bool) -> None:
        self.workers, self.rounds, self.quick = workers, rounds, quick
        self.left_out: dict[str, str] = {}
        self.noise: list[float] = []
        self._switches = 0

    def begin(self) -> None:
        """Forget what was noted in the case before."""
        self.left_out, self.noise = {}, []
        self._switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def compete(self, contenders: list[Contender], times: int = 1, most: int = 1000) -> Timings:
        """Have the contenders take turns; another one begins each round. `times` as many rounds, at `most` so many."""
        timings = Timings({one.name: [] for one in contenders})
        for turn in range(min(times * self.rounds, most)):
            self.calibrate()
            first = turn % len(contenders)
            for one in contenders[first:] + contenders[:first]:
                with one.open() as work:
                    timings[one.name].append(take_turn(one, work))
        return timings

    def calibrate(self) -> None:
        """Time a loop of pure Python: what differs between rounds is the machine's doing."""
        start = time.perf_counter()
        for _ in range(CALIBRATION):
            pass
        self.noise.append(time.perf_counter() - start)

    def noise_facts(self) -> dict[str, float]:
        """How unsteady the machine was since `begin`."""
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - self._switches
        loops = self.noise or [1.0]
        return {
            "spread_percent": 100 * (max(loops) - min(loops)) / median(loops),
            "loop_ns": 1e9 * median(loops) / CALIBRATION,
            "involuntary_switches": switches,
        }


def take_turn(one: Contender, work: Work) -> float:
    """Seconds of one operation, in one turn."""
    if warm := min(one.warm, one.count):
        work(warm)
    gc.collect()  # not what an earlier turn has left
    start = time.perf_counter()
    work(one.count)
    return (time.perf_counter() - start) / one.count


@contextmanager
def bare(work: Work) -> Iterator[Work]:
    """Work that needs no preparation."""
    yield work


# --- the cases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    unit: str  # of its rows
    run: Callable[[Bench], Result]


#: All cases, by name.
CASES: dict[str, Case] = {}


def case(name: str, title: str, unit: str) -> Callable[[Callable[[Bench], Result]], Callable[[Bench], Result]]:
    """Enter a function into the suite."""

    def enter(function: Callable[[Bench], Result]) -> Callable[[Bench], Result]:
        CASES[name] = Case(name, title, unit, function)
        return function

    return enter
