"""The decorator, as the contract has it: what it wraps, what it keeps, which keyword goes where, what it refuses."""

import copy
import functools
import inspect
import math
import pickle
import re
import sys
import threading
import time
import typing
import weakref
from abc import ABC, abstractmethod

import pytest
from helpers_waiting import LIMIT, eventually_freed

import makeparallel as mp

# --- module level, so that pickle finds them by name ------------------------------------------------


@mp.parallel
def decorated_square(x):
    """Square a number."""
    return x * x


@mp.parallel(name="cube", timeout=LIMIT)
def decorated_cube(x):
    return x**3


def plain_triple(x: int, times: int = 3) -> int:
    """Triple a number."""
    return x * times


class Account:
    """Something with methods of every kind."""

    bonus = 100

    def __init__(self, balance):
        self.balance = balance

    @mp.parallel
    def raised(self, by, factor=1):
        """Return the balance, raised."""
        return self.balance + by * factor

    @classmethod
    @mp.parallel
    def of_class(cls, by):
        return cls.bonus + by

    @staticmethod
    @mp.parallel
    def static_inside(by):
        return by + 1

    @mp.parallel
    @staticmethod
    def static_outside(by):
        return by + 2

    def __eq__(self, other):
        return isinstance(other, Account) and self.balance == other.balance

    __hash__ = None


class Savings(Account):
    """Overrides a method, and calls the one above it."""

    bonus = 200

    @mp.parallel
    def raised(self, by, factor=1):
        return -super().raised(by, factor).get(LIMIT)


class Adder:
    """A callable instance."""

    def __init__(self, base):
        self.base = base

    def __call__(self, by: int) -> int:
        """Add."""
        return self.base + by


class Point:
    """A class to be called like a function."""

    def __init__(self, x, y=0):
        self.x, self.y = x, y


class Timed:
    """A class whose constructor has a timeout of its own."""

    def __init__(self, timeout=None):
        self.timeout = timeout


class TimedCall:
    """A callable instance with a timeout of its own."""

    def __call__(self, timeout=None):
        return timeout


class Payload:
    """Something weakly referable, to see whether it is kept."""


def describe(value):
    """A parameter's id that is the same in every run."""
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return type(value).__name__ if type(value) in (object, tuple) else repr(value)


# --- what it wraps ------------------------------------------------------------------------------------


def test_call_blocks_the_caller(pool):
    """A call returns while the body still runs, and the body runs in another thread."""
    go = threading.Event()

    @pool.parallel
    def body():
        assert go.wait(LIMIT)
        return threading.get_ident()

    handle = body()
    assert isinstance(handle, mp.AsyncHandle)
    assert not handle.is_ready()
    go.set()
    assert threading.get_ident() != handle.get(LIMIT)


def test_forms_of_decoration_differ():
    """Bare, with parentheses, with options and as a plain function all give the same kind of wrapper."""
    forms = [
        mp.parallel(plain_triple),
        mp.parallel()(plain_triple),
        mp.parallel(timeout=None)(plain_triple),
        mp.parallel(name="plain_triple", timeout=LIMIT, interrupt=False)(plain_triple),
    ]
    assert [mp.ParallelFunction] * 4 == [type(form) for form in forms]
    assert [12] * 4 == [form(4).get(LIMIT) for form in forms]
    assert ["plain_triple"] * 4 == [form(4).get_name() for form in forms]


def test_options_do_not_reach_the_task():
    """The name and timeout given to the decorator are those of every task."""
    handle = decorated_cube(2)
    assert 8 == handle.get(LIMIT)
    assert ("cube", float(LIMIT)) == (handle.get_name(), handle.get_timeout())
    assert ("decorated_square", None) == (decorated_square(2).get_name(), decorated_square(2).get_timeout())


def test_decorator_is_used_up_by_its_first_function():
    """One decorator may wrap many functions, each under its own name."""
    decorate = mp.parallel(timeout=LIMIT)
    double, triple = decorate(math.floor), decorate(plain_triple)
    assert ("floor", "plain_triple") == (double(1.5).get_name(), triple(1).get_name())
    assert (1, 3) == (double(1.5).get(LIMIT), triple(1).get(LIMIT))


