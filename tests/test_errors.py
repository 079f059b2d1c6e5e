"""Errors: what they say, where they come from, how they travel, and what becomes of those nobody looks at."""

import concurrent.futures
import gc
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import traceback
import weakref

import pytest
from helpers_waiting import LIMIT, eventually_freed
from hypothesis import given, settings
from hypothesis import strategies as st

import makeparallel as mp

ENDINGS = ["failure", "cancel", "timeout"]


class CustomError(Exception):
    """A user's own error."""


class NeedsTwoArguments(Exception):
    """Pickles, and then fails to unpickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Unprintable(Exception):
    """Its text can't be had."""

    def __str__(self):
        raise ZeroDivisionError("no text")


class Unshowable:
    """Its repr can't be had."""

    def __repr__(self):
        raise ZeroDivisionError("no repr")


class Payload:
    """Something weakly referable."""


def fail(message="wrong"):
    raise ValueError(message)


def inner(depth):
    if depth:
        inner(depth - 1)
    raise CustomError("deep")


def failed(pool, error, name=None, metadata=()):
    """The handle of a task that raised `error`."""

    def body():
        raise error

    handle = pool.parallel(name=name)(body)()
    for key, value in dict(metadata).items():
        handle.set_metadata(key, value)
    assert handle.wait(LIMIT)
    return handle


def ended(pool, ending, **options):
    """The handle of a task that ended badly, in the given way."""
    # Not Event: an interrupt that falls into its `wait` or `set` leaves its lock in disorder.
    begun, go = threading.Lock(), threading.Lock()
    begun.acquire()
    go.acquire()

    def body():
        begun.release()
        assert go.acquire(timeout=LIMIT)
        fail("first line\nsecond line")

    options["timeout"] = 0.01 if ending == "timeout" else None
    handle = pool.parallel(name="job", **options)(body)()
    handle.set_metadata("key", "value")
    if ending != "timeout":  # that one may have come first
        assert begun.acquire(timeout=LIMIT)
    if ending == "cancel":
        handle.cancel()
    if ending == "failure":
        go.release()
    assert handle.wait(LIMIT)
    if ending != "failure":
        go.release()
    return handle


# --- classes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (mp.TaskError, Exception),
        (mp.TaskTimeoutError, mp.TaskError),
        (mp.TaskTimeoutError, TimeoutError),
        (mp.TaskTimeoutError, concurrent.futures.TimeoutError),
        (mp.TaskCancelledError, mp.TaskError),
        (mp.TaskCancelledError, concurrent.futures.CancelledError),
        (mp.ResourceLimitError, mp.TaskError),
        (mp.MemoryLimitError, mp.ResourceLimitError),
        (mp.CpuTimeLimitError, mp.ResourceLimitError),
        (mp.PoolShutdownError, RuntimeError),
        (mp.PoolFullError, RuntimeError),
    ],
    ids=lambda kind: kind.__name__,
)
def test_except_clause_misses_an_error(kind, base):
    """The hierarchy is the contract's, and each class has the name it is imported by."""
    assert issubclass(kind, base)
    assert "makeparallel" == kind.__module__
    assert kind is getattr(mp, kind.__name__)


def test_lazy_class_is_made_twice():
    """`TaskCancelledError` is one class, however often it is asked for; other names are refused."""
    assert mp.TaskCancelledError is mp.TaskCancelledError
    assert "TaskCancelledError" in mp.__all__
    assert not issubclass(mp.TaskTimeoutError, concurrent.futures.CancelledError)
    with pytest.raises(AttributeError, match="TaskCanceledError"):
        _ = mp.TaskCanceledError


