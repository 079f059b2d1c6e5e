"""One warning where the GIL is on: everything works, but not in parallel."""

import os
import sys

HERE = os.path.dirname(__file__)
_warned: list[None] = []


def warn_if_gil() -> None:
    """Warn once per process, at the user's line, if the GIL is on: why, and what to do."""
    reason = gil_reason()
    if reason is None or _warned:
        return
    _warned.append(None)
    import warnings

    warnings.warn(f"makeparallel: tasks will not run in parallel: {reason}", RuntimeWarning, skip_file_prefixes=(HERE,))


def gil_reason() -> str | None:
    """Say why the GIL is on, and the remedy; None if it is off."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    import sysconfig

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return f"this Python {version} was built with the GIL; use the free-threaded build (python{version}t)"
    if os.environ.get("PYTHON_GIL") == "1":
        return "the environment variable PYTHON_GIL=1 keeps the GIL on; unset it"
    if str(sys._xoptions.get("gil")) == "1":
        return "the option -X gil=1 keeps the GIL on; leave it out"
    suspects = ", ".join(extension_modules()) or "none found"
    return (
        "importing an extension module that does not support free threading switched the GIL on "
        f"(extension modules loaded, in order: {suspects}); use a newer version of it, or set PYTHON_GIL=0 "
        "if you know it to be safe"
    )


def extension_modules() -> list[str]:
    """Names of the loaded extension modules that don't come with Python."""
    stdlib = os.path.dirname(os.__file__)  # in a virtual environment too, unlike sysconfig's paths
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        native = file.endswith((".so", ".pyd"))
        if native and not (file.startswith(stdlib) and "site-packages" not in file):
            found.append(name)
    return found
