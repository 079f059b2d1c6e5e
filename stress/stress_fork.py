"""Forks of a busy process, from outside and from inside bodies; and other processes beside it.

    python stress/stress_fork.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round keeps two pools busy from several threads, and forks in the middle of that. The child has pools that work on
every seat, runs none of the parent's tasks, is told so by the parent's handles, and ends by itself: its status tells,
and an alarm ends one that hangs. Needs `os.fork`.

Stresses: I1, I2, I3.
"""

import atexit
import faulthandler
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from random import Random

from harness import Handle, Program, check, main

import makeparallel as mp
from makeparallel._default import default_pool

NEEDS = ("forks outside", "forks inside", "forks in a shield", "children that exit", "subprocesses", "meetings")
#: After so many seconds a child counts as hung.
HANG = 30


class Fork(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        self.pool = self.make_pool(self.rng.randint(1, most_workers), max_pending=self.rng.choice([None, 4]))
        self.pools = (None, self.pool)

    # --- bodies ----------------------------------------------------------------------------------

    def work(self, rng: Random, depth: int) -> None:
        kind = rng.random()
        if kind < 0.2:
            time.sleep(rng.random() * 0.002)
        elif kind < 0.3:
            mp.sleep(rng.random() * 0.002)
        elif kind < 0.4:
            while rng.random() > 1e-4:
                pass
        elif kind < 0.45:
            raise ValueError("part of the program")
        if depth and rng.random() < 0.5:
            mp.gather([self.submit_one(rng, depth - 1) for _ in range(rng.randint(1, 3))], on_error="skip")

    def submit_one(self, rng: Random, depth: int) -> Handle:
        limit = rng.choice([None, None, None, 0.001])
        return self.submit(rng.choice(self.pools), rng, self.work, Random(rng.random()), depth, timeout=limit)

    def fork_inside(self, rng: Random) -> None:
        if rng.random() < 0.3:
            self.submit_one(rng, 1)
        if rng.random() < 0.4:
            with mp.shield():
                self.fork(rng, "forks in a shield")
        else:
            self.fork(rng, "forks inside")

    def call(self, rng: Random) -> None:
        """Have a program run, and wait for it."""
        status = rng.randrange(5)
        with mp.blocking():
            done = subprocess.run(["/bin/sh", "-c", f"echo {status}; exit {status}"], capture_output=True, check=False)
        check((done.returncode, done.stdout) == (status, f"{status}\n".encode()), f"a subprocess ended with {done}")
        self.notes.append("subprocesses")

    # --- forks -----------------------------------------------------------------------------------

    def fork(self, rng: Random, note: str) -> None:
        """Fork, and wait for the child without a wait that could hang."""
        exits = rng.random() < 0.3
        parent = os.getpid()
        # The child can't look at what several threads of the parent change all the time: C6.
        handles = list(self.handles)
        process = os.fork()
        if process == 0:
            self.be_child(rng, parent, exits, rng.sample(handles, min(len(handles), 20)))
        until = time.monotonic() + 2 * HANG
        ended, status = 0, 0
        while not ended and time.monotonic() < until:
            ended, status = os.waitpid(process, os.WNOHANG)
            time.sleep(0.001)
        if status or not ended:
            self.problems.append(f"{note}: the child has ended with {os.waitstatus_to_exitcode(status)}")
        self.notes += [note, *["children that exit"] * exits]

    def be_child(self, rng: Random, parent: int, exits: bool, handles: list[Handle]) -> None:
        """Check what a child has; end the process."""
        status = 1
        try:
            signal.alarm(HANG)  # not the watchdog of the parent, whose thread is not here
            begun = len(self.runs)
            check(os.getpid() != parent, "both are the parent")
            self.look_at_handles(handles, rng)
            child = Program(f"{self.seed}, in a child", self.most_workers)
            for pool in rng.sample(self.pools, 2):
                use(child, pool or default_pool(), rng)
            check(mp.shutdown(10), "the default pool does not shut down")
            check(self.pool.shutdown(10), "the pool does not shut down")
            child.finish()
            check(len(self.runs) == begun, "a task of the parent ran")
            status = 0
            if exits:
                atexit._run_exitfuncs()
        except BaseException:
            os.write(2, f"in a child of round {self.seed}:\n{traceback.format_exc()}".encode())
        finally:
            os._exit(status)

    def look_at_handles(self, handles: list[Handle], rng: Random) -> None:
        """Have the parent's handles say that they are not ours, unless they have finished."""
        for handle in handles:
            ready = handle.is_ready()
            try:
                handle.wait(rng.choice([None, 5]))
            except RuntimeError as error:
                check("parent process" in str(error) and not ready, f"{handle!r} raises {error}")
                if handle is not mp.current_handle():
                    handle.cancel()
            else:
                check(ready, f"{handle!r} has finished in the child")
            repr(handle)
            handle.is_running()

    # --- the round -------------------------------------------------------------------------------

    def operate(self, rng: Random) -> None:
        """Keep the pools busy, and fork in bodies."""
        handles = [self.submit_one(rng, rng.choice([0, 1, 2])) for _ in range(rng.choice([1, 4, 16]))]
        kind = rng.random()
        if kind < 0.15:
            handles.append(self.submit(rng.choice(self.pools), rng, self.fork_inside, Random(rng.random())))
        elif kind < 0.25:
            handles.append(self.submit(rng.choice(self.pools), rng, self.call, Random(rng.random())))
        if rng.random() < 0.5:
            handles[0].cancel()
            mp.wait(handles, rng.choice([None, 0.01]))

    def run(self) -> None:
        """Fork while others submit; then everything works here as before."""
        threads = [self.start(self.operate, self.rng.choice([5, 10])) for _ in range(self.rng.randint(1, 3))]
        for _ in range(self.rng.randint(1, 3)):
            time.sleep(self.rng.random() * 0.01)
            self.fork(self.rng, "forks outside")
        for thread in threads:
            thread.join()
        for pool in self.pools:
            self.meet(pool or default_pool())
        check(self.pool.shutdown(), "the pool does not shut down")
        check(mp.shutdown(), "the default pool does not shut down")
        mp.reset_shutdown()


def use(child: Program, pool: mp.Pool, rng: Random) -> None:
    """Use a pool in a child: tasks that succeed, fail, run out of time, wait for others; every seat."""

    def wait_for_another() -> None:
        child.submit(pool, rng, abs, -1).get()

    handles = [child.submit(pool, rng, abs, -2) for _ in range(20)]
    handles += [child.submit(pool, rng, int, "no number"), child.submit(pool, rng, wait_for_another)]
    check(pool.map(abs, [-1, -2, -3]) == [1, 2, 3], "a map has lost something")
    child.tries.append(3)
    mp.gather(handles, on_error="skip", timeout=20)
    late = child.submit(pool, rng, mp.sleep, 20, timeout=0.001)
    check(isinstance(late.exception(20), mp.TaskTimeoutError), "no task times out")
    child.meet(pool)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of forks with threads
    faulthandler.register(signal.SIGALRM, chain=True)  # a child that hangs shows where, and dies
    mp.parallel(abs)(-1).get()  # a fork during the first import of ctypes would leave the child its module lock
    mp.shutdown()
    mp.reset_shutdown()
    sys.exit(main(Fork, __doc__, NEEDS))