# --- fields -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_field_is_missing(pool, ending):
    """Every error has every field, and `str` names them all on one line."""
    handle = ended(pool, ending)
    with pytest.raises(mp.TaskError) as caught:
        handle.get()
    error = caught.value
    kind = {"failure": mp.TaskError, "cancel": mp.TaskCancelledError, "timeout": mp.TaskTimeoutError}[ending]
    assert kind is type(error)
    assert ("job", handle.get_task_id(), {"key": "value"}) == (error.task_name, error.task_id, error.metadata)
    assert handle.elapsed_time() == error.elapsed_time
    assert 0.0 < error.elapsed_time < LIMIT
    if ending == "failure":
        assert ("ValueError", "first line\nsecond line") == (error.error_type, error.error_message)
    else:
        assert kind.__name__ == error.error_type
        assert {"cancel": "cancelled", "timeout": "0.01"}[ending] in error.error_message
    text = str(error)
    assert 1 == len(text.splitlines())
    wanted = ["job", handle.get_task_id(), f"{error.elapsed_time:.3f}", error.error_type, "key", "value"]
    wanted.append("second line" if ending == "failure" else error.error_message)
    assert [] == [word for word in wanted if word not in text]


def test_cause_of_no_failure(pool):
    """A cancellation and a timeout have no cause; a failure's cause is the very exception."""
    assert [None, None] == [ended(pool, ending).exception().__cause__ for ending in ("cancel", "timeout")]
    original = CustomError("wrong")
    error = failed(pool, original).exception()
    assert original is error.__cause__
    assert "CustomError" == error.error_type


@given(st.text())
@settings(deadline=None)
def test_message_breaks_the_line(message):
    """Whatever an error's message holds, `str` is one line."""
    error = mp.TaskError("job", "1-1", 0.5, "ValueError", message, {"key": message})
    assert 1 == len(str(error).splitlines())


@given(st.text(min_size=1))
@settings(deadline=None)
def test_name_breaks_the_line(name):
    """Whatever a task's name holds, `str` is one line."""
    assert 1 == len(str(mp.TaskError(name, "1-1", 0.5, name, "message")).splitlines())


def test_text_of_an_error_raises(pool):
    """An original exception whose `__str__` raises still gives a TaskError with a text."""
    error = failed(pool, Unprintable()).exception()
    assert "Unprintable" == error.error_type
    assert "Unprintable" in str(error)
    assert "ZeroDivisionError" in error.error_message


def test_repr_of_metadata_raises(pool):
    """Metadata whose repr raises doesn't take the error's text away."""
    error = failed(pool, ValueError("wrong"), name="job", metadata={"key": Unshowable()}).exception()
    text = str(error)
    assert "job" in text
    assert "wrong" in text


def test_error_shares_the_metadata(pool):
    """An error's metadata is that of its moment, and a copy."""
    handle = failed(pool, ValueError("wrong"), metadata={"key": 1})
    first = handle.exception()
    handle.set_metadata("key", 2)
    first.metadata["more"] = 3
    assert {"key": 1, "more": 3} == first.metadata
    assert {"key": 2} == handle.exception().metadata


def test_nested_error_hides_its_origin(pool):
    """A task that fails because one it waited for failed: the chain of causes leads to the original."""

    def outer():
        return pool.submit(inner, 0).get()

    error = pool.submit(outer).exception(LIMIT)
    assert ("outer", "inner") == (error.task_name, error.__cause__.task_name)
    assert isinstance(error.__cause__.__cause__, CustomError)
    assert 1 == len(str(error).splitlines())


# --- tracebacks ---------------------------------------------------------------------------------------


def frames(error):
    """Names of the functions in an exception's traceback."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_traceback_shows_the_library(pool):
    """The cause's traceback is the user's frames, the body's first, and none of the library's."""
    error = pool.submit(inner, 2).exception(LIMIT)
    assert ["inner", "inner", "inner"] == frames(error.__cause__)
    error = pool.parallel(inner)(0, timeout=LIMIT).exception(LIMIT)
    assert ["inner"] == frames(error.__cause__)


def test_traceback_of_an_inline_task_shows_the_library():
    """Also if the body ran inline, in another one's `get`."""
    with mp.Pool(1) as single:

        def outer():
            return frames(single.submit(inner, 1).exception().__cause__)

        assert ["inner", "inner"] == single.submit(outer).get(LIMIT)


def test_traceback_of_a_builtin_is_lost(pool):
    """An error raised by a C function has no frames of anybody, and the message is its own."""
    error = pool.submit(int, "x").exception(LIMIT)
    assert [] == frames(error.__cause__)
    assert "invalid literal for int() with base 10: 'x'" == error.error_message


