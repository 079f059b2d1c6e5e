"""`import makeparallel` stays cheap: it pulls in nothing slow, and starts nothing."""

import os
import subprocess
import sys

import pytest

import makeparallel

ROOT = os.path.dirname(os.path.dirname(makeparallel.__file__))
SLOW = ("psutil", "asyncio", "prometheus_client", "concurrent.futures", "inspect", "dataclasses", "logging")


def python(code):
    """What a bare interpreter prints: no site packages, so that nothing but the library imports anything."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()


def test_import_pulls_in_something_slow():
    """The import loads none of the modules that cost more than itself; the test would see them."""
    report = f"\nprint(*[name for name in {SLOW!r} if name in sys.modules])"
    assert [] == python("import makeparallel" + report)
    assert ["concurrent.futures", "logging"] == python("import makeparallel, concurrent.futures" + report)


def test_first_task_pulls_in_something_slow():
    """Neither does a task that succeeds."""
    code = """
import makeparallel as mp
assert mp.parallel(abs)(-3).get(60) == 3
handle = mp.parallel(timeout=60)(lambda n: n)(3)
handle.on_complete(lambda result: None)
assert mp.gather([handle]) == [3] and mp.parallel_map(abs, [-1]) == [1]
"""
    assert [] == python(code + f"print(*[name for name in {SLOW!r} if name in sys.modules])")


def test_import_starts_something():
    """The import starts no thread and makes no pool; it registers one exit handler."""
    code = """
import atexit, threading
before = atexit._ncallbacks()
import makeparallel as mp
from makeparallel import _default
print(threading.active_count(), atexit._ncallbacks() - before, _default._pool)
"""
    assert ["1", "1", "None"] == python(code)


def test_public_name_is_missing():
    """Every name of `__all__` exists, is unique, and `import *` gives them all."""
    names = makeparallel.__all__
    assert sorted(set(names)) == sorted(names)
    assert [] == [name for name in names if not hasattr(makeparallel, name)]
    namespace = {}
    exec("from makeparallel import *", namespace)
    assert set(names) <= set(namespace)


@pytest.mark.parametrize("name", ["nothing", "TaskCanceledError", "__wrapped__"])
def test_unknown_name_is_made_up(name):
    """A name that doesn't exist is an AttributeError that says so."""
    with pytest.raises(AttributeError, match=name):
        getattr(makeparallel, name)
