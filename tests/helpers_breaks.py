"""Injection at every instruction of the library, by `sys.monitoring`."""

import dis
import functools
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import Self

import makeparallel

PACKAGE = os.path.dirname(makeparallel.__file__)
TOOL = 4
#: After these, and at these, the evaluation loop looks at its breaker: there signals, garbage collection and
#: asynchronous exceptions come in (C4 of `_sync`).
BREAK_AFTER = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")
BREAK_AT = ("RESUME", "JUMP_BACKWARD")


def in_own_thread[**P](test: Callable[P, None]) -> Callable[P, None]:
    """Run a test in a thread of its own, which takes with it what the injection leaves there.

    An exception that is injected into an `except` block leaves CPython's record of the handled exception
    behind; later errors of the same thread would have it as their context.
    """

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        errors: list[BaseException] = []

        def body() -> None:
            try:
                test(*args, **kwargs)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    return wrapper


class Injector:
    """Does something at the n-th instruction that this thread executes in the library.

    With `only_real_places`, instructions are counted where CPython can break a thread.
    """

    def __init__(self, action: Callable[[], None], only_real_places: bool = False) -> None:
        self.action = action
        self.only_real_places = only_real_places
        self.places: dict[CodeType, frozenset[int]] = {}
        self.countdown = 0
        self.thread = threading.get_ident()
        self.fired: str | None = None

    def __enter__(self) -> Self:
        sys.monitoring.use_tool_id(TOOL, "makeparallel-tests")
        sys.monitoring.register_callback(TOOL, sys.monitoring.events.INSTRUCTION, self._event)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.register_callback(TOOL, sys.monitoring.events.INSTRUCTION, None)
        sys.monitoring.free_tool_id(TOOL)

    def run(self, nth: int, function: Callable[[], object]) -> bool:
        """Call `function`, and act at the n-th place; True if it came to that."""
        self.fired = None
        self.countdown = nth
        sys.monitoring.set_events(TOOL, sys.monitoring.events.INSTRUCTION)
        try:
            function()
        finally:
            self.countdown = 0
            sys.monitoring.set_events(TOOL, 0)
        return self.fired is not None

    def _event(self, code: CodeType, offset: int) -> object:
        if not code.co_filename.startswith(PACKAGE):
            return sys.monitoring.DISABLE
        if not self.countdown or threading.get_ident() != self.thread:
            return None
        if self.only_real_places and offset not in self._places(code):
            return None
        self.countdown -= 1
        if self.countdown == 0:
            self.fired = f"{os.path.basename(code.co_filename)} {code.co_qualname} offset {offset}"
            self.action()
        return None

    def _places(self, code: CodeType) -> frozenset[int]:
        if code not in self.places:
            found, after = set(), False
            for instruction in dis.get_instructions(code):
                if after or instruction.opname in BREAK_AT:
                    found.add(instruction.offset)
                after = instruction.opname in BREAK_AFTER
            self.places[code] = frozenset(found)
        return self.places[code]
