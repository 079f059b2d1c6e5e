"""Measures that need a process of their own: `ask` starts one, which prints its facts as JSON."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import makeparallel as mp
from peers import OURS, STDLIB, THREADS, US
from work import empty, nothing


def ask(*arguments: str) -> dict[str, float]:
    """Run this file with arguments; what it found.

    Raises:
        subprocess.CalledProcessError: it failed; its own words are on standard error.
    """
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- memory ---------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The largest `resident` since `forget_peak`, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def submitter(who: str) -> Iterator[tuple[Any, Any]]:
    """A pool with one worker: what submits an empty function, and what submits any."""
    if who == US:
        with mp.Pool(1) as pool:
            yield pool.parallel(empty), pool.submit
    elif who == STDLIB:
        with ThreadPoolExecutor(1) as executor:
            yield lambda: executor.submit(empty), executor.submit
    else:
        with ThreadPool(1) as threads:
            yield lambda: threads.apply_async(empty), threads.apply_async


def pending(who: str, count: int) -> dict[str, float]:
    """Bytes of a task that waits for the only worker, which is blocked."""
    gate = threading.Lock()
    gate.acquire()
    with submitter(who) as (submit_empty, submit):
        submit(gate.acquire)
        first = [submit_empty() for _ in range(1000)]
        handles: list[Any] = [None] * count
        before = resident()
        for place in range(count):
            handles[place] = submit_empty()
        grown = resident() - before
        gate.release()
        for handle in (first[-1], handles[-1]):
            handle.result() if who == STDLIB else handle.get()
    return {"bytes": grown / count}


def imap(way: str, count: int) -> dict[str, float]:
    """By how much the peak grows while so many inputs pass."""
    function: Any = mp.parallel_imap  # type: ignore[attr-defined, unused-ignore]
    with mp.Pool(2) as pool:
        deque(function(nothing, range(20_000), ordered=way == "ordered", pool=pool), maxlen=0)
        forget_peak()
        before = peak()
        deque(function(nothing, range(count), ordered=way == "ordered", pool=pool), maxlen=0)
        return {"mib": (peak() - before) / 2**20}


def executor_map(_who: str, count: int) -> dict[str, float]:
    with ThreadPoolExecutor(2) as executor:
        deque(executor.map(nothing, range(1000)), maxlen=0)
        forget_peak()
        before = peak()
        deque(executor.map(nothing, range(count)), maxlen=0)
        return {"mib": (peak() - before) / 2**20}


# --- idle -----------------------------------------------------------------------------------------


def threads_use() -> dict[str, tuple[int, int]]:
    """For each thread but the main one: voluntary context switches, and nanoseconds on a CPU."""
    found = {}
    for folder in Path("/proc/self/task").iterdir():
        if folder.name != str(os.getpid()):
            status = (folder / "status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("voluntary"))
            found[folder.name] = int(line.split()[1]), int((folder / "schedstat").read_text().split()[0])
    return found


def idle(who: str, seconds: int) -> dict[str, float]:
    """What the threads of a pool do while nobody uses it."""
    peer = next(peer for peer in (OURS, *THREADS) if peer.name == who)
    with peer.open(2) as backend:
        backend.submit_all(empty, 1000)
        if peer is OURS:  # so that the supervisor is there too
            backend.pool.parallel(timeout=60)(empty)().get()
        time.sleep(0.5)
        before = threads_use()
        time.sleep(seconds)
        after = threads_use()
    changes = [(after[name][0] - old[0], after[name][1] - old[1]) for name, old in before.items() if name in after]
    return {
        "threads": len(changes),
        "switches": sum(change[0] for change in changes),
        "cpu_us": sum(change[1] for change in changes) / 1e3,
    }


MEASURES = {"pending": pending, "imap": imap, "map": executor_map, "idle": idle}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
