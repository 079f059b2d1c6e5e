"""Numbers in the code of a module that was compiled while it was imported: each use counts references to them.

Python 3.13t makes the constants of a module immortal when it reads them from a `.pyc` file, and not when it has just
compiled the source: at the first import, with PYTHONDONTWRITEBYTECODE, or in a folder that can't be written.
Before: a module imported without a `.pyc` file. After: the same module, imported with one.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from compare import compare

import makeparallel as mp

TASKS = 8
SOURCE = """
def mix(seed):
    for step in range(200_000):
        seed = (seed * 1_103_515_245 + step) % 2_147_483_647
    return seed
"""


def load(file: Path, name: str) -> ModuleType:
    """Import a file under a name."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    sys.dont_write_bytecode = False
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mixing.py")
        file.write_text(SOURCE)
        compiled = load(file, "compiled")  # compiles the source, and writes the .pyc file
        cached = load(file, "cached")  # reads that

    def before(pool: mp.Pool) -> list[int]:
        return mp.gather([pool.submit(compiled.mix, seed) for seed in range(TASKS)])

    def after(pool: mp.Pool) -> list[int]:
        return mp.gather([pool.submit(cached.mix, seed) for seed in range(TASKS)])

    compare(before, after)


if __name__ == "__main__":
    main()