def test_printed_traceback_hides_the_users_line(pool):
    """A printed traceback shows the original error, the user's line, and where `get` was called."""
    handle = pool.submit(fail, "look here")
    try:
        handle.get(LIMIT)
    except mp.TaskError:
        text = traceback.format_exc()
    assert "raise ValueError(message)" in text
    assert "ValueError: look here" in text
    assert "handle.get(LIMIT)" in text
    assert text.index("ValueError: look here") < text.index("direct cause") < text.index("makeparallel.TaskError")


def test_raise_changes_what_was_raised_before(pool):
    """Every raise is a fresh instance, with the same fields and the same cause."""
    handle = failed(pool, CustomError("wrong"))
    errors = []
    for _ in range(3):
        with pytest.raises(mp.TaskError) as caught:
            handle.get()
        errors.append(caught.value)
    errors += [handle.exception(), handle.exception()]
    assert 5 == len(set(map(id, errors)))
    assert 1 == len({str(error) for error in errors})
    assert 1 == len({id(error.__cause__) for error in errors})


def test_error_grows_with_every_get(pool):
    """A hundred `get`s leave the cause's traceback, context and notes as they were, and the raised one's too."""

    def shape(error):
        links = [error.__cause__, error.__cause__.__context__, error.__context__]
        return [len(traceback.extract_tb(each.__traceback__)) if each else None for each in links], [
            len(getattr(each, "__notes__", ())) for each in (error, error.__cause__)
        ]

    handle = pool.submit(inner, 1)
    assert handle.wait(LIMIT)
    first = handle.exception()
    expected = shape(first)
    for index in range(100):
        with pytest.raises(mp.TaskError) as caught:
            (handle.get, handle.try_get)[index % 2]()
        assert expected == shape(caught.value)
        assert expected == shape(handle.exception())


@pytest.mark.proves("I5")
@pytest.mark.parametrize("method", ["get", "try_get", "exception"])
def test_kept_error_keeps_the_handle(pool, method):
    """An error that was raised and is kept, with all the frames of its traceback, doesn't keep the handle."""
    handle = pool.submit(fail)
    assert handle.wait(LIMIT)
    try:
        error = getattr(handle, method)()
    except mp.TaskError as raised:
        error = raised
    reference = weakref.ref(handle)
    del handle
    assert eventually_freed(lambda: reference() is None)
    assert "wrong" == error.error_message


def test_error_of_two_threads_is_one_instance(pool):
    """Threads that raise at the same time don't share an instance, so neither sees the other's traceback."""
    handle = failed(pool, CustomError("wrong"))
    barrier = threading.Barrier(4, timeout=LIMIT)
    seen = []

    def get():
        barrier.wait()
        try:
            handle.get()
        except mp.TaskError as error:
            seen.append((error, len(traceback.extract_tb(error.__traceback__))))

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 == len({id(error) for error, _ in seen})
    assert 1 == len({depth for _, depth in seen})


# --- BaseException in tasks -----------------------------------------------------------------------------


class Strange(BaseException):
    """Not even an Exception."""


@pytest.mark.proves("I1")
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Strange("odd"), StopIteration(1), TimeoutError("own"),
        RecursionError(), MemoryError(), concurrent.futures.CancelledError(), BaseExceptionGroup("all", [Strange()]),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_error_kills_the_worker(error):
    """Whatever a body raises fails its task, and neither the worker nor the process."""
    with mp.Pool(1) as single:
        raised = failed(single, error).exception()
        assert mp.TaskError is type(raised)
        assert error is raised.__cause__
        assert type(error).__name__ == raised.error_type
        assert [7] * 3 == [single.submit(int, 7).get(LIMIT) for _ in range(3)]
    single._check()


def test_own_timeout_error_is_taken_for_the_tasks(pool):
    """A body's own TimeoutError or CancelledError doesn't make the task timed out or cancelled."""
    overdue, cancelled = failed(pool, TimeoutError()), failed(pool, concurrent.futures.CancelledError())
    assert [mp.TaskError] * 2 == [type(handle.exception()) for handle in (overdue, cancelled)]
    assert not cancelled.is_cancelled()
    statistics = pool.statistics()
    assert (0, 0) == (statistics.cancelled, statistics.timed_out)