KEYWORDS = (
    "self", "func", "fn", "function", "args", "kwargs", "name", "pool", "interrupt", "max_memory_mb",
    "max_cpu_time_secs", "executor", "options", "context", "label", "handle", "worker", "task", "instance", "owner",
)  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_user_keyword_is_swallowed(pool, keyword):
    """A keyword that happens to be named like something of the library reaches the function."""
    echo = mp.parallel(lambda **keywords: keywords)
    assert {keyword: 7} == echo(**{keyword: 7}).get(LIMIT)
    assert {keyword: 7} == pool.submit(lambda **keywords: keywords, **{keyword: 7}).get(LIMIT)


def test_submit_swallows_timeout(pool):
    """`Pool.submit` passes `timeout=` to the function: there it never means the task."""
    handle = pool.submit(lambda **keywords: keywords, timeout=5)
    assert {"timeout": 5} == handle.get(LIMIT)
    assert handle.get_timeout() is None


def test_arguments_are_mixed_up(pool):
    """Positional, keyword, default, variable and keyword-only arguments arrive as given."""

    @pool.parallel
    def body(a, /, b, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    assert (1, 2, (3,), 5, 4, {"e": 6}) == body(1, 2, 3, c=5, e=6).get(LIMIT)


def test_wrong_arguments_raise_at_the_call(pool):
    """A call that doesn't fit the function fails like the function: in the task."""
    error = pool.parallel(plain_triple)().exception(LIMIT)
    assert isinstance(error.__cause__, TypeError)
    assert "missing 1 required positional argument: 'x'" in error.error_message


def test_method_loses_its_instance():
    """A decorated method binds to its instance, overrides one above, and is reachable by `super`."""
    assert 13 == Account(10).raised(1, factor=3).get(LIMIT)
    assert 12 == Account.raised(Account(10), 2).get(LIMIT)
    assert -13 == Savings(10).raised(3).get(LIMIT)


def test_method_binding_loses_options():
    """A bound method keeps the decorator's options, and has `options` and `map` of its own."""

    class Owner:
        base = 5

        @mp.parallel(name="renamed", timeout=LIMIT)
        def add(self, by):
            return self.base + by

    owner = Owner()
    handle = owner.add(1)
    assert ("renamed", float(LIMIT)) == (handle.get_name(), handle.get_timeout())
    assert 7 == owner.add.options(timeout=None)(2).get(LIMIT)
    assert owner.add.options(timeout=None)(2).get_timeout() is None
    assert [6, 7] == owner.add.map([1, 2])


def test_classmethod_gets_the_wrong_class():
    """A class method gets the class it was called on, through the class and through an instance."""
    assert 101 == Account.of_class(1).get(LIMIT)
    assert 201 == Savings.of_class(1).get(LIMIT)
    assert 201 == Savings(0).of_class(1).get(LIMIT)


def test_staticmethod_above_gets_an_instance():
    """`@staticmethod` above the decorator: no instance is passed."""
    assert 3 == Account.static_inside(2).get(LIMIT)
    assert 3 == Account(0).static_inside(2).get(LIMIT)


def test_staticmethod_below_gets_an_instance():
    """`@staticmethod` below the decorator: no instance is passed either."""
    assert 4 == Account.static_outside(2).get(LIMIT)
    assert 4 == Account(0).static_outside(2).get(LIMIT)


def test_abstract_method_becomes_concrete():
    """`@abstractmethod` below the decorator still keeps the class from being instantiated."""

    class Base(ABC):
        @mp.parallel
        @abstractmethod
        def work(self): ...

    with pytest.raises(TypeError, match="abstract"):
        Base()


@pytest.mark.parametrize(
    ("fn", "args", "expected", "name"),
    [
        (functools.partial(plain_triple, times=5), (2,), 10, "partial"),
        (functools.partial(plain_triple, 2, times=5), (), 10, "partial"),
        (Account(1).balance.__add__, (4,), 5, "__add__"),
        (Adder(10), (1,), 11, "Adder"),
        (Adder(10).__call__, (1,), 11, "__call__"),
        (abs, (-3,), 3, "abs"),
        (math.hypot, (3, 4), 5.0, "hypot"),
        ("a-b".split, ("-",), ["a", "b"], "split"),
        (int, ("7",), 7, "int"),
        (lambda x: x + 1, (1,), 2, "<lambda>"),
        (staticmethod(plain_triple), (1,), 3, "plain_triple"),
        (functools.lru_cache(plain_triple), (1,), 3, "plain_triple"),
        (mp.parallel(plain_triple), (1,), 3, "plain_triple"),
    ],
    ids=describe,
)
def test_kind_of_callable_is_refused(fn, args, expected, name):
    """Whatever can be called can be decorated, and has a name."""
    handle = mp.parallel(fn)(*args)
    assert expected == handle.get(LIMIT)
    assert name == handle.get_name()


def test_class_is_no_function():
    """A class is called in the task, and gives an instance."""
    point = mp.parallel(Point)(1, y=2).get(LIMIT)
    assert (Point, 1, 2) == (type(point), point.x, point.y)


def test_double_decoration_gives_a_handle_of_a_handle():
    """Decorating what is decorated wraps the user's function, not the wrapper."""
    twice = mp.parallel(name="again")(decorated_square)
    assert decorated_square.__wrapped__ is twice.__wrapped__
    assert 9 == twice(3).get(LIMIT)


# --- what it keeps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attribute", ["__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__type_params__"]
)
def test_metadata_is_lost(attribute):
    """Name, qualified name, docstring, module and annotations are the function's."""
    assert getattr(plain_triple, attribute) == getattr(mp.parallel(plain_triple), attribute)
    assert getattr(plain_triple, attribute) == getattr(mp.parallel(timeout=1, name="x")(plain_triple), attribute)


