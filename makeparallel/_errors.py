"""Every exception of the library, and the words they are said with.

Guarantees: importing this module imports nothing slow (`TaskCancelledError`, which has to derive from
`concurrent.futures.CancelledError`, is made when somebody first asks for it); every error that crosses
`pickle` arrives, with text in place of what could not travel.
"""

import sys

from ._imports import repair_interrupted_import
from ._tracers import repair_interrupted_tracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from makeparallel._types import TaskCancelledError as TaskCancelledError

PUBLIC = "makeparallel"


class TaskInterrupt(BaseException):
    """Leaves a body that was cancelled or timed out; users see the handle's `TaskError` instead.

    A `BaseException`, so that a body's `except Exception` does not swallow it.
    """

    def __init__(self) -> None:
        super().__init__("the task was cancelled or timed out, so its body is to leave")
        # CPython makes the instance where the interrupt arrives: the caller's frame is the interrupted one.
        frame = sys._getframe(1)
        repair_interrupted_import(frame)
        repair_interrupted_tracer(frame)


class UnpicklableCause(Exception):
    """Stands for the cause of a `TaskError` that could not be pickled; its text is the traceback."""


class TaskError(Exception):
    """A task failed; `__cause__` is the original exception with its own traceback.

    Attributes:
        task_name: the name the task was given, or its function's.
        task_id: unique in the process.
        elapsed_time: seconds from the start of the body to its end.
        error_type: name of the original exception's class.
        error_message: its text.
        metadata: a copy of the handle's metadata.

    Thread-safety: immutable by convention; every raise is a fresh instance.
    """

    task_name: str
    task_id: str
    elapsed_time: float
    error_type: str
    error_message: str
    metadata: "dict[str, Any]"

    def __init__(
        self,
        task_name: str,
        task_id: str,
        elapsed_time: float,
        error_type: str,
        error_message: str,
        metadata: "Mapping[str, Any] | None" = None,
    ) -> None:
        super().__init__(task_name, task_id, elapsed_time, error_type, error_message)
        self.task_name = task_name
        self.task_id = task_id
        self.elapsed_time = elapsed_time
        self.error_type = error_type
        self.error_message = error_message
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        text = (
            f"task {self.task_name!r} (id {self.task_id}) failed after {self.elapsed_time:.3f} s: "
            f"{self.error_type}: {self.error_message}"
        )
        if self.metadata:
            text += f" {{{', '.join(f'{key!r}: {repr_of(value)}' for key, value in self.metadata.items())}}}"
        return text if text.isprintable() else "".join(map(_printable, text))

    def __reduce__(self) -> "tuple[Callable[..., TaskError], tuple[object, ...]]":
        fields = (self.task_name, self.task_id, self.elapsed_time, self.error_type, self.error_message)
        metadata = {key: _picklable(value, repr_of) for key, value in self.metadata.items()}
        cause = _picklable(self.__cause__, _cause_as_text)
        return _rebuild, (type(self), fields, metadata, cause, getattr(self, "__notes__", None))


def text_of(error: BaseException) -> str:
    """Return `str(error)`, whatever the user's class makes of it."""
    try:
        return str(error)
    except Exception as problem:
        return f"<no text: __str__ raised {type(problem).__name__}>"


def repr_of(value: object) -> str:
    """Return `repr(value)`, whatever the user's class makes of it."""
    try:
        return str(repr(value))
    except Exception as problem:
        return f"<{type(value).__qualname__}: __repr__ raised {type(problem).__name__}>"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "replace").decode()


def _picklable(value: object, as_text: "Callable[[Any], object]") -> object:
    if type(value) in (type(None), str, int, float, bool):
        return value
    import pickle

    try:
        pickle.loads(pickle.dumps(value))  # an exception may pickle, and then fail to unpickle
    except Exception:
        return as_text(value)
    return value


def _cause_as_text(cause: BaseException) -> BaseException:
    import traceback

    return UnpicklableCause("".join(traceback.format_exception(cause)).rstrip())


def _rebuild(
    cls: "Callable[..., TaskError]",
    fields: "tuple[Any, ...]",
    metadata: "dict[str, Any]",
    cause: BaseException | None,
    notes: "list[str] | None",
) -> TaskError:
    error = cls(*fields, metadata)
    error.__cause__ = cause
    for note in notes or ():
        error.add_note(note)
    return error


class TaskTimeoutError(TaskError, TimeoutError):
    """The task's own timeout passed while its body ran; also a builtin `TimeoutError`."""


class ResourceLimitError(TaskError):
    """The task used more of something than it was allowed to."""


class MemoryLimitError(ResourceLimitError):
    """The task's `max_memory_mb` was exceeded."""


class CpuTimeLimitError(ResourceLimitError):
    """The task's `max_cpu_time_secs` was exceeded."""


class PoolShutdownError(RuntimeError):
    """The pool takes no new tasks: it was shut down, or is about to be."""


class PoolFullError(RuntimeError):
    """The pool holds `max_pending` tasks, and was told not to wait for room."""


for _class in (
    TaskError,
    TaskTimeoutError,
    ResourceLimitError,
    MemoryLimitError,
    CpuTimeLimitError,
    PoolShutdownError,
    PoolFullError,
):
    _class.__module__ = PUBLIC  # the name users import it by, in tracebacks and pickles
del _class


def __getattr__(name: str) -> "Any":
    if name != "TaskCancelledError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from makeparallel._types import TaskCancelledError

    return TaskCancelledError


def later(feature: str) -> NotImplementedError:
    """The error for an option of the contract that this version does not have yet."""
    return NotImplementedError(f"makeparallel: {feature} is not available in this version")
