"""Pools that come and go: made, resized, used, shut down and dropped, while other threads submit to them.

    python stress/stress_churn.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round has a few places for pools, and threads that put pools there, use what they find, and take it away again. A
pool that is replaced is shut down by whoever takes it out, or just dropped with all its tasks. The default pool is
resized, shut down and started again among them. After a round every task of every pool has finished, and no thread
of any pool is left.

Stresses: I1, I2, I3, P2, P6.
"""

import sys
import time
from random import Random

from harness import Handle, Program, check, main

import makeparallel as mp
from makeparallel._default import default_pool

NEEDS = ("made", "grown", "shrunk", "dropped", "dropped with tasks", "shut down", "blocks", "refused", "meetings")


class Churn(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        #: None stands for the default pool.
        self.places: list[mp.Pool | None] = [None, self.new_pool(self.rng), self.new_pool(self.rng)]

    def new_pool(self, rng: Random) -> mp.Pool:
        self.notes.append("made")
        options = {"max_pending": rng.choice([2, 10])} if rng.random() < 0.2 else {}
        return self.make_pool(rng.randint(1, self.most_workers), **options)

    def work(self, place: int, rng: Random, depth: int) -> None:
        """Do something, perhaps with children, perhaps on another pool."""
        kind = rng.random()
        if kind < 0.1:
            raise ValueError("part of the program")
        if kind < 0.3:
            time.sleep(rng.random() * 0.002)
        elif kind < 0.4:
            with mp.blocking():
                time.sleep(rng.random() * 0.001)
        if depth and rng.random() < 0.5:
            other = rng.randrange(len(self.places)) if rng.random() < 0.3 else place
            self.attempt(self.have_children, rng, other, depth - 1)  # a task's error would keep the pool alive

    def have_children(self, rng: Random, place: int, depth: int) -> None:
        children = self.submit_some(rng, place, depth)
        if rng.random() < 0.7:
            mp.gather(children, on_error="skip")

    def submit_some(self, rng: Random, place: int, depth: int) -> list[Handle]:
        return [
            self.submit(self.places[place], rng, self.work, place, Random(rng.random()), depth)
            for _ in range(rng.randint(1, 5))
        ]

    def operate(self, rng: Random) -> None:
        """Do one random thing to one of the pools."""
        place = rng.randrange(len(self.places))
        kind = rng.random()
        if kind < 0.5:
            handles = self.submit_some(rng, place, rng.choice([0, 1, 2]))
            if rng.random() < 0.2:
                mp.wait(handles, rng.choice([None, 0.001]))
            elif rng.random() < 0.2:
                handles[0].cancel()
        elif kind < 0.7:
            self.resize(rng, place)
        elif kind < 0.8:
            self.replace(rng, place)
        elif kind < 0.88:
            self.shut_down(rng, self.places[place])
        elif kind < 0.96:
            with self.new_pool(rng) as pool:
                for _ in range(rng.randint(0, 3)):
                    self.submit(pool, rng, self.work, place, Random(rng.random()), 1)
                self.attempt(self.resize_pool, rng, pool)
            self.notes.append("blocks")
        else:
            mp.reset_shutdown()

    def resize(self, rng: Random, place: int) -> None:
        pool = self.places[place]
        if pool is None:
            mp.configure(workers=rng.randint(1, self.most_workers))
        else:
            self.resize_pool(rng, pool)

    def resize_pool(self, rng: Random, pool: mp.Pool) -> None:
        before, after = pool.statistics().workers, rng.randint(1, self.most_workers)
        pool.resize(after)
        if before != after:
            self.notes.append("grown" if after > before else "shrunk")

    def replace(self, rng: Random, place: int) -> None:
        """Take a pool out of its place; drop it, or shut it down."""
        pool, self.places[place] = self.places[place], self.new_pool(rng) if place else None
        if pool is not None and rng.random() < 0.4:
            self.shut_down(rng, pool)
        elif pool is not None:
            busy = pool.get_active_task_count()
            del pool
            self.notes.append("dropped with tasks" if busy else "dropped")

    def shut_down(self, rng: Random, pool: mp.Pool | None) -> None:
        shutdown = mp.shutdown if pool is None else pool.shutdown
        shutdown(rng.choice([None, 0.0, 0.001, 5.0]), cancel_pending=rng.random() < 0.3)
        self.notes.append("shut down")

    def run(self) -> None:
        """Let the threads churn; then every pool that is still open works on every seat, and goes."""
        threads = [self.start(self.operate, self.rng.choice([5, 20, 40])) for _ in range(self.rng.randint(2, 4))]
        for thread in threads:
            thread.join()
        mp.reset_shutdown()
        for place, pool in enumerate(self.places):
            try:
                self.resize(self.rng, place)
                self.meet(pool or default_pool())
            except mp.PoolShutdownError:
                continue
            if self.rng.random() < 0.5:
                check((pool or default_pool()).shutdown(), "a pool without tasks does not shut down")
        self.places.clear()
        pool = None
        for handle in list(self.handles):  # a task that is left may look for its place
            handle.wait()
        mp.shutdown()
        mp.reset_shutdown()


if __name__ == "__main__":
    sys.exit(main(Churn, __doc__, NEEDS))
