"""Stands for `makeparallel._sync` in the copy of the core that is explored: every operation is a point.

Locked operations of a list or deque (C1) are one point each, and order what comes before and after them. Plain reads
and writes (C3), of attributes, lengths and single items, are points that order nothing; with `engine.stale` such a read
may also give an older value, as far as nothing ordered says that it is out of date.

An interrupt (C8) arrives where CPython raises it: at a function's start, and after a call of a C function (C4).
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import count as _count
from typing import Any, ClassVar

from .explore import ACQUIRE, READ, RELEASE, RING, TIMED_WAIT, WAIT, WRITE, Engine, ModelThread

engine = Engine()

FOREVER = float("inf")
MISSING: Any = object()


# --- memory: who has seen what ------------------------------------------------------------------------


def synchronize(thing: Any, *, gives: bool = True, takes: bool = True) -> None:
    """A locked operation on `thing`: what others did before theirs is visible from here on, and ours to the next."""
    me = engine.current
    if not engine.stale or me is None or not engine.is_active:
        return
    clock = engine.clocks.setdefault(id(thing), {})
    if takes:
        _join(me.clock, clock)
    if gives:
        me.clock[me.index] = me.clock.get(me.index, 0) + 1
        _join(clock, me.clock)


def _join(mine: dict[int, int], other: dict[int, int]) -> None:
    for index, moment in other.items():
        if moment > mine.get(index, -1):
            mine[index] = moment


class History:
    """The values that a plain location had in this run, each with its writer and the writer's moment."""

    __slots__ = ("seen", "values")

    def __init__(self, value: Any) -> None:
        self.values: list[tuple[Any, int, int]] = [(value, -1, 0)]
        #: Of each thread, the newest value that it has read: it never reads an older one again.
        self.seen: dict[int, int] = {}

    def write(self, value: Any) -> None:
        me = engine.current
        assert me is not None
        me.clock[me.index] = me.clock.get(me.index, 0) + 1
        self.values.append((value, me.index, me.clock[me.index]))
        self.seen[me.index] = len(self.values) - 1

    def read(self) -> Any:
        """The newest value, or an older one that nothing ordered has overtaken."""
        me = engine.current
        assert me is not None
        oldest = self.seen.get(me.index, 0)
        for place in range(len(self.values) - 1, oldest, -1):
            _, writer, moment = self.values[place]
            if moment <= me.clock.get(writer, 0):
                oldest = place
                break
        newest = len(self.values) - 1
        place = newest - engine.choice(newest - oldest + 1)
        self.seen[me.index] = place
        return self.values[place][0]


def _history(thing: Any, part: str, value: Any) -> History:
    key = (id(thing), part)
    history = engine.histories.get(key)
    if history is None:
        engine.kept.append(thing)
        history = engine.histories[key] = History(value)
    return history


def read_attribute(thing: Any, name: str) -> Any:
    """Stands for `thing.name`, where `name` is written outside constructors."""
    if engine.current is None or not engine.is_active:
        return getattr(thing, name)
    if not hasattr(type(thing), "__slots__") and name not in vars(thing):
        return getattr(thing, name)  # a method, or a module's function
    engine.point(thing, READ, part=name)
    value = getattr(thing, name)
    if engine.stale:
        return _history(thing, name, value).read()
    return value


def write_attribute(thing: Any, name: str, value: Any) -> None:
    """Stands for `thing.name = value`."""
    if engine.current is not None and engine.is_active:
        engine.point(thing, WRITE, part=name)
        if engine.stale:
            _history(thing, name, getattr(thing, name, None)).write(value)
    setattr(thing, name, value)


# --- interrupts ---------------------------------------------------------------------------------------


def place() -> None:
    """A place of C4: what was sent to the running thread arrives."""
    me = engine.current
    if not engine.interrupts or not engine.is_active or me is None:
        return
    engine.point(me, READ, part="sent")
    if me.sent is not None:
        sent, me.sent = me.sent, None
        if engine.verbose:
            engine.log.append(f"{me.name:<12} ... an interrupt arrives")
        raise sent


def can_interrupt() -> bool:
    return True


