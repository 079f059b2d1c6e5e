"""How many CPUs this process may use, which is not how many the host has.

The smallest of: the scheduling affinity, `PYTHON_CPU_COUNT` (both are in `os.process_cpu_count`), and
the CPU quota of the cgroups this process is in, rounded up (cgroup v2 `cpu.max`, v1 `cpu.cfs_*`; a
container under Docker or Kubernetes is limited by the quota alone).
"""

import os

CGROUP_ROOT = "/sys/fs/cgroup"
CGROUP_OF_SELF = "/proc/self/cgroup"


def usable_cpus(root: str = CGROUP_ROOT, membership: str = CGROUP_OF_SELF) -> int:
    """Return the number of CPUs this process may use, at least 1."""
    count = os.process_cpu_count() or 1
    quota = cgroup_quota(root, membership)
    if quota is not None:
        count = min(count, -int(-quota // 1))  # rounded up: 1.5 CPUs keep two workers busy
    return max(count, 1)


def cgroup_quota(root: str = CGROUP_ROOT, membership: str = CGROUP_OF_SELF) -> float | None:
    """Return the CPU quota in CPUs, the smallest of this process's cgroups and their parents."""
    quotas = []
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":  # v2
            folders, read = _up(root, path), _quota_v2
        elif "cpu" in controllers.split(","):
            base = os.path.join(root, controllers)
            folders, read = _up(base if os.path.isdir(base) else os.path.join(root, "cpu"), path), _quota_v1
        else:
            continue
        quotas += [quota for quota in map(read, folders) if quota is not None]
    return min(quotas, default=None)


def _up(base: str, path: str) -> list[str]:
    """The folder of a cgroup and of its parents; inside a container the path may lie above the mount."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [os.path.join(base, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(folder: str) -> float | None:
    quota, _, period = _read(os.path.join(folder, "cpu.max")).strip().partition(" ")
    return _ratio(quota, period)


def _quota_v1(folder: str) -> float | None:
    return _ratio(
        _read(os.path.join(folder, "cpu.cfs_quota_us")).strip(),
        _read(os.path.join(folder, "cpu.cfs_period_us")).strip(),
    )


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdecimal() and period.isdecimal()):  # "max" in v2, "-1" in v1: no limit
        return None
    return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
