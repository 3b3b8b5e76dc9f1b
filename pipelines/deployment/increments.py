"""The increments of a look, one mean difference for each block, as the recorded decision has them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.judge import Blocks

MOST = 400  # most blocks that are recorded one by one: more days than a rollout lasts, about 20 kB


def recorded_increments(blocks: Blocks) -> JsonObject:
    """`increments`: the mean difference of each block by its name.

    Of more blocks than MOST, `increments` is None, and `increments_in_short` has their number, the mean of their means
    and the sha256 of the full `increments` (JSON with sorted keys), for comparison with a later reading of the log.
    """
    means = {str(name): float(value) for name, value in zip(blocks.ids, blocks.difference, strict=True)}
    if len(means) <= MOST:
        return {"increments": means}
    content = json.dumps(means, sort_keys=True).encode()
    short = {
        "blocks": len(means),
        "mean": float(blocks.difference.mean()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return {"increments": None, "increments_in_short": short}
