"""Run Python functions in parallel on free-threaded Python: one decorator, `parallel`.

Example:
    >>> import makeparallel as mp
    >>> @mp.parallel
    ... def work(n):
    ...     return sum(i * i for i in range(n))
    >>> mp.gather([work(n) for n in (10, 100)])
    [285, 328350]
"""

from ._combinators import as_completed, gather, wait
from ._current import (
    blocking,
    cancel_requested,
    checkpoint,
    current_handle,
    get_current_task_id,
    report_progress,
    shield,
    sleep,
)
from ._decorator import ParallelFunction, parallel
from ._default import configure, get_active_task_count, reset_shutdown, shutdown, statistics
from ._errors import (
    CpuTimeLimitError,
    MemoryLimitError,
    PoolFullError,
    PoolShutdownError,
    ResourceLimitError,
    TaskError,
    TaskTimeoutError,
)
from ._handle import AsyncHandle
from ._imap import parallel_imap
from ._map import parallel_map
from ._pool import Pool
from ._stats import Statistics, WorkerStatistics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._types import TaskCancelledError as TaskCancelledError

__version__ = "0.1.0"

__all__ = [
    "AsyncHandle",
    "CpuTimeLimitError",
    "MemoryLimitError",
    "ParallelFunction",
    "Pool",
    "PoolFullError",
    "PoolShutdownError",
    "ResourceLimitError",
    "Statistics",
    "TaskCancelledError",
    "TaskError",
    "TaskTimeoutError",
    "WorkerStatistics",
    "as_completed",
    "blocking",
    "cancel_requested",
    "checkpoint",
    "configure",
    "current_handle",
    "gather",
    "get_active_task_count",
    "get_current_task_id",
    "parallel",
    "parallel_imap",
    "parallel_map",
    "report_progress",
    "reset_shutdown",
    "shield",
    "shutdown",
    "sleep",
    "statistics",
    "wait",
]


#: Planned, and named in messages and documents; asking for one says that it is not there yet.
_LATER = ("TaskGroup", "WorkStealingExecutor", "configure_logging", "parallel_async", "trace")


def __getattr__(name: str) -> "Any":
    if name == "TaskCancelledError":  # made when asked for: it needs a slow import
        from ._types import TaskCancelledError

        return TaskCancelledError
    if name in _LATER:
        raise AttributeError(f"makeparallel.{name} is not available in this version")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
