"""Tasks that wait for tasks: deep, wide, in every way there is, on one worker too; and cycles, which must be refused.

    python stress/stress_nested.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round draws trees of tasks, whose inner ones wait for their children by `get`, `wait`, `exception`, `gather`,
`as_completed`, `wait` for many, or `map`, perhaps on another pool; every task returns the size of its tree. It also
makes rings of tasks that wait for each other: at least one must get a RuntimeError, and all must finish. Chains are
deeper than what may run inline.

Stresses: I1, I2, I3, P4.
"""

import sys
import threading
from _thread import get_ident
from random import Random
from typing import Any

from harness import Handle, Program, check, main

import makeparallel as mp

WAYS = ("get", "wait", "exception", "gather", "as completed", "wait for many", "first completed", "map", "timed")
PLACES = ("inline", "in another thread", "on another pool", "one worker")
NEEDS = (*WAYS, *PLACES, "chains", "rings refused", "self refused")
#: The size of a tree and how to wait for its children: a task's program.
Tree = tuple[str, list[Any]]


def draw(rng: Random, depth: int, width: int) -> Tree:
    count = rng.randint(0, width) if depth else 0
    return rng.choice(WAYS), [draw(rng, depth - 1, width) for _ in range(count)]


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree[1]))


class Nested(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        workers = [self.rng.choice([1, self.rng.randint(1, most_workers)]) for _ in range(2)]
        self.pools = [self.make_pool(count) for count in workers]
        if 1 in workers:
            self.notes.append("one worker")
        self.sizes: dict[Handle, int] = {}

    def grow(self, pool: mp.Pool, rng: Random, tree: Tree, parent: int = 0) -> Handle:
        """Submit the root of a tree."""
        answer: list[int] = []
        handle = self.submit(pool, rng, self.be_node, answer, pool, Random(rng.random()), tree, parent)
        handle.set_metadata("answer", answer)
        return handle

    def be_node(self, answer: list[int], pool: mp.Pool, rng: Random, tree: Tree, parent: int) -> None:
        """Wait for the children, and note the size of the tree."""
        if parent:
            self.notes.append("inline" if get_ident() == parent else "in another thread")
        answer.append(1 + self.wait_for_children(pool, rng, tree))

    def wait_for_children(self, pool: mp.Pool, rng: Random, tree: Tree) -> int:
        way, branches = tree
        if not branches:
            return 0
        self.notes.append(way)
        if rng.random() < 0.15:
            pool = rng.choice(self.pools)
            self.notes.append("on another pool")
        if way == "map":
            seeds = [rng.random() for _ in branches]
            self.tries.append(len(branches))
            return sum(
                pool.map(lambda seed, branch: 1 + self.wait_for_children(pool, Random(seed), branch), seeds, branches)
            )
        children = [self.grow(pool, rng, branch, get_ident()) for branch in branches]
        if way == "gather":
            mp.gather(children)
        elif way == "as completed":
            check(set(mp.as_completed(children)) == set(children), "as_completed() has left something out")
        elif way == "wait for many":
            done, rest = mp.wait(children)
            check(done == set(children) and not rest, "wait() has not waited")
        elif way == "first completed":
            done, rest = mp.wait(children, return_when="FIRST_COMPLETED")
            check(bool(done), "wait() has found nothing completed")
        for child in children:
            if way == "get":
                child.get()
            elif way == "exception":
                child.exception()
            elif way == "timed":
                while not child.wait(rng.choice([0.0, 0.0002, 9.0])):
                    pass
            else:
                child.wait()
        return sum(child.get_metadata("answer")[0] for child in children)

    # --- rings -----------------------------------------------------------------------------------

    def run_ring(self, length: int) -> None:
        """Have tasks wait for each other in a ring, and one for itself."""
        ring: list[Handle] = []
        complete = threading.Event()  # nobody cancels these tasks
        refused: list[None] = []
        for place in range(length):
            way = self.rng.choice(["get", "wait", "gather", "as completed", "wait for many", "timed"])
            ring.append(
                self.submit(self.rng.choice(self.pools), self.rng, self.be_link, ring, place, complete, way, refused)
            )
        complete.set()
        for handle in ring:
            check(handle.wait(30), "a ring of waiting tasks does not end")
        check(bool(refused), "nobody in a ring of waiting tasks was refused")
        self.notes.append("self refused" if length == 1 else "rings refused")

    def be_link(self, ring: list[Handle], place: int, complete: threading.Event, way: str, refused: list[None]) -> None:
        with mp.blocking():
            complete.wait()
        following = ring[(place + 1) % len(ring)]
        try:
            if way == "get":
                following.get()
            elif way == "gather":
                mp.gather([following])
            elif way == "as completed":
                list(mp.as_completed([following]))
            elif way == "wait for many":
                mp.wait([following])
            else:
                following.wait(20 if way == "timed" else None)
        except RuntimeError:
            refused.append(None)

    def run_chain(self, length: int) -> None:
        """Nest more deeply than tasks may run inline."""
        tree: Tree = ("get", [])
        for _ in range(length):
            tree = (self.rng.choice(["get", "gather", "wait", "wait for many"]), [tree])
        check(self.grow(self.pools[0], self.rng, tree).get() is not None, "a chain has no end")
        self.notes.append("chains")

    # --- the round -------------------------------------------------------------------------------

    def operate(self, rng: Random) -> None:
        """Grow a tree, and compare its size."""
        depth, width = rng.choice([(2, 8), (5, 2), (3, 4), (1, 40), (8, 1)])
        tree = draw(rng, depth, width)
        handle = self.grow(rng.choice(self.pools), rng, tree)
        error = handle.exception()
        check(error is None, f"a tree failed: {error}")
        answer = handle.get_metadata("answer")
        check(answer == [size(tree)], f"a tree of {size(tree)} tasks has found {answer}")

    def run(self) -> None:
        """Grow trees from several threads, with rings and chains beside them."""
        threads = [self.start(self.operate, self.rng.choice([2, 5, 10])) for _ in range(self.rng.randint(1, 3))]
        for _ in range(3):
            self.run_ring(self.rng.choice([1, 2, 3, 3, 8]))
        if self.rng.random() < 0.2:
            self.run_chain(self.rng.choice([20, 60, 150]))
        for thread in threads:
            thread.join()
        for pool in self.pools:
            self.meet(pool)
        for pool in self.pools:
            check(pool.shutdown(), "the pool does not shut down")


if __name__ == "__main__":
    sys.exit(main(Nested, __doc__, NEEDS))
