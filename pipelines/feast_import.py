"""The import of Feast in a fifth of its time: without torch, and without the checks of types that it compiles.

Feast imports torch for tensors that nothing here uses. It decorates its classes with typeguard's `typechecked`, which
parses and compiles a whole file again for every method: half of the import. `declarations` checks what is declared.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

TENSORS = "feast.torch_wrapper"  # Feast's module that imports torch


class _Finder(MetaPathFinder):
    """Finds Feast where it is installed, and has it loaded within `_quick`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "feast":
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quickly(module: ModuleType) -> None:
                with _quick():
                    execute(module)

            spec.loader.exec_module = execute_quickly  # type: ignore[method-assign]
        return spec


@contextmanager
def _quick() -> Iterator[None]:
    """Within, `typechecked` changes nothing; and Feast imports torch only when it is asked for tensors."""
    import typeguard

    tensors: Any = ModuleType(TENSORS)
    tensors.get_torch = lambda: importlib.import_module("torch")
    sys.modules[TENSORS] = tensors
    checked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = checked


def quicken() -> None:
    """From now on, an import of Feast in this process is a quick one."""
    if "feast" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