def test_task_error_as_the_original(pool):
    """A body may raise a TaskError of its own: it is the cause, as any other."""
    original = mp.TaskTimeoutError("inner", "0-0", 1.0, "TaskTimeoutError", "text")
    error = failed(pool, original).exception()
    assert mp.TaskError is type(error)
    assert original is error.__cause__


# --- pickling -----------------------------------------------------------------------------------------


def fields(error):
    return (
        type(error), error.task_name, error.task_id, error.elapsed_time, error.error_type, error.error_message,
        error.metadata, str(error), error.args, getattr(error, "__notes__", []),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("ending", ENDINGS)
def test_error_does_not_travel(pool, ending, protocol):
    """Every error arrives with its type, all its fields and its notes."""
    error = ended(pool, ending).exception()
    error.add_note("a note")
    assert fields(error) == fields(pickle.loads(pickle.dumps(error, protocol)))


@pytest.mark.parametrize(
    "kind", [mp.ResourceLimitError, mp.MemoryLimitError, mp.CpuTimeLimitError, mp.TaskCancelledError]
)
def test_subclass_travels_as_its_base(kind):
    """Subclasses arrive as what they were."""
    error = kind("job", "1-1", 0.5, kind.__name__, "message", {"key": [1, 2]})
    assert fields(error) == fields(pickle.loads(pickle.dumps(error)))


def test_cause_does_not_travel(pool):
    """A cause that can be pickled arrives as itself."""
    arrived = pickle.loads(pickle.dumps(failed(pool, CustomError("wrong", 2)).exception()))
    assert (CustomError, ("wrong", 2)) == (type(arrived.__cause__), arrived.__cause__.args)


def local_error():
    class LocalError(Exception):
        """Can't be found by name."""

    return LocalError("only here")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NeedsTwoArguments("one", "two"), "one and two"),
        (CustomError("wrong", threading.Lock()), "CustomError"),
        (local_error(), "only here"),
        (Unprintable(threading.Lock()), "Unprintable"),
    ],
    ids=["unpickles_badly", "holds_a_lock", "local_class", "unprintable"],
)
def test_unpicklable_cause_loses_the_error(pool, error, text):
    """A cause that can't travel becomes text, with its traceback; the error keeps its fields."""
    sent = failed(pool, error, name="job", metadata={"key": 1}).exception()
    arrived = pickle.loads(pickle.dumps(sent))
    assert fields(sent) == fields(arrived)
    assert text in str(arrived.__cause__)
    assert "raise error" in str(arrived.__cause__)


def local_text():
    class Text(str):
        """Can't be found by name."""

        __slots__ = ()

    return Text("some text")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (threading.Lock(), "lock"),
        ([1, threading.Lock()], "lock"),
        ((index for index in range(3)), "generator"),
        (lambda: 1, "lambda"),
        (local_error(), "only here"),
        (local_text(), "some text"),
        (Unshowable(), None),
        (NeedsTwoArguments("one", "two"), "one and two"),
    ],
    ids=["lock", "list", "generator", "lambda", "local_class", "local_text", "unshowable", "unpickles_badly"],
)
def test_unpicklable_metadata_loses_the_error(value, text):
    """A metadata value that can't travel becomes text; the others arrive as they are."""
    sent = mp.TaskError("job", "1-1", 0.5, "ValueError", "message", {"key": value, "other": [1, 2]})
    arrived = pickle.loads(pickle.dumps(sent))
    assert [1, 2] == arrived.metadata["other"]
    assert sent.task_name == arrived.task_name
    if text is None:
        assert isinstance(arrived.metadata["key"], Unshowable)
    else:
        assert text in arrived.metadata["key"]


def test_unshowable_unpicklable_metadata_loses_the_error():
    """A metadata value that can neither travel nor be shown still doesn't lose the error."""

    class Hopeless(Unshowable):
        """Can't be found by name."""

    arrived = pickle.loads(pickle.dumps(mp.TaskError("job", "1-1", 0.5, "ValueError", "message", {"key": Hopeless()})))
    assert "message" == arrived.error_message
    assert ["key"] == list(arrived.metadata)


