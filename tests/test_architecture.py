"""The rooms: imports point down, files stay short, one module touches `threading`, no try has a hole."""

import ast
import dis
from pathlib import Path
from types import CodeType

import pytest

import makeparallel

PACKAGE = Path(makeparallel.__file__).parent
#: Lower ones first; a module may import from its own layer only what stands before it.
LAYERS = [
    ["_sync", "_imports", "_tracers", "_log", "_errors", "_types", "_config", "_functions", "_cpus", "_gil"],
    ["_core", "_core.entries", "_core.gate", "_core.body", "_core.task", "_core.idle", "_core.worker", "_core.waiting",
     "_core.room", "_core.staff", "_core.shutdown", "_core.scheduler"],
    ["_callbacks", "_handle", "_combinators", "_current"],
    ["_interrupt", "_supervisor", "_stats", "_diagnosis"],
    ["_process", "_pool", "_default", "_decorator", "_blocks", "_map", "_imap"],
    ["__init__"],
]  # fmt: skip
ORDER = {module: (depth, place) for depth, layer in enumerate(LAYERS) for place, module in enumerate(layer)}
MAX_LINES = 330
#: What may be touched by `_sync` only.
PRIMITIVES = {"threading", "_thread", "time", "queue"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def run_time_imports(tree: ast.AST) -> list[tuple[str, int]]:
    """All imports but those for the type checker: absolute names, with dots for relative ones."""
    found: list[tuple[str, int]] = []
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." * node.level + (node.module or ""), node.lineno))
        stack += ast.iter_child_nodes(node)
    return found


def resolve(module: str, imported: str) -> str | None:
    """The package's own module that an import names; None for others."""
    dots = len(imported) - len(imported.lstrip("."))
    rest = imported.lstrip(".")
    if dots:
        here = module.split(".") if module == "_core" else module.split(".")[:-1]
        base = here[: len(here) - (dots - 1)]
        return ".".join([*base, *([rest] if rest else [])])
    if rest == "makeparallel":
        return "__init__"
    return rest.removeprefix("makeparallel.") if rest.startswith("makeparallel.") else None


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_import_that_points_up(path: Path) -> None:
    """A module imports from lower rooms only; what is imported late, inside a function, may look sideways."""
    module = name_of(path)
    assert module in ORDER, f"{module} has no room: put it into LAYERS"
    tree = ast.parse(path.read_text())
    late = {
        line
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for _, line in run_time_imports(function)
    }
    for imported, line in run_time_imports(tree):
        target = resolve(module, imported)
        if target is None:
            continue
        assert target in ORDER, f"{module}:{line} imports {imported}, which has no room"
        if line in late:
            assert ORDER[target][0] <= ORDER[module][0], f"{module}:{line} imports {target} from above"
        else:
            assert ORDER[target] < ORDER[module], f"{module}:{line} imports {target}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_too_long_to_read(path: Path) -> None:
    """A file that outgrows its room is split, not scrolled."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_primitive_used_beside_the_seam(path: Path) -> None:
    """What the model tests replace comes from `_sync` alone."""
    if path.stem == "_sync":
        return
    used = {name.split(".")[0] for name, _ in run_time_imports(ast.parse(path.read_text()))}
    assert set() == used & PRIMITIVES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_core_that_cannot_be_loaded_twice(path: Path) -> None:
    """The core imports itself and the leaves relatively, so that a second copy finds its own."""
    if not name_of(path).startswith("_core"):
        return
    names = [name for name, _ in run_time_imports(ast.parse(path.read_text()))]
    assert [name for name in names if name.startswith("makeparallel")] == []


def code_objects(code: CodeType) -> list[CodeType]:
    return [code] + [inner for const in code.co_consts if isinstance(const, CodeType) for inner in code_objects(const)]


def catches_all(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id == "BaseException"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_hole_in_a_try_that_must_see_every_break(path: Path) -> None:
    """No backward jump in a `with`, or a `try` that catches all or cleans up, is left out of its table (C7)."""
    source = path.read_text()
    spans = [
        (node.body[0].lineno, node.body[-1].end_lineno or 0)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.With)
        or (isinstance(node, ast.Try) and (node.finalbody or any(map(catches_all, node.handlers))))
    ]
    holes = []
    for code in code_objects(compile(source, str(path), "exec")):
        entries = list(dis.Bytecode(code).exception_entries)
        for instruction in dis.get_instructions(code):
            line = instruction.positions.lineno if instruction.positions else None
            if instruction.opname != "JUMP_BACKWARD" or line is None or "<genexpr>" in code.co_name:
                continue
            inside = any(first <= line <= last for first, last in spans)
            if inside and not any(entry.start <= instruction.offset < entry.end for entry in entries):
                holes.append((code.co_qualname, line))
    assert holes == []
