"""Any value for any public argument: it works, or it is a TypeError or a ValueError, and the pool is as it was."""

import contextlib
import decimal
import fractions
import math
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import makeparallel as mp

pytestmark = pytest.mark.slow
LIMIT = 30  # seconds: far more than anything here takes, so that a hang becomes a failure
SHORT = 0.001  # seconds: what may pass when a value is taken for a time


class BadFloat:
    """Says that it is a number, and is none."""

    def __float__(self):
        return "no float"


class RaisingFloat:
    """Says that it is a number, and raises."""

    def __float__(self):
        raise ValueError("no number")


class Truthless:
    """Has no truth value."""

    def __bool__(self):
        raise TypeError("no truth")


class Unhashable:
    """Is equal to everything, and can't be hashed."""

    __hash__ = None

    def __eq__(self, other):
        return True


class Text(str):
    """A string of one's own."""

    __slots__ = ()


class Number(int):
    """A number of one's own."""


class Nameless:
    """A callable without a name."""

    def __call__(self, *arguments, **keywords):
        return 7

    def __getattr__(self, name):
        raise AttributeError(name)


def function(*arguments, **keywords):
    """Takes anything."""
    return 7


def generator():
    yield 1


async def coroutine(): ...


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**300, 10**400), st.floats(), st.text(), st.binary(),
    st.complex_numbers(), st.decimals(), st.fractions(), st.dates(), st.timedeltas(),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.none(), max_size=2), st.just(()),
)  # fmt: skip
ODD = st.sampled_from(
    [
        object(), object, int, function, generator, coroutine, print, len, Ellipsis, NotImplemented, math,
        BadFloat(), RaisingFloat(), Truthless(), Unhashable(), Text("1"), Text(""), Number(2), Number(-1), Nameless(),
        type, mp.Pool, mp.parallel, mp.parallel(function), mp.AsyncHandle, ValueError("x"), range(3), memoryview(b"x"),
        decimal.Decimal("sNaN"), decimal.Decimal("Infinity"), fractions.Fraction(10**400), -(10**400),
        float("nan"), -0.0, "\0", "\ud800", "\n", "raise", "ALL_COMPLETED", "wait", {1, 2}, property(),
        classmethod(len),
        staticmethod(function), slice(1), {"name": 1}, lambda: (yield),
    ]
)  # fmt: skip
ANYTHING = PLAIN | ODD


def is_long(value):
    """True for a value that would be a long time."""
    try:
        return not isinstance(value, (str, bytes, bool)) and float(value) > SHORT
    except Exception:
        return False


def is_many(value):
    """True for a value that would be a large number of threads."""
    return isinstance(value, int) and 50 < value <= 4096


TIME = ANYTHING.filter(lambda value: not is_long(value)) | st.floats(0, SHORT)
MANY = ANYTHING.filter(lambda value: not is_many(value))

quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


@contextlib.contextmanager
def allowed(*more):
    """Let a wrong argument be a TypeError or ValueError; anything else is a failure."""
    try:
        yield
    except UnicodeError:
        raise  # a ValueError, but not one that was meant
    except (TypeError, ValueError, *more):
        pass


OPTIONS = ("name", "timeout", "interrupt", "max_memory_mb", "max_cpu_time_secs", "pool", "executor")


@pytest.mark.parametrize("option", OPTIONS)
@given(value=ANYTHING)
@quick
def test_decorator_option_breaks(option, value):
    """Options of `parallel` and `options`; limits and `executor` are not there yet."""
    with allowed(NotImplementedError):
        handle = mp.parallel(**{option: value})(function)()
        assert handle.wait(LIMIT)
    with allowed(NotImplementedError):
        handle = mp.parallel(function).options(**{option: value})()
        assert handle.wait(LIMIT)


@given(value=ANYTHING)
@quick
def test_decorated_function_breaks(value):
    """What is decorated: the wrapper then has a repr, and can be called."""
    with allowed():
        wrapper = mp.parallel(timeout=LIMIT)(value)
        assert repr(wrapper)
        if value not in (print, mp.Pool):  # the one prints, the other starts
            assert wrapper().wait(LIMIT)


