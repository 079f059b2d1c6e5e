"""Random bodies that are interrupted at random, thousands a second: the proof of I4.

    python stress/stress_interrupt.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]
    python stress/stress_interrupt.py --naive      sends without the gate: the check must fail within seconds

A round makes a pool, feeds it bodies of many kinds, most of which would never end, and has all of them end by a timeout
or a cancel. The interrupt's own constructor tells where it arrives: in the thread of a worker, whose running task had
been finished from outside, while its gate was open or being closed; anything else is an escape. After each round
every handle has finished, the counts agree, `pool._check()` holds, every seat works, no thread has died, no shielded
block was cut short, no import lock is left behind, and the process has not grown.

Stresses: I4, I8, P5.
"""

import _imp
import contextlib
import faulthandler
import gc
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import median
from types import FrameType
from typing import Any

from harness import PACKAGE, check, jitter, poll, read_options, watchdog

import makeparallel as mp
from makeparallel import _errors as _errors_module
from makeparallel import _interrupt
from makeparallel._core import gate
from makeparallel._core.entries import CANCELLED, TIMED_OUT
from makeparallel._diagnosis import describe
from makeparallel._errors import TaskInterrupt

#: A method of `Program` that is a body.
Kind = Callable[[Random], object]
#: Where the gate is being closed: an interrupt that was sent before may still arrive.
CLOSING = {"close", "_let_through", "_pause", "calm", "run_body", "leave_body"}
#: How much the process may grow from the first rounds to the last ones (medians): arenas settle, free-threaded
#: 3.13 never frees a module, but thousands of tasks that are kept alive would show.
GROWTH_MIB = 32


#: For what is replaced in them.
_gate: Any = gate
#: How many modules a process may still import: each stays for good.
LOADS = [None] * 300
_errors: Any = _errors_module


class Arrivals:
    """Counts interrupts where they arrive, and notes those that came to the wrong place."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sent = [0]  # only the supervisor's thread sends
        self.arrived: Counter[int] = Counter()  # by thread: each writes its own
        self.escapes: list[str] = []

    def install(self) -> None:
        """Look at every interrupt as it arrives, and count those that are sent."""
        repair = _errors.repair_interrupted_import

        def look_and_repair(frame: FrameType) -> None:
            self.judge(frame)
            repair(frame)

        _errors.repair_interrupted_import = look_and_repair
        threading.excepthook = lambda args: self.escape(f"a thread died of {args.exc_value!r}")
        sys.unraisablehook = lambda args: None  # an interrupt in a `__del__`: swallowed, and sent again
        really_send = _gate.send_interrupt

        def count_and_send(ident: int, exception: type[BaseException]) -> None:
            self.sent[0] += 1
            really_send(ident, exception)

        _gate.send_interrupt = count_and_send

    def escape(self, what: str) -> None:
        """Note an interrupt that came to the wrong place; end the process if that was one too many."""
        self.escapes.append(what)
        if len(self.escapes) >= self.most:
            listed = "\n  ".join(self.escapes)
            print(
                f"FAILED: {self.most} escapes among {self.sent[0]} interrupts:\n  {listed}", file=sys.stderr, flush=True
            )
            os._exit(1)

    def judge(self, frame: FrameType) -> None:
        """Judge the place of an interrupt; called in the thread that it arrived in."""
        code = frame.f_code
        ident = threading.get_ident()
        self.arrived[ident] += 1
        worker = gate.WORKERS.get(ident)
        place = f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_qualname}"
        if worker is None or not worker.stack:
            self.escape(f"outside any task, in {place}")
            return
        task = worker.stack[-1]
        outcome = task._outcome()
        if outcome is None or outcome[0] not in (CANCELLED, TIMED_OUT):
            self.escape(f"in {task!r}, which nobody has ended, in {place}")
        elif task not in worker.armed and not is_closing(frame):
            self.escape(f"in a call of the library, in {place}")


def is_closing(frame: FrameType | None) -> bool:
    """True if the gate is being closed here; a weak reference's callback or a finalizer may run in the middle of it."""
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name in CLOSING


