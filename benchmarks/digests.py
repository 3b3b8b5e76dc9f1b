"""Digests of what figures rest on: code and declarations without comments, docstrings and layout, params, data."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.configuration import read
from pipelines.reach import reach, source

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code(starts: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """The digest of each part that these modules reach: `pipelines/judge` stands for all of its reached modules.

    Args:
        starts: names of modules.
        without: modules that do not count, nor what is reached through them alone.

    Raises:
        ModuleNotFoundError: if a start is no module.
    """
    parts: dict[str, list[str]] = {}
    for module in reach(starts, without):
        file = source(module)
        assert file is not None, module
        parts.setdefault("/".join(module.split(".")[:2]), []).append(f"{module} {_of_source(file.read_bytes())}")
    return {part: digest("\n".join(modules)) for part, modules in parts.items()}


def texts(module: str) -> set[str]:
    """The string constants of a module; a docstring is none."""
    file = source(module)
    return _texts(file.read_bytes()) if file else set()


def declaration(file: Path, name: str) -> str | None:
    """The digest of the statements that a name of this file rests on; None if the file has no such name."""
    statements = _statements(file.read_bytes())
    waiting, reached = [name], set()
    while waiting:
        one = waiting.pop()
        if one in statements and one not in reached:
            reached.add(one)
            waiting += [node.id for node in ast.walk(statements[one]) if isinstance(node, ast.Name)]
    return digest("\n".join(_text(statements[one]) for one in sorted(reached))) if reached else None


def section(file: Path, name: str) -> str | None:
    """The digest of a section of the values in force, such as `training.mlp`; None if there is none of this name."""
    value = params(file)
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return digest(json.dumps(value, sort_keys=True, default=str))


@cache
def params(file: Path) -> Any:
    """The values in force of a params file."""
    return read(file).in_force()


@cache
def package_data(package: str) -> str | None:
    """The digest of all files in the folder `data` of an installed package; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    files = sorted(file for file in (Path(spec.origin).parent / "data").iterdir() if file.is_file())
    return digest("\n".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files))


def digest(text: str) -> str:
    """Eight digits: enough to see a change."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@cache
def _of_source(content: bytes) -> str:
    return hashlib.sha256(_text(_undocumented(content)).encode()).hexdigest()


@cache
def _texts(content: bytes) -> set[str]:
    nodes = ast.walk(_undocumented(content))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@cache
def _statements(content: bytes) -> dict[str, ast.stmt]:
    """The statements of a module by each name that they bind."""
    return {name: statement for statement in _undocumented(content).body for name in _bound(statement)}


def _undocumented(content: bytes) -> ast.Module:
    """The syntax tree of a source without its docstrings."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return tree


def _text(value: Any) -> str:
    """A syntax tree as text; unlike that of `ast.dump` it is the same for every supported version of Python."""
    if isinstance(value, ast.AST):
        fields = (f"{name}={_text(field)}" for name, field in ast.iter_fields(value) if field not in (None, []))
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement of a module binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