def body():
    return 7


@given(value=ANYTHING)
@quick
def test_call_timeout_breaks(value):
    """The task's timeout at the call."""
    with allowed():
        handle = mp.parallel(body)(timeout=value)
        assert handle.wait(LIMIT)


@pytest.mark.parametrize("method", ["get", "exception", "wait"])
@given(value=TIME)
@quick
def test_timeout_of_a_wait_breaks(method, value):
    """The timeout of a wait, for a task that has finished and for one that has not."""
    with mp.Pool(1) as single:
        finished = single.submit(body)
        assert finished.wait(LIMIT)
        with allowed():
            getattr(finished, method)(value)
        running = single.submit(mp.sleep, LIMIT)
        try:
            if value is not None:
                with allowed(TimeoutError):
                    getattr(running, method)(value)
        finally:
            running.cancel()
    single._check()


@pytest.mark.parametrize("method", ["set_metadata", "get_metadata"])
@given(value=ANYTHING)
@quick
def test_metadata_key_breaks(method, value):
    """Keys of metadata; any value will do."""
    handle = mp.parallel(body)()
    with allowed():
        assert getattr(handle, method)(value, value) in (None, value)
    handle.set_metadata("key", value)
    assert handle.get_metadata("key") is value
    assert repr(handle)


@pytest.mark.parametrize("method", ["on_complete", "on_error", "on_progress"])
@given(value=ANYTHING)
@quick
def test_callback_breaks(method, value):
    """Callbacks of a task that has finished."""
    handle = mp.parallel(body)()
    assert handle.wait(LIMIT)
    with allowed():
        getattr(handle, method)(value)
    assert 7 == handle.get()


@given(value=ANYTHING)
@quick
def test_default_and_result_break(value):
    """Results, arguments and defaults may be anything."""
    with mp.Pool(1) as single:
        handle = single.submit(lambda argument, *, keyword: argument, value, keyword=value)
        assert handle.get(LIMIT) is value
        assert handle.try_get() is value
        running = single.submit(mp.sleep, LIMIT)
        assert running.try_get(value) is value
        running.cancel()


@pytest.mark.parametrize("call", [mp.report_progress, mp.sleep], ids=["report_progress", "sleep"])
@given(value=TIME)
@quick
def test_argument_of_a_body_breaks(call, value):
    """`report_progress` and `sleep`, outside a task and in one."""
    with allowed(RuntimeError):
        call(value)
    error = mp.parallel(call)(value).exception(LIMIT)
    assert error is None or isinstance(error.__cause__, (TypeError, ValueError))


@pytest.mark.parametrize("call", [mp.gather, mp.wait, mp.as_completed], ids=["gather", "wait", "as_completed"])
@given(value=ANYTHING | st.lists(ANYTHING, max_size=2))
@quick
def test_handles_break(call, value):
    """What is waited for."""
    with allowed():
        list(call(value))


@pytest.mark.parametrize("call", [mp.gather, mp.wait, mp.as_completed], ids=["gather", "wait", "as_completed"])
@given(value=TIME)
@quick
def test_timeout_of_many_breaks(call, value):
    """The timeout of waiting for many, for finished tasks and for one that has not."""
    with mp.Pool(1) as single:
        finished = single.submit(body)
        assert finished.wait(LIMIT)
        with allowed():
            list(call([finished], timeout=value))
        running = single.submit(mp.sleep, LIMIT)
        try:
            if value is not None:
                with allowed(TimeoutError):
                    list(call([running], timeout=value))
        finally:
            running.cancel()
    single._check()


@given(value=ANYTHING)
@quick
def test_choice_breaks(value):
    """`on_error` and `return_when`."""
    with allowed():
        mp.gather([], on_error=value)
    with allowed():
        mp.wait([], return_when=value)


