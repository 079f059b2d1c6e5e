"""Survey a folder of Python code: one task per file, compared with the same work done serially.

python examples/survey_code.py                     the interpreter's own standard library
python examples/survey_code.py FOLDER              any folder
python examples/survey_code.py --workers 4 --repeat 3

Each task reads, decodes, parses and hashes one file, and keeps a few numbers of it. A file that does not
parse fails its own task only: the error is listed, and the rest goes on.
"""

import argparse
import ast
import hashlib
import heapq
import io
import statistics
import sys
import sysconfig
import time
import warnings
from contextlib import suppress
from importlib.util import decode_source
from pathlib import Path
from typing import NamedTuple

import makeparallel as mp

TOP = 10
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
#: Each is one branch; so is each further operand of `and` and `or`, and each condition of a comprehension.
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.comprehension)
COUNTED = frozenset((*SCOPES, *IMPORTS, *BRANCHES, ast.BoolOp))


class Function(NamedTuple):
    """One function; `complexity` is its branches plus one, those of functions inside it left out."""

    complexity: int
    name: str
    line: int


class Summary(NamedTuple):
    """All that is kept of a file.

    The tree goes when its task ends: the garbage collector stops all threads while it looks at what is
    alive, so what a task keeps slows the others down.
    """

    sha256: str
    lines: int
    functions: int
    classes: int
    imports: int
    branches: int
    top: list[Function]


def summarize(path: Path) -> Summary:
    """Read and count one file."""
    data = path.read_bytes()
    source = decode_source(data)  # by its byte order mark or coding cookie (PEP 263)
    functions, classes, imports = count(ast.parse(source, path.name))
    return Summary(
        sha256=hashlib.sha256(data).hexdigest(),
        lines=source.count("\n"),
        functions=len(functions),
        classes=classes,
        imports=imports,
        branches=sum(function.complexity - 1 for function in functions),
        top=heapq.nlargest(TOP, functions),
    )


def count(tree: ast.Module) -> tuple[list[Function], int, int]:
    """Return a module's functions, and how many classes and imports it has."""
    counted = set(COUNTED)  # a copy: threads that look things up in one object wait for its reference count
    functions: list[Function] = []
    classes = imports = 0
    scopes: list[tuple[ast.AST, str]] = [(tree, "")]
    for scope, name in scopes:  # grows on the way, by the functions and classes that are found
        branches = 0
        nodes = list(ast.iter_child_nodes(scope))
        while nodes:
            node = nodes.pop()
            if type(node) in counted:  # few nodes are: the others cost one look-up
                if isinstance(node, SCOPES):
                    scopes.append((node, f"{name}.{node.name}" if name else node.name))
                    continue  # its branches are its own
                if isinstance(node, IMPORTS):
                    imports += 1
                elif isinstance(node, ast.BoolOp):
                    branches += len(node.values) - 1
                else:
                    branches += 1 + (len(node.ifs) if isinstance(node, ast.comprehension) else 0)
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(scope, ast.ClassDef):
            classes += 1
        elif isinstance(scope, SCOPES):
            functions.append(Function(branches + 1, name, scope.lineno))
    return functions, classes, imports


@mp.parallel
def survey(path: Path) -> Summary:
    """Do as `summarize`, in a task: a call returns a handle at once."""
    return summarize(path)


def survey_in_parallel(paths: list[Path]) -> list[Summary | mp.TaskError]:
    """Summarize all files at once; a `TaskError` stands in the place of each that failed."""
    handles = [survey(path) for path in paths]
    for done, _ in enumerate(mp.as_completed(handles), 1):
        show_progress("in parallel", done, len(paths))
    return mp.gather(handles, on_error="return")


def survey_serially(paths: list[Path]) -> list[Summary | Exception]:
    """Summarize one file after the other; an exception stands in the place of each that failed."""
    results: list[Summary | Exception] = []
    for done, path in enumerate(paths, 1):
        try:
            results.append(summarize(path))
        except Exception as error:
            results.append(error)
        show_progress("serially", done, len(paths))
    return results


