"""What the library takes for granted of CPython, beside what `_sync` names."""

import importlib._bootstrap as bootstrap
import inspect
import os
import threading
import time
from types import CodeType

import pytest

from makeparallel import _imports, _tracers
from makeparallel._errors import TaskInterrupt
from makeparallel._sync import can_interrupt, clear_interrupt, prefer_prompt_wakeups, send_interrupt

SOURCE = os.path.join(os.path.dirname(os.__file__), "importlib", "_bootstrap.py")


def statements(code: CodeType) -> list[str]:
    """The source lines that a function's instructions stand in, in order; the first is the `def`."""
    with open(SOURCE, encoding="utf-8") as file:
        source = file.read().splitlines()
    return [source[line - 1].strip() for line in sorted({line for _, _, line in code.co_lines() if line is not None})]


def test_import_system_takes_its_locks_in_other_places() -> None:
    """`_imports` recognizes places by their order in the source of `importlib._bootstrap`."""
    get_lock = bootstrap._get_module_lock.__code__  # type: ignore[attr-defined]
    (callback,) = (const for const in get_lock.co_consts if isinstance(const, CodeType))
    for code in (get_lock, callback, bootstrap._ImportLockContext.__enter__.__code__):  # type: ignore[attr-defined]
        assert code.co_filename == _imports.BOOTSTRAP
        assert "acquire_lock" in code.co_names
        assert "_imp.acquire_lock()" == statements(code)[1]
    acquire = statements(bootstrap._ModuleLock.acquire.__code__)  # type: ignore[attr-defined]
    assert "if self.wakeup.acquire(False):" == acquire[-4]
    assert ["self.wakeup.acquire()", "self.wakeup.release()"] == acquire[-2:]
    release = statements(bootstrap._ModuleLock.release.__code__)  # type: ignore[attr-defined]
    assert ["if len(self.waiters) > 0:", "self.waiters.pop()", "self.wakeup.release()"] == release[-3:]


def test_import_system_has_other_locks() -> None:
    """The fields that the repair touches exist, and the frame of an import is recognized."""
    lock = bootstrap._ModuleLock("name")  # type: ignore[attr-defined]
    assert lock.acquire()
    assert (threading.get_ident(), 1, []) == (lock.owner, len(lock.count), lock.waiters)
    assert lock.wakeup.locked() is False
    _imports._release(lock)
    assert (None, []) == (lock.owner, list(lock.count))
    assert "name" in bootstrap._find_and_load.__code__.co_varnames  # type: ignore[attr-defined]


@pytest.mark.thread_unsafe(reason="sends exceptions to threads that it starts")
def test_interrupt_is_made_elsewhere_than_where_it_arrives() -> None:
    """CPython makes the instance in the interrupted thread, and its constructor sees the interrupted frame."""
    seen: list[tuple[int, str]] = []

    class Sent(BaseException):
        def __init__(self) -> None:
            import sys

            seen.append((threading.get_ident(), sys._getframe(1).f_code.co_name))

    def body() -> None:
        started.set()
        try:
            while True:
                pass
        except Sent:
            pass

    assert can_interrupt()
    started = threading.Event()
    thread = threading.Thread(target=body)
    thread.start()
    assert started.wait(20)
    assert thread.ident is not None
    send_interrupt(thread.ident, Sent)
    ident = thread.ident
    thread.join(20)
    assert seen in ([(ident, "body")], [(ident, "set")], [(ident, "__exit__")], [(ident, "notify_all")])


@pytest.mark.thread_unsafe(reason="sends exceptions to its own thread")
def test_interrupt_that_was_taken_back_arrives() -> None:
    """NULL takes back what is pending (C8); sent by the thread to itself, it arrives at the end of the call."""
    assert can_interrupt()
    me = threading.get_ident()
    with pytest.raises(TaskInterrupt):
        send_interrupt(me, TaskInterrupt)
    clear_interrupt(me)
    time.sleep(0)


@pytest.mark.thread_unsafe(reason="asks about threads of the process")
def test_prompt_wakeups_are_wished_for_more_than_one_thread() -> None:
    """The wish holds for the thread that has it, is granted or not, and changes no priority."""
    answers: list[object] = []

    def ask() -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        answers.append(prefer_prompt_wakeups())
        answers.append(before == os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers in ([True, True], [False, True])


def test_coverage_takes_its_lock_in_other_places() -> None:
    """`_tracers` recognizes places by the lines of two functions: a `def`, a test, and a call in the last line."""
    collector = pytest.importorskip("coverage.collector")
    assert collector.__file__.endswith(_tracers._COLLECTOR)
    lock, unlock = collector.Collector.lock_data, collector.Collector.unlock_data
    for function, called in ((lock, "self.data_lock.acquire()"), (unlock, "self.data_lock.release()")):
        head, *rest = [line.strip() for line in inspect.getsource(function).splitlines()]
        assert head.startswith(f"def {function.__name__}(self)")
        assert ["if self.data_lock is not None:", called] == rest[-2:]
