"""Loads the core a second time, with `_sync` replaced and every shared access made a point.

What is changed in the source, by its syntax tree alone:

- `x.name`, read or written, where some code outside constructors writes an attribute of that name;
- a list or dict that is stored in an attribute or in a module's variable becomes one whose operations are points;
- each function begins with a place where an interrupt may arrive;
- `__del__` gets another name: when CPython calls it is not for the model to say, and differs from run to run.

Everything else is the source as it stands, so what is explored is what runs.
"""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import makeparallel

from . import model_sync

ROOT = Path(makeparallel.__file__).parent
MODULES = [
    *(f"_core.{name}" for name in (
        "entries", "gate", "body", "task", "idle", "worker", "waiting", "room", "staff", "shutdown", "scheduler",
    )),
    "_callbacks", "_interrupt", "_supervisor", "_stats", "_diagnosis",
]  # fmt: skip
#: What is taken as it is: it shares nothing between threads.
AS_IT_IS = ("_errors", "_log", "_imports", "_tracers")
#: What constructs an object that no other thread has yet.
CONSTRUCTORS = {"__init__", "make"}

Edit = tuple[str, str, str]


class Core:
    """A loaded copy; modules by their last name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def load(name: str = "modelled", edits: "tuple[Edit, ...]" = ()) -> Core:
    """Load a copy; each edit, of a module, replaces one text, which must be there exactly once.

    Raises:
        ValueError: an edit's text is not there, or more than once.
    """
    sources = {}
    for module in MODULES:
        sources[module] = (ROOT / (module.replace(".", "/") + ".py")).read_text()
    for module, old, new in edits:
        if sources[module].count(old) != 1:
            raise ValueError(f"{module} holds {sources[module].count(old)} times: {old}")
        sources[module] = sources[module].replace(old, new)
    trees = {module: ast.parse(source) for module, source in sources.items()}
    racy = set().union(*(_written(tree) for tree in trees.values()))
    for package in (name, f"{name}._core"):
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = []  # type: ignore[attr-defined]
    sys.modules[f"{name}._sync"] = model_sync
    for module in AS_IT_IS:
        sys.modules[f"{name}.{module}"] = importlib.import_module(f"makeparallel.{module}")
    core = Core(name)
    model_sync.engine.is_loading = True
    for module, tree in trees.items():
        tree = ast.fix_missing_locations(_Points(racy).visit(tree))
        loaded = ModuleType(f"{name}.{module}")
        loaded.__package__ = f"{name}.{module}".rpartition(".")[0]
        loaded.__dict__.update(
            _rd=model_sync.read_attribute, _wr=model_sync.write_attribute, _place=model_sync.place,
            _list=model_sync.make_list, _dict=model_sync.make_dict,
        )  # fmt: skip
        sys.modules[loaded.__name__] = loaded
        file = f"modelled/{module.replace('.', '/')}.py"  # not its own: coverage must not take it for that
        exec(compile(tree, file, "exec"), loaded.__dict__)
        setattr(core, module.rpartition(".")[2], loaded)
    model_sync.engine.is_loading = False
    return core


def _written(tree: ast.AST) -> set[str]:
    """The attributes that are written outside constructors."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name in CONSTRUCTORS:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


class _Points(ast.NodeTransformer):
    """Makes the points."""

    def __init__(self, racy: set[str]) -> None:
        self.racy = racy
        self.depth = 0
        self.temporaries = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name == "__del__":
            node.name = "finalize"
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        racy = self.racy
        if node.name in CONSTRUCTORS:
            self.racy = set()
        self.depth += 1
        body = [new for old in node.body for new in self._many(old)]
        self.depth -= 1
        self.racy = racy
        head = body[:1] if ast.get_docstring(node) is not None else []
        place = ast.copy_location(ast.Expr(ast.Call(ast.Name("_place", ast.Load()), [], [])), node)
        node.body = [*head, place, *body[len(head) :]]
        return node

    def _many(self, node: ast.stmt) -> list[ast.stmt]:
        result = self.visit(node)
        return result if isinstance(result, list) else [result]

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or node.attr not in self.racy or not self.depth:
            return node
        return ast.copy_location(ast.Call(ast.Name("_rd", ast.Load()), [node.value, ast.Constant(node.attr)], []), node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return node
        if self.depth == 0 and not isinstance(node.value, ast.Dict):
            return self.generic_visit(node)
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        if not isinstance(node.target, ast.Attribute):
            return self.generic_visit(node)
        read = ast.Attribute(node.target.value, node.target.attr, ast.Load())
        value = ast.BinOp(read, node.op, node.value)
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], value), node))

    def visit_Assign(self, node: ast.Assign) -> Any:
        shared = any(isinstance(target, ast.Attribute) for target in node.targets) or self.depth == 0
        if shared and isinstance(node.value, ast.List | ast.ListComp):
            node.value = ast.Call(ast.Name("_list", ast.Load()), [node.value], [])
        if shared and isinstance(node.value, ast.Dict) and (self.depth or not node.value.keys):
            node.value = ast.Call(ast.Name("_dict", ast.Load()), [node.value], [])
        node.value = self.visit(node.value)
        if not self.depth:
            return node
        after: list[ast.stmt] = []
        node.targets = [self._target(target, after) for target in node.targets]
        return [node, *(ast.copy_location(statement, node) for statement in after)]

    def _target(self, target: ast.expr, after: list[ast.stmt]) -> ast.expr:
        """The target with attributes replaced by temporaries, which are stored afterwards."""
        if isinstance(target, ast.Tuple):
            target.elts = [self._target(element, after) for element in target.elts]
            return target
        if isinstance(target, ast.Attribute) and target.attr in self.racy:
            self.temporaries += 1
            name = f"_temporary{self.temporaries}"
            arguments = [self.visit(target.value), ast.Constant(target.attr), ast.Name(name, ast.Load())]
            after.append(ast.Expr(ast.Call(ast.Name("_wr", ast.Load()), arguments, [])))
            after.append(ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)))
            return ast.Name(name, ast.Store())
        return self.visit(target)  # type: ignore[no-any-return]