def post_naively(worker: Any, task: Any) -> bool:
    """Send without asking the gate, as recipes on the net do: look that the task is the running one, and send."""
    if worker.stack[-1:] == [task]:
        _gate.send_interrupt(worker.ident, TaskInterrupt)
    return True


class Noisy:
    """Has a finalizer in Python."""

    def __init__(self) -> None:
        self.other = [self]

    def __del__(self) -> None:
        for _ in range(20):
            pass


def numbers() -> Iterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        number = -1


class Program:
    """One round: a pool, and the bodies that were fed to it."""

    def __init__(self, seed: str, most_workers: int, folder: Path, tasks: int) -> None:
        self.seed, self.rng, self.tasks = seed, Random(seed), tasks
        workers = self.rng.randint(1, most_workers)
        self.pool = mp.Pool(workers, max_pending=8 * workers, max_abandoned=400)
        self.handles: list[mp.AsyncHandle[Any]] = []
        self.lock = threading.Lock()
        self.entered: list[None] = []  # shielded blocks: as many entries as exits
        self.left: list[None] = []
        self.modules = [path.stem for path in folder.glob("*.py")]
        self.kinds: list[tuple[Kind, float]] = [
            (self.loop, 4), (self.end_soon, 6), (self.allocate, 2), (self.clean_up, 2), (self.use_lock, 2),
            (self.finalize, 0.2), (self.generate, 2), (self.comprehend, 1), (self.load, 1.5), (self.nest, 4),
            (self.shield, 3), (self.use_library, 4), (self.wait, 2), (self.doze, 1), (self.lend, 1),
            (self.swallow, 0.02), (self.sit, 0.003),
        ]  # fmt: skip

    # --- bodies ----------------------------------------------------------------------------------

    def loop(self, rng: Random) -> None:
        """Run pure Python code for ever."""
        while True:
            pass

    def end_soon(self, rng: Random) -> int:
        """End by itself, about when the interrupt comes."""
        for number in range(rng.randint(0, 6000)):
            if number > 7000:
                break
        return 1

    def allocate(self, rng: Random) -> None:
        """Make objects, now and then with a cycle: if all had one, what waits for the collector would hide a leak."""
        kept: list[Any] = []
        while True:
            kept.append({"text": str(len(kept)), "parts": [len(kept)] * 5})
            if len(kept) > 200:
                if rng.random() < 0.01:
                    kept.append(kept)
                kept = []

    def clean_up(self, rng: Random) -> None:
        """Nest `try` statements."""
        while True:
            try:
                try:
                    int("not a number")
                except ValueError:
                    time.perf_counter()
                finally:
                    time.perf_counter()
            finally:
                ().count(1)

    def use_lock(self, rng: Random) -> None:
        """Take a lock again and again."""
        while True:
            with self.lock:
                sum(range(5))

    def finalize(self, rng: Random) -> None:
        """Drop objects with finalizers."""
        while True:
            Noisy().other.clear()
            for _ in range(100):
                pass

    def generate(self, rng: Random) -> None:
        """Pull values through generators."""
        while True:
            for number in (2 * number for number in numbers()):
                if number > 50:
                    break

    def comprehend(self, rng: Random) -> None:
        """Build lists and sets."""
        while True:
            {str(number): [divmod(number, 3) for number in range(9)] for number in range(9)}

    def load(self, rng: Random) -> None:
        """Import modules: nearly always one that is not there, since free-threaded 3.13 never frees a module."""
        while True:
            name = "missing_module"
            if LOADS and rng.random() < 0.02:
                with contextlib.suppress(IndexError):
                    LOADS.pop()
                    name = rng.choice(self.modules)
            sys.modules.pop(name, None)
            with contextlib.suppress(ImportError):
                __import__(name)

    def nest(self, rng: Random) -> None:
        """Submit children and wait for them: inline, with timeouts, cancelled."""
        while True:
            child = self.submit(rng, rng.choice([self.end_soon, self.loop, self.nest, self.use_library]))
            if rng.random() < 0.3:
                child.cancel()
            child.wait()

    def shield(self, rng: Random) -> None:
        """Do in a shield what must not be cut short."""
        while True:
            with mp.shield():
                self.entered.append(None)
                with mp.shield():
                    for _ in range(rng.randint(0, 100)):
                        pass
                if rng.random() < 0.1:
                    self.submit(rng, self.end_soon).wait(0.001)
                self.left.append(None)

    def use_library(self, rng: Random) -> None:
        """Call whatever a body may call."""
        me = mp.current_handle()
        assert me is not None
        while True:
            me.set_metadata("key", 1)
            me.get_all_metadata()
            mp.report_progress(0.5)
            mp.checkpoint()
            mp.cancel_requested()
            me.is_running()
            me.elapsed_time()
            self.pool.statistics()
            self.pool.get_active_task_count()
            child = self.submit(rng, self.end_soon)
            child.on_complete(str)
            child.on_error(repr)
            me.on_progress(str)
            child.try_get()
            mp.wait([child], 0.0001)
            for _ in mp.as_completed([child]):
                pass
            mp.gather([child], on_error="skip")
            self.pool.map(abs, [1, 2, 3])

    def wait(self, rng: Random) -> None:
        """Wait for what does not end by itself."""
        while True:
            child = self.submit(rng, self.loop)
            if rng.random() < 0.5:
                child.wait()
            else:
                mp.gather([child], on_error="skip")

    def doze(self, rng: Random) -> None:
        """Sleep, in the library or in C code."""
        while True:
            mp.sleep(rng.random() * 0.01)
            time.sleep(rng.random() * 0.0005)

    def lend(self, rng: Random) -> None:
        """Block, as the pool is told."""
        while True:
            with mp.blocking():
                time.sleep(rng.random() * 0.0005)

    def swallow(self, rng: Random) -> None:
        """Ignore an interrupt or two."""
        for _ in range(rng.randint(1, 2)):
            try:
                while True:
                    pass
            except BaseException:
                pass

    def sit(self, rng: Random) -> None:
        """Stay in C code until the thread is abandoned."""
        time.sleep(0.3)

    # --- the round -------------------------------------------------------------------------------

    def submit(self, rng: Random, kind: Kind) -> "mp.AsyncHandle[Any]":
        """Submit a body that will be ended, and note its handle, whatever interrupts the caller."""
        with mp.shield():
            limit = rng.choice([0.0, 0.00005, 0.0001, 0.0002, 0.0004, 0.001])
            if kind == self.end_soon and rng.random() < 0.5:
                limit = 5.0
            handle = self.pool.parallel(kind, timeout=limit)(Random(rng.random()))  # type: ignore[call-overload]
            self.handles.append(handle)
            return handle  # type: ignore[no-any-return]

    def run(self) -> None:
        """Feed the pool, cancelling some of what runs; then check everything."""
        rng = self.rng
        kinds, weights = zip(*self.kinds, strict=True)
        for kind in rng.choices(kinds, weights, k=self.tasks):
            self.submit(rng, kind)
            if rng.random() < 0.3:
                rng.choice(self.handles[-30:]).cancel()
        while unfinished := [handle for handle in self.handles if not handle.is_ready()]:
            rng.choice(unfinished).wait(0.01)
        poll("at rest", self.check_home, 30)
        self.meet()
        if rng.random() < 0.5:
            check(self.pool.shutdown(30), "the pool does not shut down")
        else:
            self.shut_down_under_load(rng)
        poll("at rest, after the shutdown", self.pool._check, 30)
        self.compare()

    def check_home(self) -> None:
        """Assert that no body is left, and no thread abandoned."""
        self.pool._check()
        check(self.pool.statistics().abandoned_workers == 0, "threads are abandoned")

    def shut_down_under_load(self, rng: Random) -> None:
        """Shut down while bodies run that would never end."""
        for _ in range(self.pool.statistics().workers):
            self.handles.append(self.pool.submit(self.loop, rng))
        self.pool.shutdown(rng.random() * 0.005)
        poll("ended", lambda: check(self.pool.shutdown(30), "the pool does not end"), 30)

    def meet(self) -> None:
        """Have a task on every seat at once: none is lost."""
        count = self.pool.statistics().workers
        barrier = threading.Barrier(count, timeout=30)
        meeting = [self.pool.submit(barrier.wait) for _ in range(count)]
        mp.gather(meeting, timeout=30)
        self.handles += meeting

    def compare(self) -> None:
        """Assert that counts and handles agree, and that nothing is left behind."""
        facts = self.pool.statistics()
        ended = facts.succeeded + facts.failed + facts.cancelled + facts.timed_out
        check(facts.submitted == ended, f"conservation: {facts}")
        check(all(handle.is_ready() for handle in self.handles), "a handle is unfinished")
        check(len(self.entered) == len(self.left), "a shielded block was cut short")
        check(not self.lock.locked(), "a lock taken by `with` is left locked")
        check(not _imp.lock_held(), "the import lock is held")
        bootstrap: Any = sys.modules["_frozen_importlib"]
        for reference in [*bootstrap._module_locks.values()]:
            lock = reference()
            check(lock is None or lock.owner is None, f"the import lock of {lock} is held")

    def describe(self) -> str:
        """The round's seed, and the state of its pool."""
        return f"round {self.seed}\n{describe(self.pool._scheduler)}"


