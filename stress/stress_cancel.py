"""Cancels and timeouts against everything they can race with: claims, ends, waits, shields, C code, maps.

    python stress/stress_cancel.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round submits bodies of many kinds, and cancels them at random moments, often twice at once. Exactly one of the
cancels that end a task returns True; a timeout is never early; what must not be interrupted runs to its end; bodies
that sit in C code are abandoned, come back, and are counted once; maps that fail, or run out of time, name their item.

Stresses: I1, I2, I3, I8, P1, P5.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from harness import Handle, Program, check, main, poll

import makeparallel as mp
from makeparallel._core.entries import CANCELLED, TIMED_OUT

NEEDS = (
    "cancelled pending", "cancelled running", "cancelled too late", "timed out", "in a shield", "not interrupted",
    "left by checkpoint", "left by sleep", "interrupted waits", "abandoned", "maps failed", "maps timed out",
    "maps cancelled", "meetings",
)  # fmt: skip


#: A method of `Cancel` that is a body.
Kind = Callable[[Random], object]


class Cancel(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        room = self.rng.choice([None, None, 3])
        workers = self.rng.randint(1, most_workers)
        self.pool = self.make_pool(workers, max_pending=room, hard_grace_secs=0.03, max_abandoned=10_000)
        self.ended: list[Handle] = []  # an entry for each cancel that returned True
        self.entered: list[None] = []  # what must not be cut short: as many entries as exits
        self.left: list[None] = []
        self.kinds: list[tuple[Kind, float]] = [
            (self.end_soon, 6), (self.loop, 5), (self.shield, 4), (self.sleep, 3), (self.sit, 0.2), (self.wait, 4),
            (self.map_badly, 3), (self.stay, 4), (self.ask, 3),
        ]  # fmt: skip

    # --- bodies ----------------------------------------------------------------------------------

    def end_soon(self, rng: Random) -> None:
        for number in range(rng.randint(0, 3000)):
            if number > 4000:
                break

    def loop(self, rng: Random) -> None:
        while True:
            pass

    def shield(self, rng: Random) -> None:
        for _ in range(1000):
            with mp.shield():
                self.entered.append(None)
                for _ in range(rng.randint(0, 100)):
                    mp.checkpoint()
                if mp.cancel_requested():
                    self.notes.append("in a shield")
                self.left.append(None)

    def stay(self, rng: Random) -> None:
        """Must not be interrupted (`interrupt=False`), and is not, however often it is told."""
        self.entered.append(None)
        for _ in range(rng.randint(0, 400)):
            for _ in range(500):
                pass
            if mp.cancel_requested():
                self.notes.append("not interrupted")
                break
        self.left.append(None)

    def ask(self, rng: Random) -> None:
        """Must not be interrupted either, but asks."""
        naps = rng.random() < 0.5
        try:
            while True:
                if naps:
                    mp.sleep(rng.random() * 0.002)
                else:
                    mp.checkpoint()
        finally:
            self.notes.append("left by sleep" if naps else "left by checkpoint")

    def sleep(self, rng: Random) -> None:
        mp.sleep(10)

    def sit(self, rng: Random) -> None:
        """Stay in C code until the thread is abandoned."""
        time.sleep(0.12)

    def wait(self, rng: Random) -> None:
        """Wait for children, of which some never end by themselves."""
        children = [self.submit_one(rng, rng.choice([self.end_soon, self.loop])) for _ in range(rng.randint(1, 3))]
        try:
            if rng.random() < 0.3:
                children[0].wait()
            elif rng.random() < 0.4:
                mp.gather(children)
            elif rng.random() < 0.5:
                list(mp.as_completed(children))
            else:
                mp.wait(children, rng.choice([None, 0.001]))
        finally:
            with mp.shield():
                if mp.cancel_requested():
                    self.notes.append("interrupted waits")
                for child in children:
                    self.cancel(child)

    def map_badly(self, rng: Random) -> None:
        """Have a map fail, or run out of time; or be cancelled in the middle of it."""
        count, bad = rng.randint(1, 30), rng.randint(0, 40)

        def item(number: int) -> int:
            if number >= bad:
                raise LookupError(number)
            for _ in range(rng.randint(0, 2000)):
                pass
            return number

        self.tries.append(count)
        seconds = rng.choice([None, 0.0005, 0.0005, 30])
        try:
            found = self.pool.map(item, range(count), chunksize=rng.choice([None, 1, 4]), timeout=seconds)
            check(found == list(range(count)) and bad >= count, f"a map returned {found}, and item {bad} fails")
        except mp.TaskTimeoutError:
            raise
        except TimeoutError:
            check(seconds == 0.0005, f"a map timed out after {seconds} s")
            self.notes.append("maps timed out")
        except mp.TaskError as error:
            check(error.metadata["index"] == bad or error.__cause__ is None, f"item {bad} fails, not {error}")
            self.notes.append("maps failed")
        except mp.PoolFullError:
            pass
        except BaseException:
            self.notes.append("maps cancelled")
            raise

    # --- from outside ----------------------------------------------------------------------------

    def submit_one(self, rng: Random, kind: Kind | None = None) -> Handle:
        """Submit a body; one that would never end has a time limit."""
        if kind is None:
            (kind,) = rng.choices([kind for kind, _ in self.kinds], [weight for _, weight in self.kinds])
        limits = [0.0, 0.0001, 0.0005, 0.002, 0.005]
        if kind not in (self.loop, self.sleep, self.ask):
            limits += [None, None, 30.0]  # type: ignore[list-item]
        asks = kind in (self.ask, self.stay)
        handle = self.submit(self.pool, rng, kind, Random(rng.random()), timeout=rng.choice(limits), interrupt=not asks)
        handle.set_metadata("waits", kind == self.wait)
        return handle

    def cancel(self, handle: Handle) -> None:
        begun = handle.is_running()
        if handle.cancel():
            self.ended.append(handle)
            self.notes.append("cancelled running" if begun else "cancelled pending")
        else:
            self.notes.append("cancelled too late")

    def operate(self, rng: Random) -> None:
        """Submit some, and cancel most, after a moment or none."""
        if rng.random() < 0.2:
            self.map_badly(rng)
        handles = [self.submit_one(rng) for _ in range(rng.randint(1, 6))]
        self.count_abandoned()
        for handle in handles:
            if rng.random() < 0.3:  # until it has begun, so that the cancel meets its body
                until = time.monotonic() + 0.005
                while not handle.is_running() and not handle.is_ready() and time.monotonic() < until:
                    pass
            for _ in range(rng.choice([0, 100, 1000, 5000])):
                pass
            if rng.random() < 0.3:
                second = threading.Thread(target=self.cancel, args=(handle,), daemon=True)
                second.start()
                self.cancel(handle)
                second.join()
            elif rng.random() < 0.8:
                self.cancel(handle)

    def run(self) -> None:
        """Submit and cancel from several threads, then end what is left."""
        threads = [self.start(self.operate, self.rng.choice([5, 20])) for _ in range(self.rng.randint(1, 3))]
        for thread in threads:
            thread.join()
        while unfinished := [handle for handle in list(self.handles) if not handle.is_ready()]:
            for handle in unfinished:
                self.cancel(handle)
        poll("at home", self.check_home)
        poll("at rest", self.pool._check)
        self.meet(self.pool)
        check(self.pool.shutdown(), "the pool does not shut down")
        check(len(self.entered) == len(self.left), "what must not be interrupted was")
        check(max(Counter(self.ended).values(), default=1) == 1, "two cancels have ended the same task")
        for handle in self.ended:
            check(handle.is_cancelled(), f"{handle!r}: a cancel has ended it, and it is not cancelled")
        for handle in list(self.handles):
            self.look_at(handle)

    def count_abandoned(self) -> int:
        count = self.pool.statistics().abandoned_workers
        if count:
            self.notes.append("abandoned")
        return count

    def check_home(self) -> None:
        """Assert that every body has left, and every abandoned thread has come back."""
        running = [handle for handle in list(self.handles) if handle.is_running()]
        check(self.count_abandoned() == 0 and not running, f"these bodies run: {running}")

    def look_at(self, handle: Handle) -> None:
        """A timeout is never early, and only for who has one; who was never cancelled is not cancelled."""
        outcome, limit = handle._outcome(), handle.get_timeout()
        if outcome is not None and outcome[0] == TIMED_OUT:
            self.notes.append("timed out")
            check(limit is not None and handle.elapsed_time() >= limit - 1e-6, f"{handle!r}, with timeout={limit}")
        elif outcome is not None and outcome[0] == CANCELLED:
            # Who waits inline for a body that is abandoned is finished as cancelled.
            check(handle in self.ended or handle.get_metadata("waits"), f"{handle!r}, and nobody has cancelled it")


if __name__ == "__main__":
    sys.exit(main(Cancel, __doc__, NEEDS))