def test_wrapped_is_not_the_function():
    """`__wrapped__` is the function itself, for methods too."""
    assert plain_triple is mp.parallel(plain_triple).__wrapped__
    assert plain_triple is inspect.unwrap(mp.parallel(plain_triple))
    assert plain_triple is mp.parallel(plain_triple).options(timeout=1).__wrapped__
    account = Account(1)
    assert account is account.raised.__wrapped__.__self__


@pytest.mark.parametrize(
    "fn",
    [plain_triple, Adder(1), Point, functools.partial(plain_triple, times=2), Account(1).__eq__, math.hypot, len],
    ids=describe,
)
def test_signature_is_lost(fn):
    """`inspect.signature` of the wrapper is that of what it wraps."""
    try:
        expected = inspect.signature(fn)
    except ValueError:
        with pytest.raises(ValueError, match="signature"):
            inspect.signature(mp.parallel(fn))
    else:
        assert expected == inspect.signature(mp.parallel(fn))


def test_bound_signature_shows_self():
    """The signature of a bound method has no `self`; that of the class's attribute does."""
    assert ["by", "factor"] == list(inspect.signature(Account(1).raised).parameters)
    assert ["self", "by", "factor"] == list(inspect.signature(Account.raised).parameters)
    assert ["by"] == list(inspect.signature(Account.of_class).parameters)
    assert "Return the balance, raised." == Account(1).raised.__doc__
    assert "raised" == Account(1).raised.__name__


def test_type_hints_cannot_be_evaluated():
    """`typing.get_type_hints` sees the function's annotations."""
    assert {"x": int, "times": int, "return": int} == typing.get_type_hints(mp.parallel(plain_triple))


def test_function_attributes_are_lost():
    """Attributes that other decorators left on the function can be read; new ones stay on the wrapper."""

    def body():
        return 1

    body.route = "/start"
    wrapper = mp.parallel(body)
    assert "/start" == wrapper.route
    wrapper.extra = 3
    assert (3, False) == (wrapper.extra, hasattr(body, "extra"))
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = wrapper.nothing_of_this_name


def test_update_wrapper_fails_on_the_wrapper():
    """The wrapper itself can be wrapped by an ordinary decorator."""

    @functools.wraps(decorated_square)
    def outer(x):
        return decorated_square(x).get(LIMIT) + 1

    assert ("decorated_square", "Square a number.", 10) == (outer.__name__, outer.__doc__, outer(3))


def test_repr_fails_or_says_nothing():
    """The repr names the function."""
    assert "plain_triple" in repr(mp.parallel(plain_triple))


# --- pickling -----------------------------------------------------------------------------------------


