"""A model card for its readers: Markdown, and the same as a page. Pure functions over its facts."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.artifacts.evaluation import AlarmThreshold, BehaviourResult, Slice
from pipelines.artifacts.version_card import CardCalibration, GateFacts, Verification, VersionCard
from pipelines.json_text import JsonObject

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~])")
ORIGIN = ("data_version", "feature_service", "registry_hash", "as_of")  # of the data, as shown
SLICES = 8  # of each column that are shown, largest first
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }}
table {{ border-collapse: collapse; margin: .5rem 0 }} th, td {{ border: 1px solid #d5dae3; padding: .2rem .6rem }}
th {{ background: #f3f5f9; text-align: left }} td {{ overflow-wrap: anywhere }} code {{ background: #f3f5f9 }}
</style></head><body>
{body}</body></html>
"""
COMPRESSED = {  # what `training.compression` did, and what of it is told: by key of model.json, in words
    "prune": {
        "share": "weights asked to be zero, as a share",
        "zero_share": "weights that are zero, as a share",
        "fine_tune_epochs": "epochs after pruning",
    },
    "quantize": {
        "products": "matrix products of 8-bit integers",
        "difference": "largest change of a score on validation",
        "mean_difference": "mean change of a score on validation",
        "max_difference": "largest change allowed",
    },
    "distil": {
        "teacher_family": "teacher",
        "teacher_sha256": "sha256 of the teacher",
        "temperature": "temperature",
        "alpha": "share of the teacher in the loss",
    },
}


