"""The seam to the interpreter: every primitive that threads meet at comes from here.

What it is: the only module that imports `threading`, `_thread`, `time` or a queue type. So a model
checker can load the core a second time with this module replaced by one whose every operation is a
scheduling point, and production code pays nothing for that.

Assumes, of CPython (free-threaded 3.13 and later; with the GIL all of it holds trivially):

- C1  `list.append`, `list.pop`, `list.remove`, a list's slice, and the methods of `deque` that add, take,
      remove or rotate run under that object's own lock. (Not `deque.copy`: it lets go in between.)
      Operations on *one* object therefore have one total order, and what a thread did before the
      earlier one is visible to the other thread after the later one. So do `x in deque`, and of a dict:
      operations on one key, `setdefault`, `copy`, `list(d)`, `[*d.values()]`.
- C2  `deque.rotate(0)` takes that lock also on an empty deque, and changes nothing: the cheapest way
      to order a plain read of the deque's length after another thread's operation on it (`fence`).
- C3  A plain read of an attribute or of a length is atomic but ordered with nothing.
- C4  Finalizers, signal handlers and asynchronous exceptions run only where the evaluation loop looks
      at its breaker: after a call, at a function's start, at a backward jump. `x.n += 1` on an int
      holds no such place, so one thread's own counter needs no lock against its own finalizers.
- C5  A C function that calls a C function holds no such place either: `move` cannot be broken in two.
- C6  `os.fork` stops all threads outside such locks. But one that several threads were waiting for may have been
      handed to one of them, which the child does not have: an object that threads contend for at a fork is
      unusable in the child in about one of a thousand forks. So a forked child makes new ones where it can.
- C7  A loop whose body ends with an `if` compiles to a backward jump that the exception table of an
      enclosing `try` does not cover, though a break can fall there. Where a `try` must see every break,
      its loops stand in functions of their own. (`tests/test_architecture.py` looks for such gaps.)
- C8  `PyThreadState_SetAsyncExc` replaces what is pending for a thread, and the thread raises it at the next
      place of C4 that it comes to; what was sent before a lock is released is pending for whoever takes
      that lock next. A Python function's start is always such a place. With NULL it takes back what is
      pending. Entering `with lock` holds no such place, so no interrupt falls between taking and having.
- C9  `list.remove` compares by identity before it calls anything.
"""

import sys
import threading
from _thread import RLock, allocate_lock, get_ident
from _thread import allocate_lock as Lock  # noqa: N812  # a type in all but name
from collections import deque
from itertools import count
from threading import TIMEOUT_MAX, Thread
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "Bell",
    "Ledger",
    "Lock",
    "Queue",
    "RLock",
    "can_interrupt",
    "clear_interrupt",
    "count",
    "fence",
    "get_ident",
    "importing",
    "move",
    "new_thread",
    "now",
    "prefer_prompt_wakeups",
    "require_headroom",
    "send_interrupt",
    "snapshot",
    "thread_module",
]

#: A list whose lock decides who came first (P1).
Ledger = list
#: A queue of tasks, or of idle seats. Both ends are atomic (C1).
Queue = deque
#: Seconds on a clock that only goes forward.
now = perf_counter
#: For `threading.current_thread` and the like, outside the path of a task.
thread_module = threading


class Bell:
    """A binary wake-up: rings are not counted, and one that comes before the wait is not lost.

    Thread-safety: internally synchronized.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake whoever waits, or the next one to wait. Ringing twice is ringing once."""
        try:
            self._lock.release()
        except RuntimeError:  # it was ringing already
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a ring, at most `timeout` seconds; True if there was one."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout, 0.0), TIMEOUT_MAX))


def fence(queue: "deque[Any]") -> bool:
    """True if `queue` has an entry, looked at in the total order of its lock (C2).

    An entry appended before this call took the lock is seen; if the entry comes later, then its
    appender sees what this thread did before the call.
    """
    queue.rotate(0)
    return bool(queue)


def move(source: "deque[Any] | list[Any]", target: "deque[Any] | list[Any]") -> None:
    """Pop the right end of `source` onto `target` in one C call, which nothing can break in two (C5).

    Raises:
        IndexError: `source` is empty; `target` is unchanged.
    """
    pop: Callable[[Any], Any] = type(source).pop
    target.extend(map(pop, (source,)))


def snapshot(queue: "deque[Any]") -> "list[Any]":
    """The entries of a queue that others change; for what need not be exact."""
    while True:
        try:
            return list(queue)
        except RuntimeError:  # changed under the iterator: somebody else got on, so this ends
            continue


def new_thread(target: "Callable[..., object]", name: str, *args: object) -> Thread:
    """Make a daemon thread; with Thread objects, coverage, profilers and debuggers see it.

    Its `start` raises RuntimeError if the system has no thread to give, or the interpreter is ending.
    """
    return Thread(target=target, name=name, args=args, daemon=True)


#: What the thread's stack has at a depth in frames: a module's name; or None where it is not that deep (or where a
#: function has no module). It walks the frames in C, and makes no object for them.
frame_at = sys._getframemodulename


def require_headroom() -> None:
    """Raise now what would otherwise be raised halfway.

    Raises:
        RecursionError: fewer than 60 levels of the recursion limit are left.
    """
    limit = sys.getrecursionlimit()
    if frame_at(max(limit - 60, limit // 2)) is not None:
        raise RecursionError("makeparallel: too little of the recursion limit is left for this call")


#: `PyThreadState_SetAsyncExc`, once somebody needed it: importing ctypes takes a while.
_set_async_exc: "list[Callable[[int, int | None], int]]" = []
#: Held while a thread of the library imports. A fork takes it: the child would inherit the module's lock for ever.
importing = RLock()


def can_interrupt() -> bool:
    """True if this interpreter can raise an exception in another thread; the first call may take 20 ms."""
    if not _set_async_exc:
        with importing:
            try:
                from ctypes import c_int, c_ulong, c_void_p, pythonapi

                function = pythonapi.PyThreadState_SetAsyncExc
            except (ImportError, AttributeError):  # another implementation of Python, or one without ctypes
                return False
            function.argtypes, function.restype = (c_ulong, c_void_p), c_int
            _set_async_exc.append(function)
    return True


def send_interrupt(ident: int, exception: type[BaseException]) -> None:
    """Have the thread `ident` raise `exception`, a class that lives as long as the process (C8)."""
    _set_async_exc[0](ident, id(exception))


def clear_interrupt(ident: int) -> None:
    """Take back what the calling thread, whose ident this is, has not raised yet (C8)."""
    if _set_async_exc:
        _set_async_exc[0](ident, None)


#: The system call `sched_setattr`, which Python has no function for.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_SLICE_NS = 100_000


def prefer_prompt_wakeups() -> bool:
    """Ask the kernel to wake the calling thread soon, also where all CPUs are busy; False if it can't be asked.

    Linux 6.12 and newer take a short time slice as that wish; no privilege is needed.
    """
    import os

    number = _SCHED_SETATTR.get(os.uname().machine) if sys.platform == "linux" else None
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
    if nice < 0:  # it has precedence, and the flag below would take that from threads that this one starts
        return False
    with importing:
        try:
            from ctypes import CDLL, c_char_p, c_long
            from struct import pack
        except ImportError:
            return False
    # size, policy, flags (1: not for threads it starts), nice, priority, runtime (the slice), deadline, period
    attributes = pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 1, nice, 0, _SLICE_NS, 0, 0)
    call = CDLL(None).syscall
    call.argtypes, call.restype = (c_long, c_long, c_char_p, c_long), c_long
    return bool(call(number, 0, attributes, 0) == 0)