def show_progress(how: str, done: int, total: int) -> None:
    """Say how far it is, in a line that is written over on a terminal; elsewhere in four lines at most."""
    on_terminal = sys.stdout.isatty()
    if done == total or done % -(-total // (200 if on_terminal else 4)) == 0:
        end = "\r" if on_terminal and done < total else "\n"
        print(f"{how:>11}: {done} of {total} files", end=end, flush=True)


def outcome_of(result: Summary | Exception) -> Summary | str:
    """What both runs must agree on: the summary, or the error that the file itself caused."""
    if isinstance(result, Summary):
        return result
    cause = result.__cause__ if isinstance(result, mp.TaskError) else result
    return " ".join(f"{type(cause).__name__}: {cause}".split())


def find_files(root: Path, skip: str | None) -> list[Path]:
    """Return every .py file below a folder, in order, but for those in folders named `skip`.

    Raises:
        ValueError: there is no such folder, or no such file in it.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder" if root.exists() else f"there is no folder {root}")
    found = (path for path in root.rglob("*.py") if skip not in path.relative_to(root).parts)
    paths = sorted(path for path in found if not path.is_dir())
    if not paths:
        raise ValueError(f"there are no .py files below {root}")
    return paths


def report(names: list[str], outcomes: list[Summary | str]) -> None:
    """Print what the files hold, and which of them don't parse."""
    parsed = {name: found for name, found in zip(names, outcomes, strict=True) if isinstance(found, Summary)}
    failed = {name: found for name, found in zip(names, outcomes, strict=True) if isinstance(found, str)}
    every_top = ((function, name) for name, summary in parsed.items() for function in summary.top)
    print("\nThe most complex functions")
    for function, name in heapq.nlargest(TOP, every_top):
        print(f"  {function.complexity:4}  {name}:{function.line}  {function.name}")
    print(f"\nTotals of {len(names)} files: {len(parsed)} parsed + {len(failed)} failed")
    for what in ("lines", "functions", "classes", "imports", "branches"):
        print(f"  {sum(getattr(summary, what) for summary in parsed.values()):9} {what}")
    print(f"  {len({summary.sha256 for summary in parsed.values()}):9} different contents (SHA-256)")
    print(f"\nFiles that don't parse: {len(failed)}; each is a TaskError, here with its cause")
    for name, error in failed.items():
        print(f"  {name}: {error}")


def run(root: Path, paths: list[Path], workers: int, repeat: int) -> int:
    """Do both runs, by turns, and print what came out; return the exit status."""
    size = 0
    for path in paths:  # read beforehand, so that neither run waits for the disk
        with suppress(OSError):  # its task will tell
            size += len(path.read_bytes())
    print(f"{len(paths)} files, {size / 1e6:.1f} MB, below {root}; {workers} workers", flush=True)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        results = survey_in_parallel(paths)
        middle = time.perf_counter()
        expected = survey_serially(paths)
        times.append((middle - start, time.perf_counter() - middle))
        outcomes = [outcome_of(result) for result in results]
        if outcomes != [outcome_of(result) for result in expected]:
            print("survey_code: the two runs gave different results", file=sys.stderr)
            return 1
    report([str(path.relative_to(root)) for path in paths], outcomes)
    parallel, serial = map(statistics.median, zip(*times, strict=True))
    print(f"\nBoth runs gave equal results for all {len(paths)} files.")
    print(f"  serial    {serial:7.2f} s" + (f"  (median of {repeat} runs)" if repeat > 1 else ""))
    print(f"  parallel  {parallel:7.2f} s  on {workers} workers")
    print(f"  speed-up  {serial / parallel:7.2f}")
    return 0


def main() -> int:
    """Read the command line and run; return the exit status."""
    parser = argparse.ArgumentParser(description="Survey a folder of Python code, in parallel and serially.")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="default: Python's standard library")
    parser.add_argument("--workers", type=int, metavar="N", help="default: the CPUs this process may use")
    parser.add_argument("--repeat", type=int, metavar="N", default=1, help="do both runs N times, show the medians")
    options = parser.parse_args()
    # Once, here: `warnings.catch_warnings` in every task would change what all threads share.
    for category in (SyntaxWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and errors may hold any character
    try:
        if options.repeat < 1:
            raise ValueError(f"--repeat {options.repeat}: must be at least 1")
        root = options.folder or Path(sysconfig.get_path("stdlib"))
        paths = find_files(root, skip=None if options.folder else "site-packages")
        mp.configure(workers=options.workers)
        workers = mp.statistics().workers
    except ValueError as error:
        print(f"survey_code: {error}", file=sys.stderr)
        return 2
    try:
        return run(root, paths, workers, options.repeat)
    except KeyboardInterrupt:
        mp.shutdown(timeout_secs=0, cancel_pending=True)  # else the exit would wait for all files
        print("\nsurvey_code: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