def send_interrupt(ident: int, exception: type[BaseException]) -> None:
    thread = engine.threads[ident - 100]
    engine.point(thread, WRITE, part="sent")
    if not thread.is_done:
        thread.sent = exception


def clear_interrupt(ident: int) -> None:
    thread = engine.threads[ident - 100]
    engine.point(thread, WRITE, part="sent")
    thread.sent = None
    place()


# --- containers ---------------------------------------------------------------------------------------


def _lock(thing: Any, mode: int) -> None:
    engine.point(thing, mode)
    synchronize(thing, gives=False)


def _note_length(thing: Any) -> None:
    if engine.stale and engine.is_active and engine.current is not None:
        history = engine.histories.get((id(thing), "len"))
        if history is None:
            history = _history(thing, "len", thing.before)
        history.write(thing.real_length())


def _method[T: Callable[..., Any]](name: str, mode: int, base: type) -> Any:
    real = getattr(base, name)

    def method(self: Any, *args: Any) -> Any:
        if not engine.is_active or engine.current is None:
            return real(self, *args)
        _lock(self, mode)
        try:
            if mode == WRITE:
                self.before = base.__len__(self)
            result = real(self, *args)
        finally:
            if mode == WRITE:
                _note_length(self)
            synchronize(self, takes=False)
        place()
        return result

    method.__name__ = name
    return method


class _Container:
    """What a list and a deque have in common: their length is read without their lock."""

    before = 0

    def real_length(self) -> int:
        raise NotImplementedError

    def _length(self) -> int:
        real = self.real_length()
        if not engine.is_active or engine.current is None:
            return real
        engine.point(self, READ)
        real = self.real_length()
        if engine.stale:
            history = engine.histories.get((id(self), "len"))
            return real if history is None else history.read()
        return real

    def __len__(self) -> int:
        return self._length()

    def __bool__(self) -> bool:
        return self._length() > 0


