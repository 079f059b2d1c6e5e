"""What type checkers see. Checked by mypy (it is among the files of its configuration), never run."""

from typing import assert_type

import makeparallel as mp


def half(number: int, *, up: bool = False) -> float:
    """A function with a keyword."""
    return number / 2 + up


@mp.parallel
def bare(number: int) -> str:
    """Decorated without options."""
    return str(number)


@mp.parallel(timeout=5, name="with options")
def with_options(number: int) -> bytes:
    """Decorated with options."""
    return bytes(number)


pool = mp.Pool(1)

assert_type(bare(1), mp.AsyncHandle[str])
assert_type(bare(1).get(), str)
assert_type(with_options(1), mp.AsyncHandle[bytes])
assert_type(mp.parallel(half)(3, up=True), mp.AsyncHandle[float])
assert_type(mp.parallel(half, timeout=1.0)(3), mp.AsyncHandle[float])
assert_type(bare.options(timeout=2)(1).exception(), mp.TaskError | None)
assert_type(pool.submit(half, 3, up=True), mp.AsyncHandle[float])
assert_type(pool.parallel(half)(3), mp.AsyncHandle[float])
assert_type(mp.gather([bare(1)]), list[str])
assert_type(mp.gather([bare(1)], on_error="return"), list[str | mp.TaskError])
assert_type(bare.map([1, 2]), list[str])
bare("not a number")  # type: ignore[arg-type]  # an argument of the wrong type is found
pool.submit(half, "not a number")  # type: ignore[arg-type]
