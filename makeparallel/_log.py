"""The library's own log records. `logging` is imported when there is something to say, not before.

Not for the path of a task: logging serializes threads even where it is disabled.
"""

import sys

LOGGER = "makeparallel"


def log_error(message: str, *args: object, error: BaseException | None = None) -> None:
    """Log an error with the traceback of `error`. Never raises: what a handler raises must not end a worker."""
    try:
        import logging

        logging.getLogger(LOGGER).error(message, *args, exc_info=error)
    except Exception:
        pass


def log_warning(message: str, *args: object) -> None:
    """Log a warning; without an import, since that can hang where a body sits in C code and holds up the world.

    Importing `logging` loads extension modules, for which all threads must stop. Where nobody has imported it,
    nobody has set it up either, and it would do what this does. Never raises.
    """
    logging = sys.modules.get("logging")
    try:
        if logging is not None and hasattr(logging, "lastResort"):
            logging.getLogger(LOGGER).warning(message, *args)
        elif sys.stderr is not None:
            print(message % args, file=sys.stderr)
    except Exception:  # a closed pipe, a handler of the user's
        pass