def test_second_trip_changes_the_error(pool):
    """What has travelled once travels again, unchanged."""
    once = pickle.loads(pickle.dumps(failed(pool, NeedsTwoArguments(1, 2), metadata={"key": object}).exception()))
    twice = pickle.loads(pickle.dumps(once))
    assert fields(once) == fields(twice)
    assert str(once.__cause__) == str(twice.__cause__)


@pytest.mark.parametrize("kind", [mp.PoolShutdownError, mp.PoolFullError])
def test_pool_error_does_not_travel(kind):
    """The pool's errors are ordinary picklable ones."""
    arrived = pickle.loads(pickle.dumps(kind("text")))
    assert (kind, "text") == (type(arrived), str(arrived))


# --- errors nobody looks at -----------------------------------------------------------------------------


def logged(caplog):
    """What the library has logged."""
    return [record for record in caplog.records if record.name.partition(".")[0] == "makeparallel"]


def settle(pool):
    """Have everything reported that will ever be: nobody holds a handle any more."""
    assert eventually_freed(lambda: pool.get_active_task_count() == 0)
    gc.collect()
    assert pool.shutdown(LIMIT)
    gc.collect()


@pytest.mark.thread_unsafe(reason="caplog")
def test_unseen_error_is_lost(pool, caplog):
    """An error nobody looked at is logged once, as an error, with name, id and traceback."""
    handle = pool.parallel(name="job")(inner)(1)
    assert handle.wait(LIMIT)
    task_id = handle.get_task_id()
    assert [] == logged(caplog)
    del handle
    settle(pool)
    (record,) = logged(caplog)
    assert logging.ERROR == record.levelno
    assert [] == [word for word in ("job", task_id, "CustomError", "deep") if word not in record.getMessage()]
    assert isinstance(record.exc_info[1], CustomError)
    assert ["inner", "inner"] == frames(record.exc_info[1])


@pytest.mark.thread_unsafe(reason="caplog")
def test_unseen_error_without_handle_is_lost(pool, caplog):
    """A handle that was never kept reports too, and many report once each."""
    for index in range(20):
        pool.submit(fail, f"number {index}")
    settle(pool)
    messages = [record.getMessage() for record in logged(caplog)]
    assert 20 == len(messages)
    assert [1] * 20 == [sum(bool(re.search(rf"number {index}\b", text)) for text in messages) for index in range(20)]


@pytest.mark.thread_unsafe(reason="caplog")
def test_unseen_error_of_a_dropped_pool_is_lost(caplog):
    """The last error of a pool that has stopped is logged as well."""
    pool = mp.Pool(1)
    handle = pool.submit(fail)
    assert pool.shutdown(LIMIT)
    assert [] == logged(caplog)
    del handle
    assert eventually_freed(lambda: 1 == len(logged(caplog)))
    assert "wrong" == str(logged(caplog)[0].exc_info[1])


def raises(function, *args):
    """Call what raises a TaskError."""
    with pytest.raises(mp.TaskError):
        function(*args)


LOOKS = {
    "get": lambda handle, pool: raises(handle.get),
    "try_get": lambda handle, pool: raises(handle.try_get),
    "exception": lambda handle, pool: handle.exception(),
    "on_error": lambda handle, pool: handle.on_error(lambda error: None),
    "gather": lambda handle, pool: raises(mp.gather, [handle]),
    "gather_return": lambda handle, pool: mp.gather([handle], on_error="return"),
    "gather_skip": lambda handle, pool: mp.gather([handle], on_error="skip"),
    "get_in_a_task": lambda handle, pool: pool.submit(handle.exception).get(LIMIT),
}


@pytest.mark.thread_unsafe(reason="caplog")
@pytest.mark.parametrize("look", LOOKS)
def test_seen_error_is_logged(pool, caplog, look):
    """An error that somebody looked at, in whatever way, is not logged."""
    handle = pool.submit(fail)
    assert handle.wait(LIMIT)
    LOOKS[look](handle, pool)
    del handle
    settle(pool)
    assert [] == logged(caplog)


