"""Shutdown from everywhere, at any moment, several at once; and the end of whole processes.

    python stress/stress_shutdown.py --seconds 60 --seed 1 --workers 4 [--jitter 0.01]

A round has threads that submit to one pool, and shuts it down from outside and from inside tasks, with and without
`cancel_pending`, with time limits that run out. A call that returns True has left no body running, a call that gives
up does so soon, and after either every task submitted before it has finished. In every fifth round a process of its
own (`EXIT`) ends in one of several ways at a random moment instead: its status, its time and what it ran must be right.

Stresses: I1, I2, I8, P6.
"""

import signal
import subprocess
import sys
import time
from _thread import LockType, allocate_lock
from collections import Counter
from random import Random

from harness import Handle, Program, check, main

import makeparallel as mp

NEEDS = (
    "ended in time", "gave up", "from inside", "with cancel_pending", "refused", "children while draining",
    "exit: end", "exit: error", "exit: status", "exit: bounded", "exit: Ctrl-C",
)  # fmt: skip
#: How much later than its time limit a call may return: the machine may be busy.
LATE = 5.0

#: Submits tasks that write a line at their start and at their end, and ends at a random moment.
EXIT = """
import atexit, os, random, sys, time
import makeparallel as mp
rng, how = random.Random(sys.argv[1]), sys.argv[2]
def work(number, seconds, children):
    os.write(1, f"+{number}\\n".encode())
    time.sleep(seconds)
    handles = [pool.submit(work, f"{number}.{child}", seconds, 0) for child in range(children)]
    if seconds > 0.002:
        mp.gather(handles, on_error="skip")
    os.write(1, f"-{number}\\n".encode())
pool = mp.Pool(int(sys.argv[3]))
if how == "bounded":
    atexit.register(lambda: pool.shutdown(rng.random() * 0.02, cancel_pending=rng.random() < 0.5))
os.write(1, b"ready\\n")
for number in range(rng.randint(1, 60)):
    pool.submit(work, str(number), rng.random() * 0.004, rng.choice([0, 0, 1, 3]))
    if rng.random() < 0.05:
        time.sleep(rng.random() * 0.01)
os.write(1, f"submitted {number + 1}\\n".encode())
if how == "error":
    raise KeyError("part of the program")
if how == "status":
    sys.exit(7)
"""
STATUS = {"end": 0, "error": 1, "status": 7, "bounded": 0}