def prefer_supervisor() -> None:
    """Let the supervisor run before all others, where that is allowed: more interrupts in the same time."""
    for thread in threading.enumerate():
        if thread.name == "makeparallel-supervisor" and thread.native_id is not None:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(thread.native_id, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def rss_mib() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.Process().memory_info().rss) / 2**20


def fail(message: str, program: Program) -> None:
    print(f"FAILED: {message}\n{program.describe()}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)  # not by the exit handler, which could hang now


def run_rounds(options: Any, arrivals: Arrivals, folder: Path) -> str:
    """Run round after round; what was found, in one line."""
    start, rounds, tasks = time.monotonic(), 0, 0
    sizes: list[float] = []
    while time.monotonic() - start < options.seconds and (options.rounds is None or rounds < options.rounds):
        program = Program(f"{options.seed}/{rounds}", options.workers, folder, 2000)
        try:
            with watchdog(options.hang, lambda: f"{program.describe()}\nescapes: {arrivals.escapes[:5]}"):  # noqa: B023
                program.run()
        except AssertionError as error:
            fail(f"{error}; escapes: {arrivals.escapes[:5]}", program)
        if arrivals.escapes:
            fail(f"escapes: {arrivals.escapes}", program)
        if rounds % 200 == 199:
            arrived = sum(arrivals.arrived.values())
            print(f"{rounds + 1} rounds, {arrived} interrupts arrived, {rss_mib():.0f} MiB", flush=True)
        if rounds == 0:
            prefer_supervisor()
        rounds += 1
        tasks += len(program.handles)
        del program
        if rounds % 5 == 0:
            gc.collect()
            sizes.append(rss_mib())
    growth = median(sizes[-5:]) - median(sizes[2:7]) if len(sizes) > 12 else 0.0
    check(growth < GROWTH_MIB, f"the process has grown by {growth:.0f} MiB")
    seconds = time.monotonic() - start
    return (
        f"ok: {rounds} rounds, {tasks} tasks, {arrivals.sent[0]} interrupts sent, {sum(arrivals.arrived.values())} "
        f"arrived, 0 escaped, in {seconds:.1f} s; grown by {growth:.1f} MiB; seed {options.seed}"
    )


def main() -> int:
    options = read_options(__doc__, naive="send without the gate, to show that the check can fail")
    logging.getLogger("makeparallel").setLevel(logging.CRITICAL)  # errors nobody looked at are part of the program
    arrivals = Arrivals(most=5)
    arrivals.install()
    if options.naive:
        _interrupt.post = post_naively  # type: ignore[attr-defined]
    jitter(options.jitter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(6):
            (folder / f"stress_module_{number}.py").write_text("import json, string\n")
        sys.path.insert(0, name)
        sys.dont_write_bytecode = True
        print(run_rounds(options, arrivals, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
