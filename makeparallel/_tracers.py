"""Gives back the lock of coverage's tracer after an interrupt.

What it is: one repair. coverage's C tracer takes a lock around the entry of each measured function by calling
Python functions, `lock_data` and `unlock_data`. An interrupt that falls between the two would leave the lock taken,
and then every thread that enters a measured function waits for ever.

Assumes, of coverage 7: `Collector.lock_data` and `Collector.unlock_data` each consist of one test and one call on
`data_lock`; `tests/test_assumptions.py` compares. Where it is not so, nothing is done.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_COLLECTOR = os.path.join("coverage", "collector.py")


def repair_interrupted_tracer(frame: "FrameType") -> None:
    """Release the lock if an interrupt, which arrives in `frame`, in this thread, keeps it from being released."""
    code = frame.f_code
    if not code.co_filename.endswith(_COLLECTOR):
        return
    # In both, interrupts arrive at the function's start, or when the call in the last line has returned.
    begins = frame.f_lineno == code.co_firstlineno
    if code.co_name == "unlock_data" if begins else code.co_name == "lock_data":
        lock = getattr(frame.f_locals["self"], "data_lock", None)
        if lock is not None and lock.locked():
            lock.release()
