"""Aggregate a folder of JSON-lines logs per day: serially, a file a task, and streamed in bounded memory.

python examples/data_script.py                      200 MB of logs, made by a seeded generator
python examples/data_script.py --megabytes 20 --workers 2 --seed 7
python examples/data_script.py --folder LOGS        logs that are there: *.jsonl with time, path, status, us

Each line is parsed, health checks are left out, and per day the requests, the server errors, the mean and the largest
time are kept. `parallel_map` runs a file a task; `parallel_imap` reads one file after the other, in pieces of lines,
no faster than they are used up.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import makeparallel as mp

PIECE_BYTES = 1 << 18
PATHS = ["/", "/cart", "/search", "/item/4711", "/health", "/login", "/checkout"]

#: Of each day: requests, server errors, microseconds in all, the most of one. Whole numbers: their sum has no order.
Days = dict[str, list[int]]


def write_logs(file: Path, size: int, seed: int) -> int:
    """Write a file of about so many bytes; the same for the same seed."""
    rng = random.Random(seed)
    with file.open("w") as out:
        written = 0
        while written < size:
            time_of_day = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
            record = {
                "time": f"2026-03-{rng.randrange(1, 31):02}T{time_of_day}",
                "path": rng.choice(PATHS),
                "status": rng.choice([200, 200, 200, 304, 404, 500]),
                "us": int(rng.expovariate(1 / 20_000)),
            }
            written += out.write(json.dumps(record) + "\n")
    return written


def aggregate(lines: Iterable[bytes]) -> Days:
    """Parse, filter and sum up some lines."""
    # A decoder of our own: `json.loads` uses one for all threads, which wait for each other there.
    decode = json.JSONDecoder().decode
    days: Days = {}
    for line in lines:
        record = decode(line.decode())
        if record["path"] == "/health":
            continue
        day = days.setdefault(record["time"][:10], [0, 0, 0, 0])
        day[0] += 1
        day[1] += record["status"] >= 500
        day[2] += record["us"]
        day[3] = max(day[3], record["us"])
    return days


def aggregate_file(file: Path) -> Days:
    """Aggregate one file."""
    with file.open("rb") as lines:
        return aggregate(lines)


def aggregate_piece(piece: bytes) -> Days:
    """Aggregate some whole lines."""
    return aggregate(piece.splitlines())


def pieces(files: Iterable[Path]) -> Iterator[bytes]:
    """All files, one after the other, in pieces of whole lines."""
    for file in files:
        with file.open("rb") as lines:
            while piece := lines.read(PIECE_BYTES):
                yield piece + lines.readline()


def total(parts: Iterable[Days]) -> Days:
    """The sum of several aggregates."""
    days: Days = {}
    for part in parts:
        for name, (requests, errors, microseconds, most) in part.items():
            day = days.setdefault(name, [0, 0, 0, 0])
            day[0] += requests
            day[1] += errors
            day[2] += microseconds
            day[3] = max(day[3], most)
    return days


def timed(name: str, work: Callable[[], Days]) -> tuple[float, Days]:
    """Do it; tell how long it took, and what the process has needed at most so far."""
    start = time.perf_counter()
    days = work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{name:13} {seconds:6.2f} s   peak {peak:4} MiB")
    return seconds, days


def main() -> int:
    """Run all three on the same logs, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="logs to read, in place of made ones")
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--files", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    mp.configure(workers=options.workers)
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        files = sorted(folder.glob("*.jsonl"))
        if options.folder is None:
            files = [folder / f"{number:03}.jsonl" for number in range(options.files)]
            size = int(options.megabytes * 1e6 / options.files)
            written = mp.parallel_map(
                write_logs, files, [size] * len(files), range(options.seed, options.seed + len(files))
            )
            print(f"wrote {sum(written) / 1e6:.0f} MB in {len(files)} files")
        if not files:
            print(f"no *.jsonl in {folder}", file=sys.stderr)
            return 1
        # What is bounded comes first: the peak is that of the process so far.
        streamed, by_pieces = timed("parallel_imap", lambda: total(mp.parallel_imap(aggregate_piece, pieces(files))))
        mapped, by_files = timed("parallel_map", lambda: total(mp.parallel_map(aggregate_file, files)))
        serial, expected = timed("serial", lambda: total(map(aggregate_file, files)))
    for day, (requests, errors, microseconds, most) in sorted(expected.items())[:3]:
        mean = microseconds / requests
        print(f"{day}: {requests} requests, {errors} errors, mean {mean / 1e3:.1f} ms, at most {most / 1e3:.1f} ms")
    print(f"serial / parallel_map: {serial / mapped:.2f}, serial / parallel_imap: {serial / streamed:.2f}")
    if not expected == by_files == by_pieces:
        print("the results differ", file=sys.stderr)
        return 1
    print(f"all three agree on {len(expected)} days")
    return 0


if __name__ == "__main__":
    sys.exit(main())
