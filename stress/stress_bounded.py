"""Bounded pools: submits that wait for room or are refused, with cancels, resizes and shutdown in between.

    python stress/stress_bounded.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round has one bounded pool and an unbounded one, whose tasks submit to it too, and are cancelled while they wait for
room. Tasks of the bounded pool submit without limit. After it the bounded pool takes, with all its seats taken, exactly
as many tasks as it may hold: no permit was lost or doubled. Some rounds shut down while threads wait for room.

Stresses: I1, I2, I3, P2, P6.
"""

import sys
import threading
import time
from random import Random

from harness import Handle, Program, check, main, poll

import makeparallel as mp

NEEDS = (
    "waited for room", "full", "exempt", "interrupted while they waited", "maps out of time", "grown or shrunk",
    "shut down under load", "refused", "filled to the brim", "meetings",
)  # fmt: skip


class Bounded(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        self.limit = self.rng.choice([1, 2, 3, 8])
        self.waits = self.rng.random() < 0.7
        workers = self.rng.randint(1, most_workers)
        self.pool = self.make_pool(workers, max_pending=self.limit, when_full="wait" if self.waits else "raise")
        self.other = self.make_pool(self.rng.randint(1, most_workers))

    # --- bodies ----------------------------------------------------------------------------------

    def work(self, rng: Random, depth: int) -> None:
        kind = rng.random()
        if kind < 0.3:
            time.sleep(rng.random() * 0.002)
        elif kind < 0.35:
            with mp.blocking():
                time.sleep(rng.random() * 0.001)
        if depth:  # more at once than may be pending: tasks of the pool are exempt
            children = [self.submit(self.pool, rng, self.work, rng, depth - 1) for _ in range(self.limit + 3)]
            self.notes.append("exempt")
            if rng.random() < 0.7:
                mp.gather(children, on_error="skip")

    def submit_from_another(self, rng: Random) -> None:
        """Submit to the bounded pool from a task that it does not know, and that may be interrupted meanwhile."""
        for _ in range(rng.randint(1, 5)):
            start = time.monotonic()
            try:
                self.submit_openly(self.pool, rng, self.work, Random(rng.random()), 0)
            except (mp.PoolFullError, mp.PoolShutdownError):
                return
            except BaseException:
                if time.monotonic() - start > 0.0005:
                    self.notes.append("interrupted while they waited")
                raise

    # --- from outside ----------------------------------------------------------------------------

    def operate(self, rng: Random) -> None:
        kind = rng.random()
        if kind < 0.55:
            start = time.monotonic()
            handles = [
                self.submit(self.pool, rng, self.work, Random(rng.random()), rng.choice([0, 0, 0, 1]), timeout=limit)
                for limit in rng.choices([None, None, None, 0.0, 0.0005], k=rng.randint(1, 6))
            ]
            if time.monotonic() - start > 0.002:
                self.notes.append("waited for room")
            if rng.random() < 0.5:
                rng.choice(handles).cancel()
        elif kind < 0.8:
            limit = rng.choice([0.0005, 0.002, 0.01])
            self.submit(self.other, rng, self.submit_from_another, Random(rng.random()), timeout=limit)
        elif kind < 0.9:
            self.run_map(rng)
        else:
            self.pool.resize(rng.randint(1, self.most_workers))
            self.notes.append("grown or shrunk")

    def run_map(self, rng: Random) -> None:
        """Have the room, or the time, run out in the middle of a map."""
        count, seconds = rng.randint(1, 30), rng.choice([0.0005, 0.003, 30])
        self.tries.append(count)
        try:
            found = self.pool.map(be_item, range(count), chunksize=1, timeout=seconds)
        except TimeoutError:
            check(seconds < 30, "a map has timed out too early")
            self.notes.append("maps out of time")
        else:
            check(found == list(range(count)), f"a map has returned {found}")

    def run(self) -> None:
        """Submit from several threads; shut down while they do, or fill the pool to the brim when they have."""
        early = self.rng.random() < 0.4
        threads = [self.start(self.operate, self.rng.choice([10, 30])) for _ in range(self.rng.randint(1, 5))]
        if early:
            time.sleep(self.rng.random() * 0.02)
            self.pool.shutdown(self.rng.choice([None, 0.0, 0.005]), cancel_pending=self.rng.random() < 0.5)
            self.notes.append("shut down under load")
        for thread in threads:
            thread.join()
        for handle in list(self.handles):
            check(handle.wait(30), f"{handle!r} does not finish")
        if not early:
            poll("at rest", self.pool._check)
            self.meet(self.pool)
            self.fill()
        self.other.shutdown()
        self.pool.shutdown()

    def fill(self) -> None:
        """Take all seats, then all room; the next submit must be refused, or wait until a seat is free."""
        count = self.pool.statistics().workers
        taken, free = threading.Barrier(count + 1, timeout=30), threading.Event()  # nobody interrupts these tasks

        def hold() -> None:
            taken.wait()
            free.wait()

        holding: list[Handle] = []
        while len(holding) < count:
            self.attempt(lambda: holding.append(self.submit(self.pool, self.rng, hold)))
        taken.wait()
        for _ in range(self.limit):
            self.submit(self.pool, self.rng, int)  # there is room, or this waits for ever
        late = threading.Thread(target=self.attempt, args=(self.submit, self.pool, self.rng, int), daemon=True)
        refused = self.notes.count("full")
        late.start()
        late.join(0.005 if self.waits else None)
        check(late.is_alive() == self.waits, f"the pool takes more than {self.limit} tasks")
        check(self.waits or self.notes.count("full") == refused + 1, "a full pool has not refused")
        free.set()
        late.join()
        self.notes.append("filled to the brim")


def be_item(number: int) -> int:
    time.sleep(0.0002)
    return number


if __name__ == "__main__":
    sys.exit(main(Bounded, __doc__, NEEDS))