def test_module_level_function_is_not_picklable():
    """A decorated module-level function pickles by reference, as the function would."""
    assert decorated_square is pickle.loads(pickle.dumps(decorated_square))
    assert decorated_cube is pickle.loads(pickle.dumps(decorated_cube))
    assert len(pickle.dumps(decorated_square)) < 200


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_function_form_is_not_picklable(protocol):
    """`mp.parallel(fn)` with options arrives with its function and its options."""
    wrapper = mp.parallel(name="renamed", timeout=LIMIT, interrupt=False)(plain_triple)
    copied = pickle.loads(pickle.dumps(wrapper, protocol))
    handle = copied(2)
    assert (6, "renamed", float(LIMIT)) == (handle.get(LIMIT), handle.get_name(), handle.get_timeout())
    assert plain_triple is copied.__wrapped__


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (functools.partial(plain_triple, times=5), (2,), 10),
        (Adder(10), (1,), 11),
        (Adder(10).__call__, (1,), 11),
        (abs, (-3,), 3),
        (Adder, (1,), None),
    ],
    ids=describe,
)
def test_picklable_callable_is_not_picklable(fn, args, expected):
    """Partial objects, callable instances, bound methods, builtins and classes travel."""
    result = pickle.loads(pickle.dumps(mp.parallel(fn)))(*args).get(LIMIT)
    assert isinstance(result, Adder) if expected is None else expected == result


def test_bound_method_is_not_picklable():
    """A bound decorated method travels with its instance."""
    assert 15 == pickle.loads(pickle.dumps(Account(10).raised))(5).get(LIMIT)


def test_options_of_a_module_level_function_are_not_picklable():
    """A copy with other defaults travels too, though its function is only reachable through the wrapper."""
    copied = pickle.loads(pickle.dumps(decorated_square.options(timeout=LIMIT)))
    handle = copied(3)
    assert (9, float(LIMIT)) == (handle.get(LIMIT), handle.get_timeout())


def test_unpicklable_function_pickles_to_something_else():
    """What the function can't, the wrapper can't."""
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(mp.parallel(lambda: 1))


def test_copy_of_a_wrapper_fails():
    """`copy` and `deepcopy` give something that still works."""
    wrapper = mp.parallel(timeout=LIMIT)(plain_triple)
    for made in (copy.copy(wrapper), copy.deepcopy(wrapper), copy.deepcopy(decorated_cube)):
        assert float(LIMIT) == made(1).get_timeout()
    assert 3 == copy.deepcopy(wrapper)(1).get(LIMIT)


# --- options() ----------------------------------------------------------------------------------------


def test_options_change_the_original(pool):
    """`options` gives a copy; the original and its other options stay."""
    original = mp.parallel(name="first", timeout=5)(plain_triple)
    renamed = original.options(name="second")
    moved = original.options(pool=pool)
    unlimited = original.options(timeout=None)
    assert original is not original.options()
    assert ("first", 5.0) == (original(1).get_name(), original(1).get_timeout())
    assert ("second", 5.0) == (renamed(1).get_name(), renamed(1).get_timeout())
    assert ("first", None) == (unlimited(1).get_name(), unlimited(1).get_timeout())
    before = pool.statistics().submitted
    assert 3 == moved(1).get(LIMIT)
    assert before < pool.statistics().submitted


def test_name_none_keeps_the_old_name():
    """`options(name=None)` goes back to the function's own name."""
    assert "plain_triple" == mp.parallel(name="first")(plain_triple).options(name=None)(1).get_name()


def test_pool_none_keeps_the_old_pool(pool):
    """`options(pool=None)` goes back to the default pool."""
    wrapper = pool.parallel(lambda: threading.current_thread().name)
    prefix = pool.submit(lambda: threading.current_thread().name).get(LIMIT).rpartition("-")[0]
    assert prefix == wrapper().get(LIMIT).rpartition("-")[0]
    assert prefix != wrapper.options(pool=None)().get(LIMIT).rpartition("-")[0]


# --- timeout= -----------------------------------------------------------------------------------------


def positional(a, timeout=None):
    return a, timeout


def keyword_only(a, *, timeout=None):
    return a, timeout


def arbitrary(a, **more):
    return a, more


def both(a, timeout=None, **more):
    return a, timeout, more


