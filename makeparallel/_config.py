"""Frozen options, and the checks that every public argument passes before anything starts.

Guarantees: a check either returns the value in the type the rest of the library uses, or raises at
the caller's line with the argument's name, the offending value, the rule and the remedy. A `bool` is
never taken for a number.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from makeparallel._pool import Pool

INFINITY = float("inf")
ENVIRONMENT_WORKERS = "MAKEPARALLEL_WORKERS"
MAX_WORKERS = 4096
MAX_PENDING = 1_000_000
HARD_GRACE_SECS = 0.2


class Unset:
    """The type of `UNSET`, for keywords whose `None` means something."""

    def __repr__(self) -> str:
        return "<unset>"


UNSET: "Final" = Unset()


class TaskOptions(NamedTuple):
    """What a decorated function passes on to each of its tasks."""

    name: str
    timeout: float | None = None
    interrupt: bool = True
    max_memory_mb: float | None = None
    max_cpu_time_secs: float | None = None
    pool: "Pool | None" = None
    executor: None = None


class PoolOptions(NamedTuple):
    """What `configure` and `Pool` were told; None stands for the default."""

    workers: int | None = None
    max_pending: int | None = None
    when_full: str = "wait"
    thread_name_prefix: str = "makeparallel"
    hard_grace_secs: float | None = HARD_GRACE_SECS
    max_abandoned: int | None = None


def check_seconds(value: object, name: str) -> float | None:
    """Check a time in seconds: None and infinity mean no limit, zero is allowed."""
    if value is None:
        return None
    number = _number(value, name, "a number of seconds or None")
    if number != number or number < 0:
        raise ValueError(f"{name}={value!r}: seconds must not be negative or NaN; use None for no limit")
    return None if number == INFINITY else number


def check_sleep(value: object) -> float | None:
    """Check how long to sleep, in seconds: zero and infinity are allowed; None stands for infinity."""
    number = _number(value, "secs", "a number of seconds")
    if number != number or number < 0:
        raise ValueError(f"secs={value!r}: seconds must not be negative or NaN")
    return None if number == INFINITY else number


def check_limit(value: object, name: str, unit: str) -> float | None:
    """Check a resource limit: a finite number above zero, or None for no limit."""
    if value is None:
        return None
    number = _number(value, name, f"a number of {unit} or None")
    if not 0 < number < INFINITY:
        raise ValueError(f"{name}={value!r}: must be a finite number of {unit} above 0; use None for no limit")
    return number


def check_fraction(value: object, name: str) -> float:
    """Check a fraction in [0, 1]."""
    number = _number(value, name, "a number from 0 to 1")
    if not 0 <= number <= 1:
        raise ValueError(f"{name}={value!r}: must lie in [0, 1]; divide what is done by what there is to do")
    return number


def check_count(value: object, name: str, default: str) -> int | None:
    """Check a whole number above zero, or None for the default."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: must be a whole number or None, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}={value!r}: must be at least 1; use None for {default}")
    return value


def check_workers(value: object, name: str = "workers") -> int | None:
    """Check a number of workers, or None for the CPUs this process may use."""
    workers = check_count(value, name, "the CPUs this process may use")
    if workers is not None and workers > MAX_WORKERS:
        raise ValueError(f"{name}={workers}: at most {MAX_WORKERS} workers; more threads than CPUs make nothing faster")
    return workers


def check_pending(value: object, name: str = "max_pending") -> int | None:
    """Check a bound on waiting tasks, or None for no bound."""
    pending = check_count(value, name, "no limit")
    if pending is not None and pending > MAX_PENDING:
        raise ValueError(f"{name}={pending!r}: at most {MAX_PENDING}; use None for no limit")
    return pending


def check_bool(value: object, name: str) -> bool:
    """Check a switch: only True and False will do."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: must be True or False, not {type(value).__name__}")
    return value


def check_name(value: object, name: str = "name") -> str:
    """Check a name: a string with something in it."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name}={value!r}: must not be empty")
    return value


def check_choice(value: object, name: str, choices: "tuple[str, ...]") -> str:
    """Check one of a few words."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: must be one of {', '.join(map(repr, choices))}")
    if value not in choices:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(repr, choices))}")
    return value


def check_pool_options(
    workers: object, max_pending: object, when_full: object, prefix: str, hard_grace: object, max_abandoned: object
) -> PoolOptions:
    """Check the options that `Pool` and `configure` share."""
    return PoolOptions(
        check_workers(workers),
        check_pending(max_pending),
        check_choice(when_full, "when_full", ("wait", "raise")),
        prefix,
        check_seconds(hard_grace, "hard_grace_secs"),
        check_count(max_abandoned, "max_abandoned", "64 + 4 per worker"),
    )


def changed_options(
    options: PoolOptions,
    workers: "int | Unset | None",
    max_pending: "int | Unset | None",
    when_full: "str | Unset",
    prefix: "str | Unset",
    hard_grace: "float | Unset | None",
    max_abandoned: "int | Unset | None",
) -> PoolOptions:
    """Options with those replaced that were given."""
    return check_pool_options(
        options.workers if workers is UNSET else workers,
        options.max_pending if max_pending is UNSET else max_pending,
        options.when_full if when_full is UNSET else when_full,
        options.thread_name_prefix if prefix is UNSET else check_name(prefix, "thread_name_prefix"),
        options.hard_grace_secs if hard_grace is UNSET else hard_grace,
        options.max_abandoned if max_abandoned is UNSET else max_abandoned,
    )


def _number(value: object, name: str, rule: str) -> float:
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}={value!r}: must be {rule}, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}={value!r:.20}…: must be {rule}; this one is too large for a float") from None
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}={value!r}: must be {rule} ({error})") from None


def environment_workers(environ: "Mapping[str, Any]" = os.environ) -> int | None:
    """Read `MAKEPARALLEL_WORKERS`; None if it isn't set.

    Raises:
        ValueError: it is set, and isn't a whole number above zero.
    """
    text = environ.get(ENVIRONMENT_WORKERS, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise ValueError(
            f"the environment variable {ENVIRONMENT_WORKERS}={text!r} must be a whole number from 1 to "
            f"{MAX_WORKERS}; unset it for the CPUs this process may use"
        )
    return int(text)
