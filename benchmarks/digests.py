"""Digests of the ground of figures: code and declarations without comments, docstrings and layout, params, data."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import json
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.configuration import read
from pipelines.reach import reach, source

CHAINS = "pipelines.chains"  # modules import it as `chains`, or names of it
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code(starts: Iterable[str], without: Collection[str] = ()) -> dict[str, str]:
    """The digest of each part that these modules reach: `pipelines/judge` stands for all of its reached modules.

    Args:
        starts: names of modules.
        without: modules that do not count, nor modules that are reached through them alone.

    Raises:
        ModuleNotFoundError: if a start is not a module.
    """
    parts: dict[str, list[str]] = {}
    for module in reach(starts, without):
        file = source(module)
        assert file is not None, module
        parts.setdefault("/".join(module.split(".")[:2]), []).append(f"{module} {_of_source(file.read_bytes())}")
    return {part: digest("\n".join(modules)) for part, modules in parts.items()}


def texts(module: str) -> set[str]:
    """The string constants of a module, without docstrings."""
    file = source(module)
    return _texts(file.read_bytes()) if file else set()


def walked(module: str) -> set[str]:
    """The string constants of what a module uses of the module of chains: its constants, chains walked as a whole.

    Of a chain that is walked in part (`only=`) the module itself names the steps.
    """
    file, of_chains = source(module), source(CHAINS)
    return _walked(file.read_bytes(), of_chains.read_bytes()) if file and of_chains else set()


def service(module: str, name: str) -> str | None:
    """The digest of a feature service of a module's USECASE: its inputs, and the declared views that hold some of them.

    None if there is none of this name.
    """
    usecase = importlib.import_module(module).USECASE
    inputs = usecase.model_inputs.get(name)
    if inputs is None:
        return None
    return digest(
        repr((inputs, [view for view in usecase.feature_tables if set(view.names).intersection(inputs.names)]))
    )


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
    return _constants(_undocumented(content))


@cache
def _walked(content: bytes, chains: bytes) -> set[str]:
    parts: dict[str, ast.stmt] = {}
    for statement in _undocumented(chains).body:
        if isinstance(statement, ast.FunctionDef):
            parts[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            parts |= {name.id: statement for name in statement.targets if isinstance(name, ast.Name)}
    nodes = [*ast.walk(_undocumented(content))]
    imported = {(node.module, alias.name) for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    by_name = {name for module, name in imported if module == CHAINS}
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    in_part = {id(call.args[0]) for call in calls if any(keyword.arg == "only" for keyword in call.keywords)}
    used: set[str] = {
        str(getattr(node, "attr", getattr(node, "id", "")))
        for node in nodes
        if id(node) not in in_part and (_is_of_chains(node) or (isinstance(node, ast.Name) and node.id in by_name))
    }
    return {text for name in used & parts.keys() for text in _constants(parts[name])}


def _is_of_chains(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "chains"


def _constants(tree: ast.AST) -> set[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


@cache
def _undocumented(content: bytes) -> ast.Module:
    """The syntax tree of a source without its docstrings."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return tree


def _text(value: Any) -> str:
    """A syntax tree as text; unlike `ast.dump` it is the same in every supported version of Python."""
    if isinstance(value, ast.AST):
        fields = (f"{name}={_text(field)}" for name, field in ast.iter_fields(value) if field not in (None, []))
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)
