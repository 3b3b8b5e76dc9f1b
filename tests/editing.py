"""JSON files changed in place: by accident, or as their step would write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.artifacts.seal import sealed

Change = Callable[[dict[str, Any]], Any]


def edit(path: str | Path, change: Change) -> None:
    """Change a file without updating the digest that it carries."""
    value = json.loads(Path(path).read_text())
    change(value)
    Path(path).write_text(json.dumps(value))


def rewrite(path: str | Path, change: Change) -> None:
    """As `edit`, with an updated digest."""
    edit(path, change)
    Path(path).write_text(json.dumps(sealed(json.loads(Path(path).read_text()), Path(path).name)))
