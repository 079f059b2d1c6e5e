"""On what the figures were taken: interpreter, CPUs, load. Facts that a reader needs before any number."""

import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

from peers import cpus, gil_enabled, versions


def describe() -> dict[str, Any]:
    """The facts, for the head of the table and for the JSON."""
    return {
        "python": sys.version.split()[0],
        "build": " ".join(sys.version.split("[")[0].split()[1:]),
        "compiler": platform.python_compiler(),
        "optimized": optimized(),
        "gil": gil_enabled(),
        "cpus": cpus(),
        "cpus_of_machine": os.cpu_count(),
        "cpu": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
        "packages": versions(),
    }


def optimized() -> str:
    """Whether the interpreter was built with profile-guided optimization, as far as it tells."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS")
    if not arguments:
        return "PGO unknown"
    flags = str(sysconfig.get_config_var("PY_CORE_CFLAGS"))
    used = "--enable-optimizations" in arguments or "-fprofile-use" in flags or "-fprofile-instr-use" in flags
    return "PGO" if used else "no PGO"


def processor() -> str:
    """The CPU's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def words(facts: dict[str, Any]) -> list[str]:
    """The facts as lines."""
    python = f"Python {facts['python']} ({facts['build']}; {facts['compiler']}; {facts['optimized']})"
    machine = f"{facts['cpu'] or 'unknown'}, {facts['system']}"
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items()) or "none installed"
    return [
        f"{python}, GIL {'ON' if facts['gil'] else 'off'}",
        f"{facts['cpus']} CPUs usable of {facts['cpus_of_machine']} ({machine})",
        f"load average before: {facts['load_before']:.2f}",
        f"packages: {packages}",
    ]
