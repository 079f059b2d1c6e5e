"""The one class that needs a slow import (`concurrent.futures` loads logging: 13-23 ms)."""

from concurrent.futures import CancelledError

from makeparallel._errors import PUBLIC, TaskError


class TaskCancelledError(TaskError, CancelledError):
    """The task was cancelled; also a `concurrent.futures.CancelledError`."""


TaskCancelledError.__module__ = PUBLIC