def neither(a):
    return a


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (positional, (1, 9)),
        (keyword_only, (1, 9)),
        (both, (1, 9, {})),
        (functools.partial(positional, timeout=3), (1, 9)),
        (functools.partial(keyword_only), (1, 9)),
    ],
    ids=["positional", "keyword_only", "both", "partial", "partial_keyword_only"],
)
def test_own_timeout_parameter_is_swallowed(fn, expected):
    """A function's own `timeout` parameter gets the keyword; the task's comes by `options`."""
    wrapper = mp.parallel(timeout=LIMIT)(fn)
    handle = wrapper(1, timeout=9)
    assert expected == handle.get(LIMIT)
    assert float(LIMIT) == handle.get_timeout()
    handle = wrapper.options(timeout=LIMIT + 1)(1, timeout=9)
    assert (expected, LIMIT + 1.0) == (handle.get(LIMIT), handle.get_timeout())


def test_own_timeout_of_class_and_instance_is_swallowed():
    """A constructor's and a callable instance's own `timeout` get the keyword."""
    assert 9 == mp.parallel(Timed)(timeout=9).get(LIMIT).timeout
    assert 9 == mp.parallel(TimedCall())(timeout=9).get(LIMIT)
    assert 9 == mp.parallel(TimedCall().__call__)(timeout=9).get(LIMIT)


def test_local_variable_is_taken_for_a_parameter():
    """A local variable named `timeout` is no parameter: the keyword is the task's."""

    def body(a):
        timeout = a + 1
        timeout += 1
        return timeout

    handle = mp.parallel(body)(3, timeout=LIMIT)
    assert (5, float(LIMIT)) == (handle.get(LIMIT), handle.get_timeout())


@pytest.mark.parametrize(
    "fn",
    [neither, Adder(0), functools.partial(neither), Account(0).__eq__, staticmethod(neither)],
    ids=["function", "instance", "partial", "bound", "static"],
)
def test_task_timeout_reaches_the_function(fn):
    """Without a parameter of that name the keyword is the task's timeout."""
    handle = mp.parallel(fn)(1, timeout=LIMIT)
    assert float(LIMIT) == handle.get_timeout()
    assert handle.exception(LIMIT) is None


def test_task_timeout_of_methods_goes_astray():
    """A method's, class method's and static method's call may carry a timeout too."""
    account = Account(1)
    handles = [
        account.raised(1, timeout=LIMIT),
        Account.raised(account, 1, timeout=LIMIT),
        Account.of_class(1, timeout=LIMIT),
        Account.static_inside(1, timeout=LIMIT),
    ]
    assert [float(LIMIT)] * 4 == [handle.get_timeout() for handle in handles]
    assert [2, 2, 101, 2] == mp.gather(handles, timeout=LIMIT)


def test_call_timeout_none_keeps_the_default():
    """`timeout=None` at the call means no limit, whatever the decorator said."""
    assert mp.parallel(timeout=5)(neither)(1, timeout=None).get_timeout() is None


def test_call_timeout_sticks():
    """The timeout of one call is not that of the next."""
    wrapper = mp.parallel(neither)
    assert 7.0 == wrapper(1, timeout=7).get_timeout()
    assert wrapper(1).get_timeout() is None


def wraps_positional():
    @functools.wraps(positional)
    def wrapper(*args, **kwargs):
        return positional(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "fn",
    [arbitrary, functools.partial(arbitrary, 1), wraps_positional(), dict, type("Any", (), {"__call__": arbitrary})()],
    ids=["kwargs", "partial", "wraps", "builtin", "instance"],
)
def test_ambiguous_timeout_is_guessed(fn):
    """With `**kwargs`, or without a known signature, `timeout=` is refused and `options` is named."""
    with pytest.raises(TypeError, match=r"timeout.*\.options\(timeout="):
        mp.parallel(fn)(timeout=9)


def test_ambiguous_timeout_has_no_way_out():
    """`options(timeout=…)` works where the keyword is refused, and other keywords pass."""
    handle = mp.parallel(arbitrary).options(timeout=LIMIT)(1, other=2)
    assert ((1, {"other": 2}), float(LIMIT)) == (handle.get(LIMIT), handle.get_timeout())


def test_refused_call_leaves_a_task(pool):
    """A call that is refused at the caller's line has submitted nothing."""
    with pytest.raises(TypeError, match="options"):
        pool.parallel(arbitrary)(1, timeout=9)
    with pytest.raises(ValueError, match="timeout=-1"):
        pool.parallel(neither)(1, timeout=-1)
    with pytest.raises(TypeError, match="timeout='5'"):
        pool.parallel(neither)(1, timeout="5")
    assert 0 == pool.statistics().submitted


