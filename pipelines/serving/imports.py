"""Feast without torch: Feast imports torch where it finds it, for tensors that no server asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType

LEFT_OUT = "torch"


class _Absent(MetaPathFinder):
    """Says of torch that it is not installed."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == LEFT_OUT or fullname.startswith(f"{LEFT_OUT}."):
            raise ModuleNotFoundError(f"{fullname} is left out of the model server", name=fullname)


@contextmanager
def torch_left_out() -> Iterator[None]:
    """Within, an `import torch` that has not happened yet fails as if torch were not installed; Feast goes without."""
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
