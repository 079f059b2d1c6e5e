"""Gives back the import system's locks after an interrupt.

What it is: two repairs. An interrupt that falls into an `import` leaves the global import lock or a module's lock
with the interrupted thread in 1-2 % of the hits, and then every import of that module, or of any, hangs. What a
body still owns is given back when it has left. What would be lost before that, since nobody could tell any more that
it is owed, or since the interrupt is swallowed (a weak reference's callback takes the global lock), is given back
at the place, as the interrupt arrives.

Assumes, of CPython's `importlib._bootstrap` (3.13 and later): `_module_locks` maps names to weak references of
locks with the fields `lock`, `owner`, `count`, `waiters` and `wakeup`; and the order of the statements that
`tests/test_assumptions.py` compares with its source. Where it is not so, nothing is done.
"""

import _imp
import sys

from ._sync import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

BOOTSTRAP = "<frozen importlib._bootstrap>"


def repair_interrupted_import(frame: "FrameType") -> None:
    """Undo a half-done operation of the import system: an interrupt arrives in `frame`, in this thread."""
    code = frame.f_code
    if code.co_filename != BOOTSTRAP:
        return
    lines = sorted({line for _, _, line in code.co_lines() if line is not None})
    place = lines.index(frame.f_lineno) if frame.f_lineno in lines else None
    if "acquire_lock" in code.co_names:
        if place == 1:  # taken in the first statement (0 is the `def`), before the `try`
            _release_global_lock(once=True)
    elif code.co_qualname == "_ModuleLock.acquire":
        lock: Any = frame.f_locals["self"]
        if place == len(lines) - 2:  # woken, and about to hand the wake-up on
            _wake(lock)
        elif place == len(lines) - 4 and not lock.waiters and lock.wakeup.locked():  # about to join those who wait
            lock.waiters.append(None)
    elif code.co_qualname == "_ModuleLock.release":
        lock = frame.f_locals["self"]
        if place == len(lines) - 3 and lock.waiters:  # given up, and about to take a waiter off ...
            lock.waiters.pop()
            _wake(lock)
        elif place == len(lines) - 2:  # ... or to wake it
            _wake(lock)


def release_import_locks() -> None:
    """Release what this thread holds of the import system's locks, but for imports that its callers are in."""
    bootstrap: Any = sys.modules["_frozen_importlib"]
    _release_global_lock()
    if not hasattr(bootstrap, "_module_locks"):
        return
    going_on = _imports_under_way(bootstrap, sys._getframe(1))
    for reference in [*bootstrap._module_locks.values()]:
        lock = reference()
        if lock is not None and hasattr(lock, "waiters") and lock.name not in going_on:
            _release(lock)


def _release_global_lock(once: bool = False) -> None:
    try:
        _imp.release_lock()
        while not once:
            _imp.release_lock()
    except RuntimeError:  # this thread does not hold it
        pass


def _imports_under_way(bootstrap: "Any", frame: "FrameType | None") -> set[str]:
    """The names of modules that are being imported by callers: a body that ran inline in another one's import."""
    names = set()
    importing = bootstrap._find_and_load.__code__
    while frame is not None:
        if frame.f_code is importing:
            names.add(frame.f_locals.get("name", ""))
        frame = frame.f_back
    return names


def _release(lock: "Any") -> None:
    with lock.lock:
        if lock.owner == get_ident():
            lock.count.clear()
            lock.owner = None
            if lock.waiters:
                lock.waiters.pop()
                _wake(lock)


def _wake(lock: "Any") -> None:
    try:
        lock.wakeup.release()
    except RuntimeError:  # somebody is awake
        pass