def markdown(card: VersionCard) -> str:
    """The card for a reader; what people wrote is escaped."""
    declared, data, inputs = card.declared, card.data, card.inputs
    windows = [
        (name, *data.windows[name], data.rows.get(name, ""))
        for name in ("train", "validation", "test")
        if name in data.windows
    ]
    window = " to ".join(map(str, card.window)) if card.window else "an unknown window"
    files = [(f"{folder}/{file}", sha) for folder, digests in card.sha256.items() for file, sha in digests.items()]
    parts = [
        f"# {_text(card.name)}, version {_text(card.version)}",
        f"{_text(card.family)}. Owner: {_text(declared.owner)}.",
        "## Purpose",
        _text(declared.purpose),
        "## Limits",
        _text(declared.limits),
        "## Ethics",
        _text(declared.ethics),
        "## Data",
        _table(("", ""), [(key, getattr(data, key)) for key in ORIGIN]),
        _table(("window", "from", "to (exclusive)", "rows"), windows),
        f"Inputs: {len(inputs.numeric)} numeric, {len(inputs.categorical)} categorical.",
        _text(", ".join((*inputs.numeric, *inputs.categorical))),
        "## Training",
        _refit(card.refit),
        _table(("setting", "value"), list(card.parameters.items())),
        "## Compression",
        *compression(card.compression.as_json()),
        "## Metrics",
        _text(f"On {card.rows} rows of {card.days} days, {window}.") + " Intervals of 95 % are from resampled days\\.",
        _table(("metric", "value", "low", "high"), [(name, *values) for name, values in card.metrics.items()]),
        "## Slices",
        *[part for column, entries in card.slices.items() for part in _slices(column, entries)],
        "## Calibration",
        *_calibration(card.calibration),
        "## Decision threshold",
        *_threshold(card.threshold),
        "## Behaviour",
        *_behaviour(card.behaviour),
        "## Gate",
        *_gate(card.gate),
        "## Lineage",
        _table(("", ""), list(card.lineage.items())),
        _table(("library", "version"), list(card.environment.items())),
        "## Files",
        _table(("file", "sha256"), files),
        "## Verification",
        *_verification(card.verification),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(card: VersionCard) -> str:
    """The same as HTML; markup in what people wrote stays text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(card))
    return PAGE.format(title=html.escape(f"{card.name} {card.version}"), body=body)


def _refit(refit: bool) -> str:
    if refit:
        return _text(
            "Refitted on training and validation rows together; calibration and threshold are those of the first fit."
        )
    return _text("Fitted on the training window alone.")


def compression(done: Mapping[str, JsonObject]) -> list[str]:
    """What was done to a network so that it serves more cheaply, and what that cost; `done` is of model.json."""
    rows = [
        (how, words, done[how][key]) for how, shown in COMPRESSED.items() if how in done for key, words in shown.items()
    ]
    return [_table(("how", "what", "value"), rows) or _text("None.")]


def _slices(column: str, entries: Sequence[Slice]) -> list[str]:
    ranked = sorted((e for e in entries if e.ranked), key=_by_area)
    shown = [*entries[:SLICES], *(entry for entry in ranked[:1] if entry not in entries[:SLICES])]
    rows = [
        (e.value, e.rows, *(e.metric(name) for name in ("roc_auc", "log_loss", "calibration_error"))) for e in shown
    ]
    worst = f", worst {ranked[0].value}" if ranked else ", none large enough to be ranked"
    return [
        f"By {_text(column)}: {len(entries)} slices{_text(worst)}",
        _table((column, "rows", "ROC AUC", "log loss", "calibration error"), rows),
    ]


def _by_area(entry: Slice) -> tuple[bool, float]:
    area = entry.metric("roc_auc")
    return (area is None, area or 0.0)


def _calibration(calibration: CardCalibration) -> list[str]:
    losses = calibration.held_out_log_loss
    if calibration.asked != "auto":
        why = "asked for by training.calibration"
    elif losses:
        why = "chosen by auto: fitted on the first half of the validation days, it lost least on the second half"
    else:
        why = "chosen by auto, which had nothing to compare: validation has one day, or one class in a half of its days"
    points = [(p["mean_score"], p["observed_rate"], int(p["rows"])) for p in calibration.reliability]
    ranked = sorted(losses.items(), key=lambda item: math.inf if item[1] is None else item[1])
    return [
        _text(f"Method: {calibration.method}, {why}."),
        _table(("method", "log loss on the second half"), ranked),
        _text("On the test window, in bins of equally many rows:"),
        _table(("mean score", "observed rate", "rows"), points),
    ]


def _threshold(threshold: AlarmThreshold | None) -> list[str]:
    if threshold is None:
        return [_text("The evaluation does not say.")]
    return [
        _text(
            f"A score of {_shown(threshold.value)} or more is an alarm: on validation that cost least. On the test "
            f"window {threshold.alarms:.1%} of the rows are alarms, and a row costs what the metric cost says."
        ),
        _table(
            ("outcome of a row", "costs"), [(what.replace("_", " "), cost) for what, cost in threshold.costs.items()]
        ),
    ]


def _behaviour(results: Sequence[BehaviourResult]) -> list[str]:
    rows = [(r.name, r.kind, r.status.replace("_", " "), r.rows, r.reason) for r in results]
    return [_table(("test", "kind", "outcome", "rows", "why"), rows) or _text("No test is declared.")]


def _gate(gate: GateFacts) -> list[str]:
    names = [name for name in gate.against if name.endswith("_delta")]
    ends = ("", "_low", "_high")
    deltas = [(n.removesuffix("_delta"), *(gate.against.get(f"{n}{end}") for end in ends)) for n in names]
    measured = list(gate.measured.items())
    return [
        _text(f"Decision {gate.decision_id}."),
        _table(("metric", "verdict", "why"), gate.findings),
        _text("Measured by the gate (another number each time, so no part of the decision's name):")
        if measured
        else "",
        _table(("metric", "measured"), measured),
        _text("Minus the champion on the same rows:") if deltas else "",
        _table(("metric", "difference", "low", "high"), deltas),
    ]


def _verification(report: Verification | None) -> list[str]:
    if report is None:
        return ["Not rebuilt yet\\."]
    return [_table(("", ""), [(key, value) for key, value in report.as_json().items() if value not in (None, {})])]


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
