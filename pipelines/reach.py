"""The code that a step can reach, from its source: `dvc repro` treats it as the code of a stage.

None of that code is imported. The result is never too small, and may be too large: an import inside a function counts
as soon as reached code uses the function's name, whatever the name refers to there.
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

STEPS = "pipelines.steps"  # names every step's module, though a step runs only its own


@dataclass(frozen=True)
class Module:
    """The facts about a module's source.

    Attributes:
        sha256: the digest of its source.
        imports: possible names of modules: dotted names of its imports, and texts that look like one.
        deferred: the same for imports inside functions, by the name of the outermost function.
        names: the identifiers that it uses.
    """

    sha256: str
    imports: frozenset[str]
    deferred: Mapping[str, frozenset[str]]
    names: frozenset[str]


def reach(starts: Iterable[str], without: Collection[str] = (), within: str | None = None) -> dict[str, str]:
    """sha256 of each module, by name, that these modules can reach within their own top-level packages.

    Args:
        starts: names of modules.
        without: modules that are left out, with what is reached only through them.
        within: a package: nothing outside of it counts, nor do its own `__init__` and those of packages in it, which
            Python runs before a module, unless a module imports them.

    Raises:
        ModuleNotFoundError: if a start is not a module.
    """
    modules: dict[str, Module] = {}
    starts = list(starts)
    waiting, roots = list(starts), {start.partition(".")[0] for start in starts}
    for start in waiting:
        if not source(start):
            raise ModuleNotFoundError(f"no module named {start!r}", name=start)
    while waiting:
        while waiting:
            name = waiting.pop()
            file = source(name)
            if name in modules or name in without or file is None or not _lies_in(name, within):
                continue
            modules[name] = _parse(file, name)
            waiting += [*([] if within else _parents(name)), *_modules(modules[name].imports, roots)]
        names = {one for module in modules.values() for one in module.names}
        if within:  # what calls into the package lies outside of it, so any function of a start may be used
            names |= {function for start in starts if start in modules for function in modules[start].deferred}
        waiting = [
            name
            for module in modules.values()
            for function, imports in module.deferred.items()
            if function in names or function.startswith("__")
            for name in _modules(imports, roots)
            if name not in modules and name not in without and _lies_in(name, within)
        ]
    return {name: modules[name].sha256 for name in sorted(modules)}


def attributes(modules: Iterable[str], name: str) -> set[tuple[str, ...]]:
    """What modules read from a variable or attribute of a name: for `context.params.splits.test_days` and the name
    params, (splits, test_days)."""
    return {chain for module in modules if (file := source(module)) for chain in _chains(file, name)}


@cache
def _chains(file: Path, name: str) -> frozenset[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    inner: set[ast.AST] = set()  # of a longer chain
    for node in ast.walk(ast.parse(file.read_bytes())):
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        chain, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            inner.add(base)
            chain.append(base.attr)
            base = base.value
        chain += [base.id] if isinstance(base, ast.Name) else []
        chain.reverse()
        if name in chain[:-1]:
            found.add(tuple(chain[chain.index(name) + 1 :]))
    return frozenset(found)


def package_of(module: str) -> str:
    """The package that a module lies in; a package, or a module in none, itself."""
    file = source(module)
    return module if file is None or file.name == "__init__.py" else module.rpartition(".")[0] or module


def _lies_in(name: str, package: str | None) -> bool:
    return package is None or f"{name}.".startswith(f"{package}.")


def _parents(name: str) -> list[str]:
    """The packages that Python imports before a module."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _modules(names: Iterable[str], roots: Collection[str]) -> Iterator[str]:
    """The modules of these packages that the names refer to: for `a.b.C`, `a.b`."""
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
    """The source file of a module; None if there is none, or it is a namespace package."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = importlib.util.find_spec(top)
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place, *rest)
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file() and (rest or file.name == "__init__.py"):
                return file
    if spec and spec.origin and spec.origin.endswith(".py") and not rest:
        return Path(spec.origin)  # a module in no package
    return None


@cache
def _parse(file: Path, name: str) -> Module:
    content = file.read_bytes()
    is_package = file.name == "__init__.py"
    reader = _Reader(name if is_package else name.rpartition(".")[0], texts=name != STEPS)
    reader.visit(ast.parse(content))
    imports = set(reader.imports[None])
    if is_package and "import_module" in reader.names:  # by names that it computes
        imports |= {f"{name}.{child.stem}" for child in file.parent.iterdir()}
    return Module(
        hashlib.sha256(content).hexdigest(),
        frozenset(imports),
        {function: frozenset(words) for function, words in reader.imports.items() if function is not None},
        frozenset(reader.names),
    )


class _Reader(ast.NodeVisitor):
    """Collects the facts of `Module`. Code under `if TYPE_CHECKING` is skipped, since it never runs."""

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