def test_timeout_takes_effect_too_late_or_never(pool):
    """A task whose timeout passes is finished with `TaskTimeoutError`, though its body still runs."""
    go = threading.Event()
    handle = pool.parallel(lambda: go.wait(LIMIT))(timeout=0.01)
    error = handle.exception(LIMIT)
    assert isinstance(error, mp.TaskTimeoutError)
    go.set()


@pytest.mark.slow
def test_timeout_counts_the_time_in_the_queue():
    """A timeout begins when the body does."""
    with mp.Pool(1) as single:
        go = threading.Event()
        blocker = single.submit(go.wait, LIMIT)
        queued = single.parallel(lambda: "ran")(timeout=LIMIT)
        overdue = time.perf_counter()
        short = single.parallel(lambda: "ran")(timeout=0.2)
        assert not blocker.wait(0.25)
        assert time.perf_counter() - overdue > 0.2
        go.set()
        assert ["ran", "ran"] == mp.gather([queued, short], timeout=LIMIT)


# --- per-call decoration --------------------------------------------------------------------------------


@pytest.mark.proves("I5")
def test_decoration_per_call_is_retained(pool):
    """A wrapper made for one call, its function and what that closes over are freed after it."""

    def handle_request(payload):
        @mp.parallel(timeout=LIMIT, pool=pool)
        def body():
            return payload is not None

        handle = body()
        return handle, [weakref.ref(body), weakref.ref(body.__wrapped__), weakref.ref(payload)]

    handle, references = handle_request(Payload())
    assert handle.get(LIMIT) is True
    assert eventually_freed(lambda: not any(reference() for reference in references))
    assert handle.get(LIMIT) is True  # the handle is alive, and keeps none of it


@pytest.mark.proves("I5")
def test_undone_decoration_is_retained():
    """Wrapping without calling keeps nothing either."""

    def wrap(payload):
        return weakref.ref(mp.parallel(lambda: payload)), weakref.ref(payload)

    references = [reference for _ in range(50) for reference in wrap(Payload())]
    assert eventually_freed(lambda: not any(reference() for reference in references))


@pytest.mark.proves("I5")
def test_bound_wrapper_retains_its_instance():
    """Reading a decorated method keeps its instance only while the bound wrapper lives."""
    account = Adder(1)
    bound = mp.parallel(Adder.__call__).__get__(account)
    assert 3 == bound(2).get(LIMIT)
    kept = weakref.ref(account)
    del account, bound
    assert eventually_freed(lambda: kept() is None)


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, "text", b"", [], {}, 1.5, object()], ids=describe)
def test_uncallable_is_found_in_the_worker(value):
    """Something that can't be called is refused at decoration, and named."""
    for decorate in (mp.parallel, mp.parallel(), mp.parallel(timeout=1)):
        with pytest.raises(TypeError, match=re.escape(repr(value))) as caught:
            decorate(value)
        assert type(value).__name__ in str(caught.value)
        assert "callable" in str(caught.value)


def test_none_is_decorated():
    """A decorator with options refuses None."""
    with pytest.raises(TypeError, match="None"):
        mp.parallel(timeout=1)(None)


async def coroutine_function():
    """Is a coroutine function."""


async def async_generator_function():
    yield 1


def generator_function():
    yield 1


class AsyncCall:
    """Its instances are called like a coroutine function."""

    async def __call__(self): ...

    async def method(self): ...

    def generate(self):
        yield 1


class InheritedAsyncCall(AsyncCall):
    """Inherits it."""


class PartialOfMine(functools.partial):
    """A partial object of a class of one's own."""


