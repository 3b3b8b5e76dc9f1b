"""JSON files changed in place: by accident, or as the step that wrote them would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.artifacts.seal import sealed

Change = Callable[[dict[str, Any]], Any]


def edit(path: str | Path, change: Change) -> None:
    """A file that carries a digest of its own no longer is what that says."""
    value = json.loads(Path(path).read_text())
    change(value)
    Path(path).write_text(json.dumps(value))


def rewrite(path: str | Path, change: Change) -> None:
    """As `edit`, with its digest made anew."""
    edit(path, change)
    Path(path).write_text(json.dumps(sealed(json.loads(Path(path).read_text()), Path(path).name)))
