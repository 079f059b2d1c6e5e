"""How many CPUs this process may use: cgroup quotas of both versions, `PYTHON_CPU_COUNT`, affinity."""

import os
import subprocess
import sys

import pytest

import makeparallel
from makeparallel._cpus import cgroup_quota, usable_cpus

ROOT = os.path.dirname(os.path.dirname(makeparallel.__file__))


def fake(tmp_path, membership, files):
    """A cgroup root and a membership file; the paths of both."""
    root = tmp_path / "cgroup"
    root.mkdir()
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = tmp_path / "membership"
    own.write_text(membership, encoding="utf-8")
    return str(root), str(own)


V1 = "12:pids:/\n5:cpu,cpuacct:{path}\n4:cpuset:/\n1:name=systemd:/\n0::/\n"


def v1(folder, quota, period="100000"):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        # version 2
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/app\n", {"app/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b/c\n", {"a/b/c/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000\n", "a/cpu.max": "200000 100000\n"}, 1.0),
        ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, None),
        ("0::/../../elsewhere\n", {"cpu.max": "100000 100000\n"}, 1.0),
        ("0::/not/mounted/here\n", {"cpu.max": "100000 100000\n"}, 1.0),
        ("0::/odd:name\n", {"odd:name/cpu.max": "100000 100000\n"}, 1.0),
        ("0::/gr\u00f6\u00dfe\n", {"gr\u00f6\u00dfe/cpu.max": "100000 100000\n"}, 1.0),
        ("0::/\n", {"cpu.max": "50000 20000\n"}, 2.5),
        # version 1
        (V1.format(path="/"), v1("cpu,cpuacct", "150000"), 1.5),
        (V1.format(path="/"), v1("cpu", "150000"), 1.5),
        (V1.format(path="/"), v1("cpu", "-1"), None),
        (V1.format(path="/docker/abc"), v1("cpu,cpuacct/docker/abc", "50000"), 0.5),
        (V1.format(path="/docker/abc"), v1("cpu/docker/abc", "50000"), 0.5),
        (V1.format(path="/docker/abc"), v1("cpu,cpuacct", "50000"), 0.5),
        (V1.format(path="/a/b"), v1("cpu/a/b", "300000") | v1("cpu/a", "200000"), 2.0),
        (V1.format(path="/"), {"cpu/cpu.cfs_quota_us": "100000\n"}, None),
        ("4:cpuset:/\n3:cpuacct:/\n", v1("cpuset", "100000") | v1("cpuacct", "100000"), None),
        # both: the smaller one
        (V1.format(path="/"), {**v1("cpu", "300000"), "cpu.max": "200000 100000\n"}, 2.0),
        # what no kernel writes
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/\n", {"cpu.max": "0 100000\n"}, None),
        ("0::/\n", {"cpu.max": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "one two\n"}, None),
        ("0::/\n", {"cpu.max": "\u00b2 100000\n"}, None),
        ("", {"cpu.max": "100000 100000\n"}, None),
        ("nonsense\n\n0::/\n", {"cpu.max": "100000 100000\n"}, 1.0),
    ],
)
def test_quota_is_misread(tmp_path, membership, files, expected):
    """The quota is the smallest of this process's groups and those above, and None without one."""
    assert expected == cgroup_quota(*fake(tmp_path, membership, files))


def test_missing_files_raise(tmp_path):
    """Without cgroups, as on other systems, there is no quota."""
    assert cgroup_quota(str(tmp_path / "no"), str(tmp_path / "none")) is None
    assert (os.process_cpu_count() or 1) == usable_cpus(str(tmp_path / "no"), str(tmp_path / "none"))


@pytest.mark.parametrize(("quota", "expected"), [(1, 1), (99_999, 1), (100_000, 1), (100_001, 2), (10**9, None)])
def test_quota_is_rounded_down(tmp_path, quota, expected):
    """A fraction of a CPU counts as one more, and never is there less than one or more than the affinity allows."""
    available = os.process_cpu_count() or 1
    places = fake(tmp_path, "0::/\n", {"cpu.max": f"{quota} 100000\n"})
    assert (available if expected is None else min(expected, available)) == usable_cpus(*places)


def python(*options, **environment):
    """What a fresh interpreter thinks, its `process_cpu_count` replaced by nothing."""
    done = subprocess.run(
        [sys.executable, "-P", *options],
        env={**os.environ, "PYTHONPATH": ROOT, **environment},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.split()


COUNT = (
    "import os, sys\n"
    "if len(sys.argv) > 2: os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[2:]})\n"
    "from makeparallel._cpus import usable_cpus\n"
    "root = sys.argv[1]\n"
    "print(usable_cpus(root + '/cgroup', root + '/membership'))\n"
)


@pytest.mark.slow
def test_cpu_count_of_the_environment_is_ignored(tmp_path):
    """`PYTHON_CPU_COUNT` and `-X cpu_count` say how many, also more than there are; a quota still limits it."""
    fake(tmp_path, "0::/\n", {"cpu.max": "450000 100000\n"})
    assert ["3"] == python("-c", COUNT, str(tmp_path), PYTHON_CPU_COUNT="3")
    assert ["5"] == python("-c", COUNT, str(tmp_path), PYTHON_CPU_COUNT="64")
    assert ["2"] == python("-X", "cpu_count=2", "-c", COUNT, str(tmp_path))
    assert ["7"] == python("-c", COUNT, str(tmp_path / "none"), PYTHON_CPU_COUNT="7")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_ignored(tmp_path):
    """A process that is tied to one CPU has one, whatever the host has."""
    cpu = str(min(os.sched_getaffinity(0)))
    environment = {"PYTHON_CPU_COUNT": "default"}
    assert ["1"] == python("-c", COUNT, str(tmp_path / "none"), cpu, **environment)
    every = [str(each) for each in os.sched_getaffinity(0)]
    assert [str(len(every))] == python("-c", COUNT, str(tmp_path / "none"), *every, **environment)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_default_pool_ignores_the_affinity():
    """The default pool of a process tied to one CPU has one worker."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import makeparallel as mp; print(mp.statistics().workers, mp.Pool().statistics().workers)"
    )
    environment = {"PYTHON_CPU_COUNT": "default", "MAKEPARALLEL_WORKERS": ""}
    assert ["1", "1"] == python("-c", code, **environment)
