"""The peers, each asked for the same three things: many tasks, one task after the other, a map.

Each is used as its own documentation does, with its own defaults; where that is not the plain way, it is said here.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.pool import ThreadPool
from typing import Any

import makeparallel as mp
from measure import Bench

US = "makeParallel"
STDLIB = "ThreadPoolExecutor"
Function = Callable[..., object]


class Backend:
    """A pool that is open."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        """Submit `function(*args)` so many times, then get all results."""
        raise NotImplementedError

    def one_by_one(self, function: Function, count: int) -> None:
        """Submit and get, one at a time."""
        raise NotImplementedError

    def map(self, function: Function, items: Iterable[object]) -> None:
        """Apply the function to all items, and go through the results."""
        raise NotImplementedError


class Loop(Backend):
    """No pool at all; its map is `for x in items: out.append(f(x))`."""

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        for _ in range(count):
            function(*args)

    def map(self, function: Function, items: Iterable[object]) -> None:
        out = []
        for x in items:
            out.append(function(x))


class Ours(Backend):
    def submit_all(self, function: Function, count: int, *args: object) -> None:
        call = self.pool.parallel(function)
        for handle in [call(*args) for _ in range(count)]:
            handle.get()

    def one_by_one(self, function: Function, count: int) -> None:
        call = self.pool.parallel(function)
        for _ in range(count):
            call().get()

    def map(self, function: Function, items: Iterable[object]) -> None:
        self.pool.map(function, items)


class Futures(Backend):
    """Anything with the interface of `concurrent.futures`."""

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        submit = self.pool.submit
        for future in [submit(function, *args) for _ in range(count)]:
            future.result()

    def one_by_one(self, function: Function, count: int) -> None:
        submit = self.pool.submit
        for _ in range(count):
            submit(function).result()

    def map(self, function: Function, items: Iterable[object]) -> None:
        for _ in self.pool.map(function, items):
            pass


class Applied(Backend):
    """`multiprocessing.pool.ThreadPool`, and mpire, which imitates it."""

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        apply = self.pool.apply_async
        for result in [apply(function, args) for _ in range(count)]:
            result.get()

    def one_by_one(self, function: Function, count: int) -> None:
        apply = self.pool.apply_async
        for _ in range(count):
            apply(function).get()

    def map(self, function: Function, items: Iterable[object]) -> None:
        self.pool.map(function, items)


class Pebble(Backend):
    """Its map is given chunks of 100 items: the default is 1, and slower."""

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        schedule = self.pool.schedule
        for future in [schedule(function, args=args) for _ in range(count)]:
            future.result()

    def one_by_one(self, function: Function, count: int) -> None:
        schedule = self.pool.schedule
        for _ in range(count):
            schedule(function).result()

    def map(self, function: Function, items: Iterable[object]) -> None:
        for _ in self.pool.map(function, items, chunksize=100).result():
            pass


class Joblib(Backend):
    def submit_all(self, function: Function, count: int, *args: object) -> None:
        delayed = import_module("joblib").delayed(function)
        self.pool(delayed(*args) for _ in range(count))

    def map(self, function: Function, items: Iterable[object]) -> None:
        delayed = import_module("joblib").delayed(function)
        self.pool(delayed(x) for x in items)


class Dask(Backend):
    """Its pool is its own; what is kept here is the number of workers."""

    def submit_all(self, function: Function, count: int, *args: object) -> None:
        self.compute([self.delayed(function)(*args) for _ in range(count)])

    def map(self, function: Function, items: Iterable[object]) -> None:
        delayed = self.delayed(function)
        self.compute([delayed(x) for x in items])

    def delayed(self, function: Function) -> Any:
        return import_module("dask").delayed(function, pure=False)

    def compute(self, values: list[Any]) -> None:
        import_module("dask").compute(*values, scheduler="threads", num_workers=self.pool)


# --- opening them -----------------------------------------------------------------------------------


@contextmanager
def open_loop(workers: int) -> Iterator[Backend]:
    yield Loop(workers)


@contextmanager
def open_ours(workers: int) -> Iterator[Backend]:
    with mp.Pool(workers) as pool:
        yield Ours(pool)


def opener(make: Callable[[int], Any], kind: type[Backend]) -> Callable[[int], AbstractContextManager[Backend]]:
    """For pools that are context managers: how to open one."""

    @contextmanager
    def open_pool(workers: int) -> Iterator[Backend]:
        with make(workers) as pool:
            yield kind(pool)

    return open_pool


def make_mpire(workers: int) -> Any:
    return import_module("mpire").WorkerPool(workers, start_method="threading", keep_alive=True)


def make_joblib(workers: int) -> Any:
    return import_module("joblib").Parallel(n_jobs=workers, backend="threading")


def make_pebble(workers: int) -> Any:
    return import_module("pebble").ThreadPool(max_workers=workers)


def make_processes(workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("forkserver"))


def make_loky(workers: int) -> Any:
    return import_module("loky").ProcessPoolExecutor(workers)


@contextmanager
def open_dask(workers: int) -> Iterator[Backend]:
    yield Dask(workers)


@dataclass(frozen=True)
class Peer:
    name: str
    open: Callable[[int], AbstractContextManager[Backend]]
    module: str = ""  # what must be installed
    share: float = 1.0  # of the tasks that it is given: slow ones get fewer, and figures are per task
    single: bool = True  # takes one task at a time
    map_share: float = 0.02


LOOP = Peer("plain loop", open_loop, single=False, map_share=1.0)
OURS = Peer(US, open_ours, map_share=1.0)
EXECUTOR = Peer(STDLIB, opener(ThreadPoolExecutor, Futures))
THREAD_POOL = Peer("multiprocessing.pool.ThreadPool", opener(ThreadPool, Applied), map_share=1.0)
PEBBLE = Peer("pebble", opener(make_pebble, Pebble), "pebble", 0.5, map_share=0.05)
THREADS = [
    EXECUTOR,
    THREAD_POOL,
    PEBBLE,
    Peer("joblib threading", opener(make_joblib, Joblib), "joblib", 0.25, single=False),
    Peer("mpire threading", opener(make_mpire, Applied), "mpire", 0.1),
    Peer("dask threads", open_dask, "dask", 0.05, single=False, map_share=0.001),
]
PROCESSES = [
    Peer("ProcessPoolExecutor", opener(make_processes, Futures)),
    Peer("loky", opener(make_loky, Futures), "loky"),
]


def present(bench: Bench, peers: list[Peer]) -> list[Peer]:
    """Those that can take part; why the others can't is noted."""
    found = []
    for peer in peers:
        if why := objection(peer.module):
            bench.left_out[peer.name] = why
        else:
            found.append(peer)
    return found


@cache
def objection(module: str) -> str:
    """Why a package can't be measured; nothing if it can. Asked in another process: the GIL stays on, once it is."""
    if not module:
        return ""
    code = f"import sys, {module}; print(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return "not installed" if "ModuleNotFoundError" in done.stderr else f"its import failed: {done.stderr[-200:]}"
    return "importing it switches the GIL on" if done.stdout.strip() == "True" and not gil_enabled() else ""


def gil_enabled() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def cpus() -> int:
    """The CPUs that this process may use."""
    return os.process_cpu_count() or 1


def versions() -> dict[str, str]:
    """The packages that took part."""
    found = {}
    for name in ("joblib", "pebble", "mpire", "dask", "loky"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found
