"""Callbacks and finalizers that raise, submit, cancel and wait, wherever they happen to run.

    python stress/stress_callbacks.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round hangs callbacks onto tasks before, while and after they end: exactly one of a pair of `on_complete` and
`on_error` fires, once, with what `get` gives; a progress callback gets an unbroken end of what was reported, each
fraction once. Beside them objects with finalizers are dropped, at once or for the collector, which in some rounds runs
at nearly every allocation. Every error of a callback, and every failure that nobody looked at, is logged once.

Stresses: I1, I2, I6, I9, P7.
"""

import gc
import logging
import sys
import traceback
from random import Random
from typing import Any

from harness import Handle, Program, check, main, poll

import makeparallel as mp
from makeparallel._errors import TaskInterrupt

NEEDS = (
    "on_complete", "on_error", "early", "late", "in its own body", "raised", "submitted", "cancelled", "waited",
    "registered another", "on_progress", "finalizers", "finalizers raised", "failures dropped",
    "collections", "eager rounds",
)  # fmt: skip
UNSEEN, RAISED = "nobody looked at its error", "callback of task"


class Log(logging.Handler):
    """Counts what the library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.unseen: list[None] = []
        self.raised: list[None] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        if UNSEEN in text:
            self.unseen.append(None)
        if RAISED in text:
            self.raised.append(None)


LOG = Log()


class Watched:
    """A task's callbacks: what they were told."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[Any] = []
        self.reported: list[float] = []
        self.progress: list[list[float]] = []
        self.pairs: list[None] = []


class Finalized:
    """Does something in its finalizer (I9)."""

    program: "Callbacks | None" = None  # until it is made: its body may be interrupted in between

    def __init__(self, program: "Callbacks", rng: Random) -> None:
        self.rng = rng
        if rng.random() < 0.5:
            self.cycle = self  # for the collector
        self.program = program

    def __del__(self) -> None:
        if self.program is not None:
            self.program.notes.append("finalizers")
            self.program.finalize(self.rng)


