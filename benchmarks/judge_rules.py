"""Rules of the judge, in the form of the section `rollout` of params.yaml."""

from __future__ import annotations

from typing import Any

from pipelines.judge import Rules

# Rows as blocks: independent requests, one entity each; limits count pairs instead of days.
ROWS: dict[str, Any] = {
    "alpha": 0.05,
    "weights": {"quality": 0.7, "catastrophe": 0.1, "errors": 0.1, "slow": 0.1},
    "margin_share": 0.02,
    "catastrophe_share": 0.25,
    "segment_share": 0.15,
    "segment_alpha": 0.05,
    "error_objective": 0.02,
    "slow_margin": 1.5,
    "split_alpha": 0.001,
    "split_strength": 200,
    "min_pairs": 1000,
    "min_positives": 30,
    "min_blocks": 0,
    "max_days": 60,
    "stages": [
        {"share": 0.0, "min_hours": 0, "min_requests": 0, "min_blocks": 0, "min_pairs": 2000},
        {"share": 0.05, "min_hours": 0, "min_requests": 10, "min_blocks": 0, "min_pairs": 2500},
        {"share": 0.25, "min_hours": 0, "min_requests": 50, "min_blocks": 0, "min_pairs": 3000},
        {"share": 0.5, "min_hours": 0, "min_requests": 100, "min_blocks": 0, "min_pairs": 3500},
        {"share": 1.0, "min_hours": 0, "min_requests": 100, "min_blocks": 0, "min_pairs": 4000},
    ],
}

# Days as blocks.
DAYS: dict[str, Any] = {
    **ROWS,
    "min_blocks": 7,
    "stages": [
        {"share": 0.0, "min_hours": 72, "min_requests": 0, "min_blocks": 3, "min_pairs": 1000},
        {"share": 0.05, "min_hours": 48, "min_requests": 50, "min_blocks": 1, "min_pairs": 1000},
        {"share": 0.25, "min_hours": 48, "min_requests": 200, "min_blocks": 1, "min_pairs": 1000},
        {"share": 0.5, "min_hours": 48, "min_requests": 500, "min_blocks": 1, "min_pairs": 1000},
        {"share": 1.0, "min_hours": 24, "min_requests": 500, "min_blocks": 1, "min_pairs": 1000},
    ],
}


def rules(base: dict[str, Any] = ROWS, **changes: Any) -> Rules:
    return Rules.model_validate({**base, **changes})