class ModelList(_Container, list):  # type: ignore[type-arg]
    """A list."""

    __hash__ = None  # type: ignore[assignment]

    def real_length(self) -> int:
        return list.__len__(self)

    append = _method("append", WRITE, list)
    pop = _method("pop", WRITE, list)
    remove = _method("remove", WRITE, list)
    clear = _method("clear", WRITE, list)
    extend = _method("extend", WRITE, list)
    __delitem__ = _method("__delitem__", WRITE, list)
    __contains__ = _method("__contains__", READ, list)

    def __getitem__(self, index: Any) -> Any:
        engine.point(self, READ)
        if isinstance(index, slice):
            synchronize(self)  # nothing is written: giving before is giving after
        return list.__getitem__(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        engine.point(self, WRITE)
        list.__setitem__(self, index, value)

    def __iter__(self) -> Any:
        engine.point(self, READ)
        return list.__iter__(self)


class ModelQueue(_Container, deque):  # type: ignore[type-arg]
    """A deque."""

    def real_length(self) -> int:
        return deque.__len__(self)

    append = _method("append", WRITE, deque)
    appendleft = _method("appendleft", WRITE, deque)
    extend = _method("extend", WRITE, deque)
    extendleft = _method("extendleft", WRITE, deque)
    pop = _method("pop", WRITE, deque)
    popleft = _method("popleft", WRITE, deque)
    remove = _method("remove", WRITE, deque)
    clear = _method("clear", WRITE, deque)
    rotate = _method("rotate", READ, deque)
    __contains__ = _method("__contains__", READ, deque)

    def __getitem__(self, index: Any) -> Any:
        engine.point(self, READ)
        return deque.__getitem__(self, index)


class ModelDict(dict):  # type: ignore[type-arg]
    """A dict: its operations are locked by themselves."""

    get = _method("get", READ, dict)
    setdefault = _method("setdefault", WRITE, dict)
    copy = _method("copy", READ, dict)
    pop = _method("pop", WRITE, dict)
    values = _method("values", READ, dict)
    __contains__ = _method("__contains__", READ, dict)
    __setitem__ = _method("__setitem__", WRITE, dict)
    __delitem__ = _method("__delitem__", WRITE, dict)
    before = 0

    def real_length(self) -> int:
        return dict.__len__(self)


def make_list(entries: Iterable[Any] = ()) -> ModelList:
    return ModelList(entries)


_dicts: list[ModelDict] = []


def make_dict(entries: Any = ()) -> ModelDict:
    """A module's or an object's dict; a module's is emptied before each run."""
    new = ModelDict(entries)
    if not engine.is_active and engine.is_loading:
        _dicts.append(new)
    return new


Ledger = ModelList
Queue = ModelQueue


def fence(queue: Any) -> bool:
    """One point, as the real one's two steps are for the owner of the lock: then a read of the length, maybe newer."""
    queue.rotate(0)
    return bool(queue)


def move(source: Any, target: Any) -> None:
    """C5: two locked operations, with nothing of this thread's in between."""
    _lock(source, WRITE)
    real = deque if isinstance(source, deque) else list
    source.before = real.__len__(source)
    try:
        entry = real.pop(source)
        _note_length(source)
    finally:
        synchronize(source, takes=False)
    if isinstance(target, _Container):
        _lock(target, WRITE)
        target.before = target.real_length()
        (deque if isinstance(target, deque) else list).append(target, entry)  # type: ignore[arg-type]
        _note_length(target)
        synchronize(target, takes=False)
    else:
        target.append(entry)
    place()


def snapshot(queue: Any) -> list[Any]:
    engine.point(queue, READ)
    return list(deque.__iter__(queue))


# --- locks, bells, threads, the clock -----------------------------------------------------------------


class Lock:
    """A lock. Entering `with` holds no place for interrupts (C8); leaving does."""

    reentrant = False

    def __init__(self) -> None:
        self.owner: ModelThread | None = None
        self.depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = engine.current
        if not engine.is_active or me is None:
            return self.owner is None
        if self.reentrant and self.owner is me:
            self.depth += 1
            return True
        engine.point(self, ACQUIRE, lambda: self.owner is None)
        synchronize(self)
        self.owner = me
        self.depth = 1
        return True

    def release(self) -> None:
        if not engine.is_active or engine.current is None:
            return
        if self.reentrant and self.depth > 1:
            self.depth -= 1
            return
        engine.point(self, RELEASE)
        synchronize(self)
        assert self.owner is engine.current
        self.owner = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
        place()


class RLock(Lock):
    """A lock that its owner can take again."""

    reentrant = True


class Bell:
    """A binary wake-up."""

    def __init__(self) -> None:
        self.is_set = False

    def ring(self) -> None:
        if engine.is_active and engine.current is not None:
            engine.point(self, RING)
            synchronize(self, takes=False)
            engine.nodes[-1].was_set = self.is_set
        self.is_set = True
        place()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None or timeout == FOREVER:
            engine.point(self, WAIT, lambda: self.is_set)
        else:
            until = engine.time + max(timeout, 0.0)
            engine.point(self, TIMED_WAIT)
            if not self.is_set:
                engine.timeouts_left -= 1
                engine.time = max(engine.time, until)
        rang, self.is_set = self.is_set, False
        if rang:
            synchronize(self, gives=False)
        place()
        return rang


def new_thread(target: Callable[..., object], name: str, *args: object) -> ModelThread:
    return ModelThread(engine, name, lambda: target(*args), True)


class thread_module:  # noqa: N801  # stands for a module
    """Stands for `threading`."""

    @staticmethod
    def current_thread() -> Any:
        return engine.current


def get_ident() -> int:
    me = engine.current
    return 1 if me is None else me.ident


def now() -> float:
    """The clock: it moves when somebody waits, and a little at each look."""
    engine.time += 1e-6
    return engine.time


def frame_at(depth: int) -> str | None:
    return None


def require_headroom() -> None:
    pass


def prefer_prompt_wakeups() -> bool:
    return True


class count:  # noqa: N801  # stands for a function
    """A counter that begins anew with each run."""

    made: ClassVar[list[Any]] = []

    def __init__(self, start: int) -> None:
        self.start = start
        self.made.append(self)
        self.begin()

    def begin(self) -> None:
        self.values = _count(self.start)

    def __next__(self) -> int:
        return next(self.values)


def begin_run() -> None:
    """Empty what modules keep from run to run."""
    for made in count.made:
        made.begin()
    for kept in _dicts:
        dict.clear(kept)