@pytest.mark.thread_unsafe(reason="caplog")
def test_error_callback_registered_early_is_no_look(pool, caplog):
    """An `on_error` registered before the end counts as looking."""
    go, seen = threading.Event(), []

    def body():
        assert go.wait(LIMIT)
        fail()

    handle = pool.submit(body)
    handle.on_error(seen.append)
    go.set()
    del handle
    assert eventually_freed(lambda: seen)
    seen.clear()
    settle(pool)
    assert [] == logged(caplog)


@pytest.mark.thread_unsafe(reason="caplog")
@pytest.mark.parametrize(
    "look",
    [
        lambda handle: handle.wait(),
        lambda handle: handle.is_ready(),
        lambda handle: repr(handle),
        lambda handle: handle.on_complete(print),
        lambda handle: handle.cancel(),
        lambda handle: mp.wait([handle]),
        lambda handle: list(mp.as_completed([handle])),
    ],
    ids=["wait", "is_ready", "repr", "on_complete", "cancel", "mp.wait", "as_completed"],
)
def test_glance_counts_as_a_look(pool, caplog, look):
    """Who only asks whether a task has finished has not seen its error: it is logged."""
    handle = pool.submit(fail)
    assert handle.wait(LIMIT)
    look(handle)
    del handle
    settle(pool)
    assert 1 == len(logged(caplog))


@pytest.mark.thread_unsafe(reason="caplog")
def test_dropped_result_of_a_cancelled_body_is_logged(pool, caplog):
    """What a body raises after its task was cancelled or timed out is nobody's error."""
    for ending in ("cancel", "timeout"):
        handle = ended(pool, ending)
        assert isinstance(handle.exception(), mp.TaskError)
        del handle
    settle(pool)
    assert [] == logged(caplog)


@pytest.mark.thread_unsafe(reason="caplog")
def test_cancelled_pending_task_is_logged(caplog):
    """Cancelling what never ran is no error to report."""
    with mp.Pool(1) as single:
        go = threading.Event()
        single.submit(go.wait, LIMIT)
        assert all(single.submit(fail).cancel() for _ in range(5))
        go.set()
    gc.collect()
    assert [] == logged(caplog)


@pytest.mark.thread_unsafe(reason="the library's logger")
def test_unprintable_unseen_error_is_lost():
    """An error whose text can't be had is still logged, with its type, and hurts no worker."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("makeparallel")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        with mp.Pool(1) as single:

            def body():
                raise Unprintable

            single.parallel(name="job")(body)()
            assert eventually_freed(lambda: single.get_active_task_count() == 0)
            gc.collect()
            assert 7 == single.submit(int, 7).get(LIMIT)
        gc.collect()
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    text = stream.getvalue()
    assert "job" in text
    assert "Unprintable" in text
    assert "raise Unprintable" in text


@pytest.mark.proves("I9")
@pytest.mark.thread_unsafe(reason="caplog")
def test_unseen_error_is_logged_inside_a_finalizer(caplog):
    """The last reference may go where the logging lock is held: the report is queued, and nothing deadlocks."""
    with mp.Pool(1) as single:
        handles = [single.submit(fail)]
        assert handles[0].wait(LIMIT)
        handler_lock = logging.getLogger("makeparallel").handlers
        assert handler_lock == []  # nobody has configured it: root's handlers are used
        lock = logging._lock
        with lock:
            handles.clear()
            gc.collect()
            here = len(logged(caplog))
    assert 0 == here
    assert 1 == len(logged(caplog))


@pytest.mark.slow
@pytest.mark.parametrize(
    "keep", ["handle = ", "", "import builtins; builtins.handle = "], ids=["global", "none", "late"]
)
def test_unseen_error_at_exit_is_lost(keep):
    """An error nobody looked at before the interpreter exits is logged once too, and without another error."""
    code = (
        "import makeparallel as mp\n"
        "def body(): raise ValueError('wrong')\n"
        f"{keep}mp.parallel(body)()\n"
        "mp.parallel(int)().get(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(mp.__file__))},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stdout)
    assert "Exception ignored" not in done.stderr
    assert 1 == done.stderr.count("Traceback"), done.stderr
    assert "nobody looked" in done.stderr
