"""The library's own log records. `logging` is imported when there is something to say, not before.

Not for the path of a task: logging serializes threads even where it is disabled.
"""

LOGGER = "makeparallel"


def log_error(message: str, *args: object, error: BaseException | None = None) -> None:
    """Log an error with the traceback of `error`."""
    import logging

    logging.getLogger(LOGGER).error(message, *args, exc_info=error)


def log_warning(message: str, *args: object) -> None:
    """Log a warning."""
    import logging

    logging.getLogger(LOGGER).warning(message, *args)