class Callbacks(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        self.pool = self.make_pool(self.rng.randint(1, most_workers))
        self.watched: dict[Handle, Watched] = {}
        self.unseen: list[None] = []  # bodies that failed, and whose handles nobody has
        self.raised: list[None] = []  # callbacks that raised
        del LOG.unseen[:], LOG.raised[:], LOST[:]

    # --- bodies ----------------------------------------------------------------------------------

    def work(self, watched: Watched, rng: Random) -> None:
        if rng.random() < 0.2:
            self.watch(self.current(), watched, rng)
            self.notes.append("in its own body")
        for step in range(rng.choice([0, 0, 3, 10])):
            watched.reported.append(step / 20)
            mp.report_progress(step / 20)
        if rng.random() < 0.2:
            Finalized(self, Random(rng.random()))
        if rng.random() < 0.2:
            mp.sleep(rng.random() * 0.001)
        if rng.random() < 0.25:
            raise ValueError("part of the program")

    def current(self) -> Handle:
        handle = mp.current_handle()
        assert handle is not None
        return handle

    def fail_unseen(self) -> None:
        self.unseen.append(None)
        raise LookupError("nobody will look at this")

    # --- callbacks -------------------------------------------------------------------------------

    def watch(self, handle: Handle, watched: Watched, rng: Random) -> None:
        """Register callbacks of all kinds."""
        progress: list[float] = []

        def on_progress(fraction: float) -> None:
            progress.append(fraction)
            self.notes.append("on_progress")

        def on_complete(value: object) -> None:
            watched.results.append(value)
            self.notes.append("on_complete")
            self.react(handle, watched, Random(seed))

        def on_error(error: mp.TaskError) -> None:
            watched.errors.append(error)
            self.notes.append("on_error")
            self.react(handle, watched, Random(seed))

        seed = rng.random()
        with mp.shield():
            watched.pairs.append(None)
            if rng.random() < 0.5:
                watched.progress.append(progress)
                handle.on_progress(on_progress)
            handle.on_complete(on_complete)
            handle.on_error(on_error)

    def react(self, handle: Handle, watched: Watched, rng: Random) -> None:
        """What a callback does."""
        check(handle.is_ready(), "a callback fires before its task has finished")
        kind = rng.random()
        others = list(self.handles) or [handle]
        try:
            if kind < 0.1:
                self.submit_one(rng)
                self.notes.append("submitted")
            elif kind < 0.2:
                rng.choice(others).cancel()
                self.notes.append("cancelled")
            elif kind < 0.3:
                check(handle.wait(0), "a callback fires before its task has finished")
                rng.choice(others).wait(rng.choice([None, 0.0, 0.002]))
                self.notes.append("waited")
            elif kind < 0.4:
                self.watch(handle, watched, Random(rng.random()))
                self.notes.append("registered another")
        except mp.PoolShutdownError:
            self.notes.append("refused")
        except RuntimeError as error:
            check("deadlock" in str(error), repr(error))
            self.notes.append("refused as a cycle")
        if kind > 0.8:
            self.notes.append("raised")
            self.raised.append(None)
            raise rng.choice([KeyError, SystemExit, GeneratorExit])("part of the program")

    def finalize(self, rng: Random) -> None:
        """What a finalizer does, in any thread, at nearly any place."""
        kind = rng.random()
        try:
            if kind < 0.3:
                self.submit_one(rng)
            elif kind < 0.4 and self.handles:
                rng.choice(list(self.handles)).cancel()
            elif kind < 0.6:
                self.drop_failure()
            elif kind < 0.7:
                Finalized(self, Random(rng.random()))
        except mp.PoolShutdownError:
            self.notes.append("refused")
        if kind > 0.9:
            self.notes.append("finalizers raised")
            raise OSError("part of the program")

    def drop_failure(self) -> None:
        """Submit what will fail, and drop its handle."""
        self.tries.append(1)
        self.pool.submit(self.fail_unseen)
        self.notes.append("failures dropped")

    # --- from outside ----------------------------------------------------------------------------

    def submit_one(self, rng: Random) -> Handle:
        watched = Watched()
        with mp.shield():
            limit = rng.choice([None, None, None, 0.0, 0.0005])
            handle = self.submit(self.pool, rng, self.work, watched, Random(rng.random()), timeout=limit)
            self.watched[handle] = watched
            if rng.random() < 0.7:
                self.watch(handle, watched, rng)
                self.notes.append("early")
        return handle

    def operate(self, rng: Random) -> None:
        """Submit some tasks, watch them early and late, drop things."""
        handles = [self.submit_one(rng) for _ in range(rng.randint(1, 5))]
        if rng.random() < 0.3:
            self.drop_failure()
        for handle in handles:
            Finalized(self, Random(rng.random()))
            if rng.random() < 0.2:
                handle.cancel()
            if rng.random() < 0.5:
                handle.wait(rng.choice([None, 0.001]))
            if rng.random() < 0.5:
                self.notes.append("late" if handle.is_ready() else "early")
                self.watch(handle, self.watched[handle], rng)
        if rng.random() < 0.1:
            gc.collect()

    def run(self) -> None:
        """Do all that, with the collector eager in some rounds."""
        eager = self.rng.random() < 0.3
        thresholds = gc.get_threshold()
        if eager:
            gc.set_threshold(1, 0)
            self.notes.append("eager rounds")
        collections = len(COLLECTIONS)
        try:
            times = self.rng.choice([3, 10]) if eager else self.rng.choice([10, 40])
            for thread in [self.start(self.operate, times) for _ in range(self.rng.randint(1, 3))]:
                thread.join()
        finally:
            gc.set_threshold(*thresholds)
        gc.collect()
        while unfinished := [handle for handle in list(self.handles) if not handle.is_ready()]:
            unfinished[0].wait()
        poll("at rest", self.pool._check)
        self.meet(self.pool)
        gc.collect()
        self.notes += ["collections"] * (len(COLLECTIONS) - collections)
        check(self.pool.shutdown(), "the pool does not shut down")
        poll("callbacks", self.compare_callbacks)

    def compare_callbacks(self) -> None:
        """Assert that every callback fired as it should, and every error was logged once."""
        gc.collect()  # the last failures without a handle
        for handle, watched in list(self.watched.items()):
            error = handle.exception(0)
            told = f"{handle!r}: {len(watched.pairs)} pairs of callbacks, {watched.results}, {watched.errors}"
            fired, others = (watched.results, watched.errors)[:: 1 if error is None else -1]
            check(len(fired) == len(watched.pairs) and not others, told)
            check(all(type(other) is type(error) for other in watched.errors), told)
            check(all(value == self.handles[handle] for value in watched.results), told)
            for progress in watched.progress:
                self.compare_progress(handle, sorted(progress), watched.reported)
        check(not UNRAISABLE, "\n".join(UNRAISABLE))
        check(len(LOG.raised) == len(self.raised), f"{len(self.raised)} callbacks raised, {len(LOG.raised)} logged")
        logged, lost = len(LOG.unseen), len(self.unseen) - len(LOG.unseen)
        check(0 <= lost <= len(LOST), f"{len(self.unseen)} failures dropped, {logged} logged, {len(LOST)} interrupted")

    def compare_progress(self, handle: Handle, told: list[float], reported: list[float]) -> None:
        start = reported.index(told[0]) if told else 0
        cut_short = isinstance(handle.exception(0), (mp.TaskCancelledError, mp.TaskTimeoutError))
        expected = reported[start : start + len(told)] if cut_short else reported[start:]
        check(told == expected, f"{handle!r} has reported {reported}, and a callback was told {told}")


def note_unraisable(args: Any) -> None:
    """Let pass what our own finalizers raise, and an interrupt of the body in which a finalizer runs."""
    if isinstance(args.exc_value, TaskInterrupt):
        if "Failure" in repr(args.object):
            LOST.append(None)
    elif not isinstance(args.exc_value, OSError):
        UNRAISABLE.append("".join(traceback.format_exception(args.exc_value)))


#: Reports of failures that an interrupt may have taken along: their finalizer ran in a body that was interrupted.
LOST: list[None] = []
COLLECTIONS: list[None] = []
UNRAISABLE: list[str] = []

if __name__ == "__main__":
    logger = logging.getLogger("makeparallel")
    logger.addHandler(LOG)
    logger.propagate = False
    sys.unraisablehook = note_unraisable
    gc.callbacks.append(lambda phase, info: COLLECTIONS.append(None) if phase == "start" else None)
    sys.exit(main(Callbacks, __doc__, NEEDS, quiet=False))
