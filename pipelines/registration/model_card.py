"""The model card of a version (Mitchell et al. 2019): what it is for, rests on, does well and badly. Pure functions."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~])")
SLICES = 8  # of each column that are shown, largest first
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }}
table {{ border-collapse: collapse; margin: .5rem 0 }} th, td {{ border: 1px solid #d5dae3; padding: .2rem .6rem }}
th {{ background: #f3f5f9; text-align: left }} code {{ background: #f3f5f9 }}
</style></head><body>
{body}</body></html>
"""


def build(
    name: str,
    version: str,
    tags: Mapping[str, str],
    declared: Mapping[str, str],
    card: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    manifest: Mapping[str, Any],
    calibration: Sequence[Mapping[str, Any]],
    decision: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of a card, JSON-able.

    Args:
        tags: of the registered version.
        declared: purpose, limits, ethics and owner, in a person's words.
        card: model.json. `manifest` is the training set's.
        calibration: points of the reliability curve, with mean_score and observed_rate.
        decision: the gate's, as recorded.
    """
    chosen = decision["evidence"].get("chosen") or {}
    champion = decision["evidence"].get("champion") or {}
    return {
        "name": name,
        "version": version,
        "family": card["family"],
        "declared": dict(declared),
        "data": {
            **{key: manifest[key] for key in ("data_version", "feature_service", "registry_hash", "as_of")},
            "rows": manifest.get("rows", {}),
            "windows": manifest["windows"],
        },
        "inputs": card["inputs"],
        "parameters": {**card["params"], "seed": card["seed"]},
        "metrics": {
            metric: [value, *(evaluation.get("intervals", {}).get(metric) or (None, None))]
            for metric, value in sorted(evaluation["metrics"].items())
        },
        "rows": evaluation["rows"],
        "days": evaluation.get("days"),
        "window": evaluation["window"],
        "slices": evaluation["slices"],
        "calibration": [dict(point) for point in calibration],
        "gate": {
            "decision_id": decision["id"],
            "findings": [[f["gate"]["metric"], f["verdict"], f["reason"]] for f in chosen.get("findings", [])],
            "against": champion.get("deltas") or {},
            "measured": decision["evidence"].get("measured") or {},
        },
        "lineage": {key: value for key, value in sorted(tags.items()) if "." not in key and key != "artifacts"},
        "environment": card.get("environment", {}),
        "sha256": tags.get("artifacts", "{}"),
        "verification": None,
    }


def markdown(card: Mapping[str, Any]) -> str:
    """The card for a reader; what people wrote is escaped."""
    declared, data, gate = card["declared"], card["data"], card["gate"]
    windows = [
        (name, *card["data"]["windows"][name], data["rows"].get(name, ""))
        for name in ("train", "validation", "test")
        if name in data["windows"]
    ]
    parts = [
        f"# {_text(card['name'])}, version {_text(card['version'])}",
        f"{_text(card['family'])}. Owner: {_text(declared['owner'])}.",
        "## Purpose",
        _text(declared["purpose"]),
        "## Limits",
        _text(declared["limits"]),
        "## Ethics",
        _text(declared["ethics"]),
        "## Data",
        _table(("", ""), [(key, data[key]) for key in ("data_version", "feature_service", "registry_hash", "as_of")]),
        _table(("window", "from", "to (exclusive)", "rows"), windows),
        f"Inputs: {len(card['inputs']['numeric'])} numeric, {len(card['inputs']['categorical'])} categorical.",
        _text(", ".join((*card["inputs"]["numeric"], *card["inputs"]["categorical"]))),
        "## Metrics",
        _text(f"On {card['rows']} rows of {card['days']} days, {card['window'][0]} to {card['window'][1]}, with 95 % ")
        + "intervals from resampled days\\.",
        _table(("metric", "value", "low", "high"), [(name, *values) for name, values in card["metrics"].items()]),
        "## Slices",
        *[part for column, entries in card["slices"].items() for part in _slices(column, entries)],
        "## Calibration",
        _table(("mean score", "observed rate"), [(p["mean_score"], p["observed_rate"]) for p in card["calibration"]]),
        "## Gate",
        _text(f"Decision {gate['decision_id']}."),
        _table(("metric", "verdict", "why"), gate["findings"]),
        *_against(gate["against"]),
        "## Settings",
        _table(("", ""), list(card["parameters"].items())),
        "## Lineage",
        _table(("", ""), list(card["lineage"].items())),
        _table(("library", "version"), list(card["environment"].items())),
        "## Verification",
        *_verification(card.get("verification")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(card: Mapping[str, Any]) -> str:
    """The same as HTML; markup in what people wrote stays text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(card))
    return PAGE.format(title=html.escape(f"{card['name']} {card['version']}"), body=body)


def _slices(column: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    ranked = sorted((e for e in entries if e["ranked"]), key=lambda e: (e["roc_auc"] is None, e["roc_auc"]))
    shown = [*entries[:SLICES], *(entry for entry in ranked[:1] if entry not in entries[:SLICES])]
    rows = [(e["value"], e["rows"], e["roc_auc"], e["log_loss"], e["calibration_error"]) for e in shown]
    worst = f", worst {ranked[0]['value']}" if ranked else ", none large enough to be ranked"
    return [
        f"By {_text(column)}: {len(entries)} slices{_text(worst)}",
        _table((column, "rows", "ROC AUC", "log loss", "calibration error"), rows),
    ]


def _against(deltas: Mapping[str, Any]) -> list[str]:
    names = [name for name in deltas if name.endswith("_delta")]
    if not names:
        return []
    ends = ("", "_low", "_high")
    rows = [(name.removesuffix("_delta"), *(deltas.get(f"{name}{end}") for end in ends)) for name in names]
    return ["Minus the champion on the same rows:", _table(("metric", "difference", "low", "high"), rows)]


def _verification(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return ["Not rebuilt yet\\."]
    return [_table(("", ""), [(key, value) for key, value in found.items() if value not in (None, {}, [])])]


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[_text(_shown(cell)) for cell in row] for row in rows]
    if not lines:
        return ""
    above = [[_text(head) or " " for head in heads], ["---"] * len(heads)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (*above, *lines))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """One line of plain text in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
