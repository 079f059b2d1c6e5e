"""How soon a task stops: from its deadline, or from `cancel`, to the waiter and to the end of the body.

    python stress/stop_latency.py [ROUNDS]

Prints medians and maxima in milliseconds, for one body on an otherwise idle pool, and with a body on every CPU.
"""

import os
import sys
import threading
import time
from statistics import median

import makeparallel as mp

TIMEOUT = 0.02


def measure(workers: int, bodies: int, rounds: int, cancel: bool) -> tuple[list[float], list[float]]:
    """Stop a body that runs Python code, beside others of its kind; lateness of the waiter, and of the body's end."""
    late: list[float] = []
    left: list[float] = []
    with mp.Pool(workers) as pool:
        for _ in range(rounds):
            ends: list[float] = []
            started = threading.Barrier(bodies + 1)

            def body(ends: list[float] = ends, started: threading.Barrier = started) -> None:
                try:
                    started.wait()
                    while True:
                        pass
                finally:
                    ends.append(time.perf_counter())

            function = pool.parallel(timeout=None if cancel else TIMEOUT)(body)
            handles = [function() for _ in range(bodies)]
            started.wait()
            if cancel:
                due = time.perf_counter()
                for handle in handles:
                    handle.cancel()
            else:
                due = time.perf_counter() - handles[0].elapsed_time() + TIMEOUT
            handles[0].wait()
            late.append((time.perf_counter() - due) * 1e3)
            while pool.get_active_task_count():
                time.sleep(0.0005)
            left.append((ends[0] - due) * 1e3)
    return late, left


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    cpus = len(os.sched_getaffinity(0))
    print(f"Python {sys.version.split()[0]}, {cpus} CPUs, {rounds} rounds; milliseconds: median (maximum)")
    for cancel in (False, True):
        for bodies in (1, cpus):
            late, left = measure(bodies, bodies, rounds, cancel)
            name = f"{'cancel' if cancel else 'timeout'}, {bodies} {'body' if bodies == 1 else 'bodies'}"
            print(
                f"{name:20} waiter {median(late):7.2f} ({max(late):7.2f})   body {median(left):7.2f} ({max(left):7.2f})"
            )


if __name__ == "__main__":
    main()