MAP = {
    "func": lambda value: mp.parallel_map(value, []),
    "iterable": lambda value: mp.parallel_map(function, value),
    "second": lambda value: mp.parallel_map(function, [1, 2], value),
    "chunksize": lambda value: mp.parallel_map(function, range(3), chunksize=value),
    "timeout": lambda value: mp.parallel_map(function, range(3), timeout=value),
    "progress": lambda value: mp.parallel_map(function, range(3), progress=value),
    "pool": lambda value: mp.parallel_map(function, range(3), pool=value),
}


@pytest.mark.parametrize("argument", MAP)
@given(value=ANYTHING)
@quick
def test_map_argument_breaks(argument, value):
    """Arguments of `parallel_map`; `progress=True` is not there yet, and a short time may pass."""
    with allowed(NotImplementedError, TimeoutError):
        MAP[argument](value)


POOL = {
    "workers": lambda value: mp.Pool(value),
    "name": lambda value: mp.Pool(1, name=value),
    "max_pending": lambda value: mp.Pool(1, max_pending=value if not is_many(value) else 50),
    "when_full": lambda value: mp.Pool(1, max_pending=1, when_full=value),
    "thread_name_prefix": lambda value: mp.Pool(1, thread_name_prefix=value),
}


@pytest.mark.parametrize("argument", POOL)
@given(value=MANY.filter(lambda value: not (isinstance(value, int) and value > 10**6 and value < 10**9)))
@quick
def test_pool_argument_breaks(argument, value):
    """Arguments of `Pool`: what is taken makes a pool that works, and has a repr."""
    if argument == "max_pending" and isinstance(value, int) and 10**6 < value < 2**63:
        return  # test_pools has it, in a process with little memory
    with allowed():
        with POOL[argument](value) as made:
            assert repr(made)
            assert 7 == made.submit(body).get(LIMIT)
            if argument == "workers":
                made.resize(value)
        made._check()


@given(value=MANY)
@quick
def test_resize_breaks(value):
    """A new number of workers: what is refused leaves the pool as it was."""
    with mp.Pool(2) as made:
        size = 2
        with allowed():
            made.resize(value)
            size = None
        assert size in (None, made.statistics().workers)
        assert 7 == made.submit(body).get(LIMIT)
    made._check()


@given(value=ANYTHING)
@quick
def test_submitted_function_breaks(value):
    """What is submitted: it runs, and its task ends in some way."""
    with mp.Pool(1) as single:
        if value in (print, mp.Pool, coroutine):  # the last one would never be awaited
            return
        with allowed():
            assert single.submit(value).wait(LIMIT)
        assert 7 == single.submit(body).get(LIMIT)
    single._check()


@pytest.mark.parametrize("argument", ["timeout_secs", "cancel_pending"])
@given(value=TIME)
@quick
def test_shutdown_argument_breaks(argument, value):
    """Arguments of `shutdown`: what is refused leaves the pool open."""
    single = mp.Pool(1)
    single.submit(body)
    with allowed():
        assert single.shutdown(**{argument: value}) in (True, False)
    assert single.shutdown(LIMIT) is True
    single._check()


CONFIGURE = """
import os, sys
sys.path.insert(0, {root!r})
import makeparallel as mp
values = [None, True, 0, 1, -1, 2.5, float("nan"), 10**400, "", "x", b"x", [], {{}}, object(), int, print, 1j, "wait"]
for name in ("workers", "max_pending", "when_full", "thread_name_prefix"):
    for value in values:
        try:
            mp.configure(**{{name: value}})
        except (TypeError, ValueError) as error:
            assert name + "=" in str(error), error
for name in ("timeout_secs", "cancel_pending"):
    for value in values:
        try:
            assert mp.shutdown(**{{name: value}}) in (True, False)
        except (TypeError, ValueError) as error:
            assert name + "=" in str(error), error
        mp.reset_shutdown()
print(mp.parallel(int)(7).get(30))
"""


@pytest.mark.slow
def test_configuration_breaks():
    """Arguments of `configure` and of the default pool's `shutdown`, in a process of their own."""
    root = mp.__file__.rpartition("makeparallel")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", CONFIGURE.format(root=root)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (0, "7\n", "") == (done.returncode, done.stdout, done.stderr)
