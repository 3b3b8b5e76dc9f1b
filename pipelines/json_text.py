"""JSON from outside. A leaf: imports no step."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

JsonObject = dict[str, Any]  # a value of JSON


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is not JSON, nests too deeply, or has a key twice in one object.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0]!r} stands twice in one object")
    return made
