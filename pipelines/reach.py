"""The code that a step can reach, read from its source: what `dvc repro` takes for the code of a stage.

Nothing of that code is imported. What is reached is never too little, and may be too much: an import inside a function
counts as soon as reached code uses a name that the function has, whatever that name stands for there.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STEPS = "pipelines.steps"  # names every step's module, and a step runs no other


@dataclass(frozen=True)
class Module:
    """What the source of a module says.

    Attributes:
        sha256: of its source.
        imports: what may be a module: dotted names of its imports, and words that look like one.
        deferred: the same of imports inside functions, by the function's name; of a function in another, the outer's.
        names: the identifiers that it uses.
    """

    sha256: str
    imports: frozenset[str]
    deferred: Mapping[str, frozenset[str]]
    names: frozenset[str]


def reach(starts: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """sha256 of each module, by name, that these modules can reach within their own top-level packages.

    Args:
        starts: names of modules.
        without: modules that are left out, with what is reached through them alone.

    Raises:
        ModuleNotFoundError: if a start is no module.
    """
    found: dict[str, Module] = {}
    waiting, roots = list(starts), {start.partition(".")[0] for start in starts}
    for start in waiting:
        if not source(start):
            raise ModuleNotFoundError(f"no module named {start!r}", name=start)
    while waiting:
        while waiting:
            name = waiting.pop()
            file = source(name)
            if name in found or name in without or file is None:
                continue
            found[name] = _read(file, name)
            waiting += [*_parents(name), *_modules(found[name].imports, roots)]
        names = {one for module in found.values() for one in module.names}
        waiting = [
            name
            for module in found.values()
            for function, imports in module.deferred.items()
            if function in names or function.startswith("__")
            for name in _modules(imports, roots)
            if name not in found and name not in without
        ]
    return {name: found[name].sha256 for name in sorted(found)}


def _parents(name: str) -> list[str]:
    """The packages that are run before a module is."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _modules(names: Iterable[str], roots: Collection[str]) -> Iterator[str]:
    """The modules of these packages among the names, or that hold what is named: of `a.b.C`, `a.b`."""
    for name in names:
        if name.partition(".")[0] not in roots:
            continue
        module = name
        while module and not source(module):
            module = module.rpartition(".")[0]
        if module:
            yield module


@cache
def source(module: str) -> Path | None:
    """The source of a module; None if there is none, or it is a namespace."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = importlib.util.find_spec(top)
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place, *rest)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file() and (rest or file.name == "__init__.py"):
                return file
    return None


@cache
def _read(file: Path, name: str) -> Module:
    content = file.read_bytes()
    is_package = file.name == "__init__.py"
    reader = _Reader(name if is_package else name.rpartition(".")[0], texts=name != STEPS)
    reader.visit(ast.parse(content))
    imports = set(reader.imports[None])
    if is_package and "import_module" in reader.names:  # by names that are made while it runs
        imports |= {f"{name}.{child.stem}" for child in file.parent.iterdir()}
    return Module(
        hashlib.sha256(content).hexdigest(),
        frozenset(imports),
        {function: frozenset(named) for function, named in reader.imports.items() if function is not None},
        frozenset(reader.names),
    )


class _Reader(ast.NodeVisitor):
    """Gathers what `Module` holds. What stands under `if TYPE_CHECKING` never runs."""

    def __init__(self, package: str, texts: bool) -> None:
        self.package, self.texts = package, texts
        self.imports: defaultdict[str | None, set[str]] = defaultdict(set)
        self.names: set[str] = set()
        self._function: str | None = None

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self._function = self._function, self._function or node.name
        self.generic_visit(node)
        self._function = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815 - named by ast

    def visit_Import(self, node: ast.Import) -> None:
        self._add(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self.package.split(".")[: self.package.count(".") + 2 - node.level] if node.level else []
        module = ".".join([*above, *filter(None, [node.module])])
        self._add([module, *(f"{module}.{alias.name}" for alias in node.names)])
        self.names.update(alias.name for alias in node.names)

    def visit_Name(self, node: ast.Name) -> None:
        self.names.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.names.add(node.attr)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if self.texts and isinstance(node.value, str) and node.value.count(".") and " " not in node.value:
            self._add([node.value.partition(":")[0]])

    def _add(self, names: Iterable[str]) -> None:
        self.imports[self._function].update(names)
