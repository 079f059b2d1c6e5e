"""Explores a scenario of the core, and tells a failing schedule step by step."""

from collections.abc import Iterator

from .explore import Report, Violation, schedules
from .load import Core
from .model_sync import engine
from .scenarios import SCENARIOS


def explore(name: str, core: Core, *, stale: bool = False, limit: int | None = None) -> Report:
    """Run all schedules of a scenario, or `limit` of them.

    Raises:
        AssertionError: one broke a promise; the message is the schedule, step by step.
    """
    report = Report(name)
    try:
        for so_far in _runs(name, core, stale, limit):
            report = so_far
    except BaseException as error:
        number = report.schedules + 1
        raise AssertionError(tell(name, core, number, stale=stale, error=error)) from error
    return report


def tell(name: str, core: Core, number: int, *, stale: bool = False, error: BaseException | None = None) -> str:
    """Replay a schedule by its number; its steps, numbered, and how it ended."""
    replayed: BaseException | None = None
    engine.verbose = number == 1
    try:
        for report in _runs(name, core, stale, number):
            engine.verbose = report.schedules == number - 1
    except BaseException as caught:
        replayed = caught
    finally:
        engine.verbose = False
    text = "every promise held" if replayed is None else f"{type(replayed).__name__}: {replayed}"
    if error is not None and str(error) != str(replayed):
        text += f"\n(the first time it was {type(error).__name__}: {error})"
    steps = "\n".join(f"{step:4}  {line}" for step, line in enumerate(engine.log))
    again = f"python -m model {name} --replay {number}{' --stale' if stale else ''}"
    which = f"schedule {number} of {name}{', with stale reads' if stale else ''}"
    return f"{which}: {text}\n{steps}\nAgain, in tests/: {again}"


def _runs(name: str, core: Core, stale: bool, limit: int | None) -> Iterator[Report]:
    scenario, options = SCENARIOS[name]
    engine.stale = stale
    engine.interrupts = options.get("interrupts", False)
    return schedules(engine, name, lambda engine: scenario(core, engine), options.get("bound"), limit)


def variants(name: str) -> list[bool]:
    """Whether a scenario is explored with stale reads: without, or also with."""
    return [False, True] if SCENARIOS[name][1].get("stale") else [False]


__all__ = ["Violation", "explore", "tell", "variants"]