@pytest.mark.parametrize(
    ("fn", "remedy"),
    [
        (coroutine_function, "parallel_async"),
        (functools.partial(coroutine_function), "parallel_async"),
        (functools.partial(functools.partial(AsyncCall().method)), "parallel_async"),
        (PartialOfMine(coroutine_function), "parallel_async"),
        (staticmethod(coroutine_function), "parallel_async"),
        (AsyncCall().method, "parallel_async"),
        (AsyncCall(), "parallel_async"),
        (InheritedAsyncCall(), "parallel_async"),
        (functools.partial(InheritedAsyncCall()), "parallel_async"),
        (generator_function, "generator"),
        (async_generator_function, "generator"),
        (functools.partial(generator_function), "generator"),
        (AsyncCall().generate, "generator"),
        (lambda: (yield), "generator"),
    ],
    ids=describe,
)
def test_function_whose_call_runs_nothing_is_decorated(fn, remedy):
    """Coroutine and generator functions are refused at decoration, with the remedy, however they are wrapped up."""
    for decorate in (mp.parallel, mp.parallel(timeout=1)):
        with pytest.raises(TypeError, match=remedy):
            decorate(fn)


def test_decorator_below_classmethod_or_property_fails_later():
    """`@mp.parallel` above `@classmethod` or `@property` is refused, and the right order named."""
    with pytest.raises(TypeError, match=r"put @classmethod above @mp\.parallel"):
        mp.parallel(classmethod(plain_triple))
    with pytest.raises(TypeError, match=r"put @property above @mp\.parallel"):
        mp.parallel(property(plain_triple))


NUMBERS = [
    ("5", TypeError),
    (True, TypeError),
    (b"5", TypeError),
    ([5], TypeError),
    (5j, TypeError),
    (-1, ValueError),
    (-0.001, ValueError),
    (math.nan, ValueError),
    (-math.inf, ValueError),
]
BAD_OPTIONS = [
    *[("timeout", value, kind) for value, kind in NUMBERS],
    *[("max_memory_mb", value, kind) for value, kind in NUMBERS],
    *[("max_cpu_time_secs", value, kind) for value, kind in NUMBERS],
    *[("interrupt", value, TypeError) for value in (0, 1, None, "yes", [])],
    *[("name", value, TypeError) for value in (3, b"name", ["name"], True)],
    *[("name", value, ValueError) for value in ("", "  ", "\n")],
    *[("pool", value, TypeError) for value in (3, "pool", mp.Pool, [])],
]


@pytest.mark.parametrize(("option", "value", "kind"), BAD_OPTIONS, ids=describe)
def test_bad_option_is_found_in_the_worker(option, value, kind):
    """A wrong option is an error at its own line, which names the option and the value."""
    wanted = re.escape(f"{option}={value!r}")
    with pytest.raises(kind, match=wanted):
        mp.parallel(**{option: value})
    with pytest.raises(kind, match=wanted):
        mp.parallel(plain_triple).options(**{option: value})


@pytest.mark.parametrize("value", [0, 0.0])
@pytest.mark.parametrize("option", ["max_memory_mb", "max_cpu_time_secs"])
def test_limit_of_nothing_is_taken(option, value):
    """A limit of zero could never be kept, and is refused."""
    with pytest.raises(ValueError, match=f"{option}={value}"):
        mp.parallel(**{option: value})


def test_unknown_option_is_ignored():
    """A misspelt option is an error, in `parallel` and in `options`."""
    with pytest.raises(TypeError, match="time_out"):
        mp.parallel(time_out=3)
    with pytest.raises(TypeError, match="time_out"):
        mp.parallel(plain_triple).options(time_out=3)


def test_pool_of_a_pool_is_ignored(pool):
    """`Pool.parallel(pool=…)` makes no sense and is refused."""
    with pytest.raises(TypeError, match="pool="):
        pool.parallel(plain_triple, pool=pool)


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5, math.inf, None, sys.maxsize, 10**30, 1e300, 5e-324], ids=repr)
def test_good_timeout_is_refused(value):
    """Zero, infinity, None and every other number of seconds are timeouts."""
    assert (None if value in (None, math.inf) else float(value)) == mp.parallel(timeout=value)(neither)(1).get_timeout()


def test_number_that_no_float_holds_escapes_as_overflow():
    """An integer too large for a float is an ordinary bad or good value, never an `OverflowError`."""
    with pytest.raises(ValueError, match="timeout="):
        mp.parallel(timeout=-(10**400))
    try:
        handle = mp.parallel(timeout=10**400)(neither)(1)
    except ValueError as error:
        message = str(error)
    else:
        message = "timeout=" if handle.get(LIMIT) == 1 else "wrong result"
    assert "timeout=" in message
