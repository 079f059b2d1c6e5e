"""The examples run as a newcomer runs them: each as a program of its own, judged by what it prints."""

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
TIMEOUT = 120

#: One of each thing that counts: 9 branches in `area`, 1 in `double`, 3 in `read`.
GOOD = textwrap.dedent(
    """\
    import os, sys
    from math import pi

    class Shape:
        def area(self, kind, sizes):
            def double(size):
                return size * 2 if size else 0
            if kind == "circle" and sizes or not kind:
                return pi
            for size in sizes:
                while size:
                    size -= 1
            try:
                return [double(size) for size in sizes if size if size > 1]
            except ValueError:
                return None

    async def read(rows):
        async for row in rows:
            match row:
                case 1:
                    pass
                case _:
                    pass
    """
)
LATIN = "# coding: latin-1\ndef café():\n    return 'é'\n"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example to its end; a traceback is never what it should print."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def succeed(name: str, *arguments: object) -> str:
    """Run an example that must succeed; what it printed."""
    done = run(name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_good_files(folder: Path) -> None:
    """Make three files that parse, two of them equal, one not in UTF-8."""
    (folder / "inner").mkdir()
    (folder / "good.py").write_text(GOOD, encoding="utf-8")
    (folder / "inner" / "again.py").write_text(GOOD, encoding="utf-8")
    (folder / "latin.py").write_bytes(LATIN.encode("latin-1"))


@pytest.mark.slow
def test_survey_counts_a_file_twice_or_not_at_all(tmp_path):
    """Every count is exact, over files in several folders and encodings."""
    write_good_files(tmp_path)
    (tmp_path / "no_python.txt").write_text("def f(")
    (tmp_path / "folder.py").mkdir()
    printed = succeed("survey_code.py", tmp_path, "--workers", 2)
    totals = {what: int(number) for number, what in re.findall(r"^ +(\d+) ([a-z]+)", printed, re.MULTILINE)}
    lines = 2 * GOOD.count("\n") + LATIN.count("\n")
    expected = {"lines": lines, "functions": 7, "classes": 2, "imports": 4, "branches": 26, "different": 2}
    assert expected == totals, printed
    assert "Totals of 3 files: 3 parsed + 0 failed\n" in printed
    assert "Both runs gave equal results for all 3 files.\n" in printed
    assert "on 2 workers\n" in printed


@pytest.mark.slow
def test_survey_gives_a_function_the_branches_of_another(tmp_path):
    """The list of functions names file, line and own complexity, the highest first."""
    write_good_files(tmp_path)
    printed = succeed("survey_code.py", tmp_path)
    listed = re.findall(r"^ +(\d+)  (\S+:\d+)  (\S+)$", printed, re.MULTILINE)
    expected = [
        ("10", "good.py:5", "Shape.area"),
        ("10", "inner/again.py:5", "Shape.area"),
        ("4", "good.py:18", "read"),
        ("4", "inner/again.py:18", "read"),
        ("2", "good.py:6", "Shape.area.double"),
        ("2", "inner/again.py:6", "Shape.area.double"),
        ("1", "latin.py:2", "café"),
    ]
    assert sorted(expected) == sorted(listed), printed
    assert [complexity for complexity, *_ in expected] == [complexity for complexity, *_ in listed]


@pytest.mark.slow
def test_survey_loses_no_broken_file(tmp_path):
    """Each file that can't be read or parsed is listed once, on one line, with its cause; the rest is counted."""
    write_good_files(tmp_path)
    (tmp_path / "broken.py").write_text("def f(:\n    pass\n")
    (tmp_path / "bad_coding.py").write_text("# coding: uft-8\n")
    (tmp_path / "not_utf8.py").write_bytes("x = 1\ny = 2\nname = 'é'\n".encode("latin-1"))
    (tmp_path / "dangling.py").symlink_to(tmp_path / "missing")
    printed = succeed("survey_code.py", tmp_path)
    assert "Totals of 7 files: 3 parsed + 4 failed\n" in printed
    failed = printed.partition("Files that don't parse: 4;")[2].partition("\n\n")[0].splitlines()[1:]
    starts = [
        "  bad_coding.py: SyntaxError: unknown encoding: uft-8",
        "  broken.py: SyntaxError: invalid syntax (broken.py, line 1)",
        "  dangling.py: FileNotFoundError: ",
        "  not_utf8.py: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9",
    ]
    assert len(starts) == len(failed), printed
    assert [True] * 4 == [line.startswith(start) for line, start in zip(failed, starts, strict=True)], printed
    assert "Both runs gave equal results for all 7 files.\n" in printed


@pytest.mark.slow
def test_survey_prints_the_warnings_of_what_it_reads(tmp_path):
    """Warnings about the code that is read stay silent, in the main thread and in the workers."""
    for name in ("__main__.py", "other.py"):
        (tmp_path / name).write_text("""x = "\\d"\ny = 1if x else 2\nassert (x, "text")\n""")
    done = run("survey_code.py", tmp_path)
    assert "Totals of 2 files: 2 parsed + 0 failed\n" in done.stdout
    assert re.findall("SyntaxWarning|DeprecationWarning", done.stderr) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "there is no folder {}/missing"),
        (["empty"], "there are no .py files below {}/empty"),
        (["file.py"], "{}/file.py is not a folder"),
        ([".", "--workers", "0"], "workers=0: "),
        ([".", "--repeat", "0"], "--repeat 0: "),
    ],
    ids=["missing", "empty", "file", "workers", "repeat"],
)
def test_survey_answers_misuse_with_a_traceback(tmp_path, arguments, said):
    """A wrong argument gives one line that says what is wrong, and status 2."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.py").write_text("")
    folder, *options = arguments
    done = run("survey_code.py", tmp_path / folder, *options)
    assert (done.returncode, done.stdout) == (2, "")
    told = [line for line in done.stderr.splitlines() if line.startswith("survey_code: ")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith("survey_code: " + said.format(tmp_path))


@pytest.mark.slow
def test_survey_works_on_after_ctrl_c():
    """Ctrl-C ends the program, without waiting for the files that are left, and without a traceback."""
    # A shell starts background jobs with Ctrl-C ignored, and the program would inherit that.
    program = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", program, EXAMPLES / "survey_code.py"]
    said = swallowed = "Exception ignored in: <function _WeakValueDictionary"
    while swallowed in said:  # a Ctrl-C that falls into this callback of the import system is lost in any program
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
            assert process.stdout is not None
            assert "files" in process.stdout.readline()  # from here on it surveys the standard library
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, said
    assert "survey_code: interrupted\n" in said
    assert "Traceback" not in said
    assert "Totals" not in printed


@pytest.mark.slow
def test_quickstart_gives_results_out_of_order():
    """The first example prints its results in the order of its calls."""
    expected = """\
        primes in each range: [1033, 983, 958, 930, 924, 878, 902, 876]
        powers of three: [1, 3, 9, 27, 81, 243, 729, 2187]
        """
    assert textwrap.dedent(expected) == succeed("quickstart.py")


@pytest.mark.slow
def test_errors_example_leaves_a_body_behind():
    """Each kind of failure is told in its place, every body is seen to leave, and the program ends."""
    expected = """\

        1. A failing task
           parse_port failed with ValueError: invalid literal for int() with base 10: 'http'
           the cause is the original exception: ValueError("invalid literal for int() with base 10: 'http'")

        2. Failures among many tasks
           80
           TaskError from ValueError("invalid literal for int() with base 10: 'http'")
           443

        3. A timeout
           TaskTimeoutError; handle finished: True
           the body was interrupted: True

        4. Cancelling
           the pending task is cancelled: True
           the running task is cancelled: True; a second time: False
           the error of both: TaskCancelledError, TaskCancelledError
           the body was interrupted: True

        5. A shutdown with a time limit
           everything ended within 0.2 s: False
           the task that still ran is cancelled: True; its body left: True
           no new tasks: """
    printed = succeed("errors_and_shutdown.py")
    assert printed.startswith(textwrap.dedent(expected)), printed


@pytest.mark.slow
def test_request_handler_mixes_up_requests():
    """Each of several requests at once gets its own answer, a request that is given up too; then all ends."""
    expected = """\
        /primes?below=20000                200  {"below": 20000, "primes": 2262}
        /primes?below=40000                200  {"below": 40000, "primes": 4203}
        /primes?below=60000                200  {"below": 60000, "primes": 6057}
        /primes?below=many                 400  {"error": "ValueError: invalid literal for int() with base 10: 'many'"}
        /primes?below=9000000&timeout=0.2  503  {"error": "not finished within 0.2 s"}
        server closed; every task ended: True
        """
    assert textwrap.dedent(expected) == succeed("request_handler.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(path.name for path in EXAMPLES.glob("scaling/*.py") if path.name != "compare.py")
)
def test_scaling_example_compares_two_different_results(name):
    """Each script runs both ways, finds that they give the same, and prints one line of figures."""
    printed = succeed(f"scaling/{name}", "--rounds", 1)
    number = r"\d+\.\d+"
    line = rf"before {number} s, after {number} s, ratio {number}; gain of 2 workers: before {number}, after {number}\n"
    assert re.fullmatch(line, printed), printed


# --- data_script ----------------------------------------------------------------------------------------


def test_data_script_counts_something_else(tmp_path):
    """Its three ways agree, and with what the logs say."""
    lines = [
        {"time": "2026-03-01T00:00:00", "path": "/", "status": 200, "us": 1000},
        {"time": "2026-03-01T23:59:59", "path": "/cart", "status": 503, "us": 3000},
        {"time": "2026-03-01T12:00:00", "path": "/health", "status": 500, "us": 9000},
        {"time": "2026-03-02T00:00:00", "path": "/", "status": 404, "us": 7000},
    ]
    for number in range(3):
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = succeed("data_script.py", "--folder", tmp_path, "--workers", 2)
    assert "2026-03-01: 6 requests, 3 errors, mean 2.0 ms, at most 3.0 ms" in output
    assert "2026-03-02: 3 requests, 0 errors, mean 7.0 ms, at most 7.0 ms" in output
    assert "all three agree on 2 days" in output


def test_data_script_makes_other_logs():
    """It makes the same logs from the same seed, and others from another."""
    first, again, other = (
        re.findall(r"^2026.*$", succeed("data_script.py", "--megabytes", 1, "--files", 4, "--seed", seed), re.MULTILINE)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_data_script_without_logs_is_silent(tmp_path):
    """A folder without logs is an error that says so."""
    done = run("data_script.py", "--folder", tmp_path)
    assert 1 == done.returncode
    assert "no *.jsonl in" in done.stderr
