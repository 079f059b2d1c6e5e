"""What a user's function is: its name, whether it may be a task, whether `timeout=` is its own.

Answered from the code object where there is one; `inspect` takes 15 ms to import.
"""

from functools import partial
from types import FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CO_VARARGS_KEYWORDS, CO_NESTED = 0x08, 0x10
CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Decorated:
    """Marks what `parallel` returns, so that it can be unwrapped where a plain function is wanted."""

    __slots__ = ("__wrapped__", "_interrupt", "_label", "_timeout")

    __wrapped__: "Callable[..., Any]"
    _interrupt: bool
    _label: str
    _timeout: float | None


def unwrap(fn: "Callable[..., Any]") -> "Callable[..., Any]":
    """The user's own function, of a decorated one or of itself."""
    return fn.__wrapped__ if isinstance(fn, Decorated) else fn


def own_copy(fn: "Callable[..., Any]") -> "Callable[..., Any]":
    """A copy of a nested function for one worker, or what else there is as it is.

    Each call counts a reference to the function. For one at the top of a module that is free; workers that call the
    same nested one, a lambda for example, wait for each other's cache line: half of a small one's time. The variables
    that it has from outside stay shared, and with them that part of the wait.
    """
    if type(fn) is FunctionType and fn.__code__.co_flags & CO_NESTED:
        copy = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
        copy.__kwdefaults__ = fn.__kwdefaults__
        return copy
    return fn


def function_name(fn: object) -> str:
    """What to call a task of this function if it was given no name."""
    return getattr(fn, "__name__", None) or type(fn).__name__


def timeout_parameter(fn: "Any") -> tuple[bool, bool]:
    """Tell whether a function has a parameter named `timeout`, and whether it takes any keyword, as far as known."""
    while isinstance(fn, (MethodType, staticmethod)):
        fn = fn.__func__
    code = getattr(fn, "__code__", None)
    if code is None:
        return _look_up_timeout(fn)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return "timeout" in names, bool(code.co_flags & CO_VARARGS_KEYWORDS)


def _look_up_timeout(fn: "Callable[..., Any]") -> tuple[bool, bool]:
    import inspect  # slow (15 ms): only for callables that are no plain functions

    try:
        parameters = inspect.signature(fn, follow_wrapped=False).parameters
    except (TypeError, ValueError):
        return False, True
    return "timeout" in parameters, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def check_function(fn: object, caller: str = "parallel") -> None:
    """Check that a call of `fn` can be a task.

    Raises:
        TypeError: it can't; the message says what to do.
    """
    if isinstance(fn, (classmethod, property)):
        kind = type(fn).__name__
        raise TypeError(f"{caller}({fn!r}): put @{kind} above @mp.parallel, so that it is applied last")
    if isinstance(fn, type):
        return  # a class is called like a function
    if not callable(fn):
        raise TypeError(f"{caller}({fn!r}): must be a function or another callable, not {type(fn).__name__}")
    inner: Any = fn
    while True:
        if isinstance(inner, partial):
            inner = inner.func
        elif hasattr(inner, "__func__"):  # methods, static methods
            inner = inner.__func__
        else:
            break
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    flags = 0 if code is None else code.co_flags
    if flags & CO_COROUTINE:
        raise TypeError(
            f"{caller}({function_name(fn)}): is a coroutine function (async def); use parallel_async for it "
            "(not available in this version)"
        )
    if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise TypeError(
            f"{caller}({function_name(fn)}): is a generator function, whose call runs nothing; "
            "return a list, or put the loop in the function that calls parallel"
        )