class Shutdown(Program):
    """One round."""

    def __init__(self, seed: str, most_workers: int) -> None:
        super().__init__(seed, most_workers)
        self.pool: mp.Pool | None = None  # the default one
        if self.rng.random() < 0.8:
            options = {"max_pending": self.rng.choice([1, 5])} if self.rng.random() < 0.2 else {}
            self.pool = self.make_pool(self.rng.randint(1, most_workers), **options)
        self.endless = self.rng.random() < 0.4  # some bodies end only when a shutdown gives up
        #: Each body holds its lock as long as it runs; not those that shut down, which are exempt.
        self.locks: dict[Handle, LockType] = {}

    # --- bodies ----------------------------------------------------------------------------------

    def work(self, lock: LockType, rng: Random, depth: int) -> None:
        with lock:  # left in every case: no loop stands in this block, whose jump back the interpreter leaves out of it
            self.act(rng, depth)

    def act(self, rng: Random, depth: int) -> None:
        kind = rng.random()
        if self.endless and kind < 0.1:
            mp.sleep(1000)
        elif kind < 0.2:
            time.sleep(rng.random() * 0.004)
        elif kind < 0.35:
            mp.sleep(rng.random() * 0.02)
        elif kind < 0.4:
            while rng.random() > 1e-5:
                pass
        if depth and rng.random() < 0.6:
            children = [self.submit_work(rng, depth - 1) for _ in range(rng.randint(1, 3))]
            if self.pool is not None and "draining" in repr(self.pool):
                self.notes.append("children while draining")
            if rng.random() < 0.7:
                mp.gather(children, on_error="skip", timeout=rng.choice([None, None, 0.01]))

    def submit_work(self, rng: Random, depth: int) -> Handle:
        lock = allocate_lock()
        options = {"timeout": rng.choice([0.0005, 0.01])} if rng.random() < 0.1 else {}
        with mp.shield():
            handle = self.submit(self.pool, rng, self.work, lock, Random(rng.random()), depth, **options)
            self.locks[handle] = lock
        return handle

    def shut_down_inside(self, rng: Random) -> None:
        if rng.random() < 0.3:
            mp.sleep(rng.random() * 0.005)
        self.notes.append("from inside")
        self.shut_down(rng, outside=False)

    # --- threads ---------------------------------------------------------------------------------

    def operate(self, rng: Random) -> None:
        """Submit some tasks, wait for some, cancel some."""
        handles = [self.submit_work(rng, rng.choice([0, 1, 2, 3])) for _ in range(rng.choice([1, 2, 8]))]
        kind = rng.random()
        if kind < 0.2:
            mp.wait(handles, rng.choice([None, 0.002]))
        elif kind < 0.3:
            handles[0].cancel()
        elif kind < 0.4:
            self.submit(self.pool, rng, self.shut_down_inside, Random(rng.random()))

    def shut_down_outside(self, rng: Random) -> None:
        time.sleep(rng.random() * 0.02)
        self.shut_down(rng, outside=True)

    def shut_down(self, rng: Random, outside: bool) -> None:
        """Shut down, and check what the call has promised."""
        limits: list[float | None] = [0.0, 0.001, 0.01]
        if not self.endless:
            limits += [None, None, 5.0]
        seconds = rng.choice(limits)
        cancel = rng.random() < 0.3
        before = self.locks.copy()
        start = time.monotonic()
        in_time = (mp.shutdown if self.pool is None else self.pool.shutdown)(seconds, cancel_pending=cancel)
        took = time.monotonic() - start
        self.notes.append("ended in time" if in_time else "gave up")
        if cancel:
            self.notes.append("with cancel_pending")
        check(seconds is None or took < seconds + LATE, f"shutdown({seconds}) took {took:.1f} s")
        if outside:
            running = sum(lock.locked() for lock in before.values())
            check(not (in_time and running), f"shutdown({seconds}, {cancel}) has returned True, {running} bodies run")
            # A task that a worker had in hand when the call gave up is cancelled by that worker, a moment later.
            unfinished = [handle for handle in before if not handle.wait(0.0 if in_time else LATE)]
            check(not unfinished, f"shutdown({seconds}, {cancel}) left {unfinished[:5]} unfinished")

    def run(self) -> None:
        """Submit and shut down at once; or have a process do so."""
        number = int(self.seed.rpartition("/")[2])
        if number % 5 == 4:
            self.run_process([*STATUS, "Ctrl-C"][number // 5 % 5])
            return
        threads = [self.start(self.operate, self.rng.choice([5, 20])) for _ in range(self.rng.randint(1, 3))]
        threads += [self.start(self.shut_down_outside, 1) for _ in range(self.rng.randint(1, 3))]
        for thread in threads:
            thread.join()
        for _ in range(2):
            (mp.shutdown if self.pool is None else self.pool.shutdown)()
        mp.reset_shutdown()
        left = [handle for handle, lock in self.locks.items() if lock.locked()]
        check(not left, f"after the last shutdown, these bodies run: {left}")

    # --- processes -------------------------------------------------------------------------------

    def run_process(self, how: str) -> None:
        """End a process in some way; check its status, and that it ran everything once that it should run."""
        command = [sys.executable, "-W", "ignore", "-c", EXIT, self.seed, how, str(self.most_workers)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        output = process.stdout.readline()
        if how == "Ctrl-C":
            time.sleep(self.rng.random() * 0.1)
            process.send_signal(signal.SIGINT)
        try:
            rest, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            rest, errors = process.communicate()
            raise AssertionError(f"exit {how!r} hangs; it wrote:\n{output}{rest}{errors}") from None
        lines = Counter((output + rest).split("\n"))
        told = f"exit {how!r}: status {process.returncode}\n{output}{rest}{errors}"
        check(not lines or max(count for line, count in lines.items() if line) == 1, f"something ran twice; {told}")
        begun = {line[1:] for line in lines if line.startswith("+")}
        ended = {line[1:] for line in lines if line.startswith("-")}
        check(ended <= begun, told)
        if how == "Ctrl-C":
            check(process.returncode in (0, -signal.SIGINT), told)
        else:
            check(process.returncode == STATUS[how], told)
            check(how == "bounded" or ("Traceback" in errors) == (how == "error"), told)
        if how in ("end", "error", "status"):
            count = int(next(line for line in lines if line.startswith("submitted")).split()[1])
            check(begun == ended and {str(number) for number in range(count)} <= begun, told)
        self.notes.append(f"exit: {how}")


if __name__ == "__main__":
    sys.exit(main(Shutdown, __doc__, NEEDS))
