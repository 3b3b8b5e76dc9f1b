"""A model card as Markdown, and the same as HTML: pure functions of the card."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.artifacts.card import CardInputs
from pipelines.artifacts.evaluation import AlarmThreshold, BehaviourResult, Slice
from pipelines.artifacts.version_card import CardCalibration, CardData, GateFacts, Verification, VersionCard
from pipelines.json_text import JsonObject

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~])")
ORIGIN = ("data_version", "feature_service", "registry_hash", "as_of")  # rows of the table of data
SLICES = 8  # shown for each column, largest first
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }}
table {{ border-collapse: collapse; margin: .5rem 0 }} th, td {{ border: 1px solid #d5dae3; padding: .2rem .6rem }}
th {{ background: #f3f5f9; text-align: left }} td {{ overflow-wrap: anywhere }} code {{ background: #f3f5f9 }}
</style></head><body>
{body}</body></html>
"""
COMPRESSED = {  # the figures of `training.compression` that are shown: keys of model.json, and their labels
    "prune": {
        "share": "share of weights to set to zero",
        "zero_share": "share of weights that are zero",
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
    """The card as Markdown; text that people wrote is escaped."""
    statements = card.declared
    window = " to ".join(map(str, card.window)) if card.window else "an unknown window"
    files = [(f"{folder}/{file}", sha) for folder, digests in card.sha256.items() for file, sha in digests.items()]
    parts = [
        f"# {_text(card.name)}, version {_text(card.version)}",
        f"{_text(card.family)}. Owner: {_text(statements.owner)}.",
        "## Purpose",
        _text(statements.purpose),
        "## Limits",
        _text(statements.limits),
        "## Ethics",
        _text(statements.ethics),
        "## Data",
        *_data(card.data, card.inputs),
        "## Training",
        _refit(card.refit),
        _table(("setting", "value"), list(card.parameters.items())),
        "## Compression",
        *compression(card.compression.as_json()),
        "## Metrics",
        _text(f"On {card.rows} rows of {card.days} days, {window}. Intervals of 95 % are from {_resampled(card)}."),
        _table(("metric", "value", "low", "high"), [(name, *values) for name, values in card.metrics.items()]),
        "## Slices",
        *[part for column, entries in card.slices.items() for part in _slices(column, entries)],
        "## Calibration",
        *_calibration(card.calibration),
        _further(card.further),
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
    """The card as HTML; markup in text that people wrote stays text."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(card))
    return PAGE.format(title=html.escape(f"{card.name} {card.version}"), body=body)


def _data(data: CardData, inputs: CardInputs) -> list[str]:
    windows = [
        (name, *data.windows[name], data.rows.get(name, ""))
        for name in ("train", "validation", "test")
        if name in data.windows
    ]
    return [
        _table(("", ""), [(key, getattr(data, key)) for key in ORIGIN]),
        _table(("window", "from", "to (exclusive)", "rows"), windows),
        f"Inputs: {len(inputs.numeric)} numeric, {len(inputs.categorical)} categorical.",
        _text(", ".join((*inputs.numeric, *inputs.categorical))),
    ]


def _resampled(card: VersionCard) -> str:
    return "resampled days" if card.blocks is None else f"{card.blocks} resampled blocks"


def _refit(refit: bool) -> str:
    if refit:
        return _text(
            "Refitted on training and validation rows together; calibration and threshold are those of the first fit."
        )
    return _text("Fitted on the training window alone.")


def compression(facts: Mapping[str, JsonObject]) -> list[str]:
    """How a network was compressed and what that cost; `facts` is `compression` of model.json."""
    rows = [
        (how, words, facts[how][key])
        for how, labels in COMPRESSED.items()
        if how in facts
        for key, words in labels.items()
    ]
    return [_table(("how", "what", "value"), rows) or _text("None.")]


def _slices(column: str, entries: Sequence[Slice]) -> list[str]:
    ranking = sorted((e for e in entries if e.ranked), key=_by_area)
    entries_shown = [*entries[:SLICES], *(entry for entry in ranking[:1] if entry not in entries[:SLICES])]
    rows = [
        (e.value, e.rows, *(e.metric(name) for name in ("roc_auc", "log_loss", "calibration_error")))
        for e in entries_shown
    ]
    worst = f", worst {ranking[0].value}" if ranking else ", none large enough to be ranked"
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
        why = "set by training.calibration"
    elif losses:
        why = "chosen by auto: fitted on the first half of the validation days, it has the least loss on the second"
    else:
        why = "chosen by auto without a comparison: validation has one day, or a half of its days has one class"
    points = [(p["mean_score"], p["observed_rate"], int(p["rows"])) for p in calibration.reliability]
    ranking = sorted(losses.items(), key=lambda item: math.inf if item[1] is None else item[1])
    return [
        _text(f"Method: {calibration.method}, {why}."),
        _table(("method", "log loss on the second half"), ranking),
        _text("On the test window, in bins of equal size:"),
        _table(("mean score", "observed rate", "rows"), points),
    ]


def _further(further: Sequence[str]) -> str:
    return _text(f"Further outputs, uncalibrated probabilities: {', '.join(further)}.") if further else ""


def _threshold(threshold: AlarmThreshold | None) -> list[str]:
    if threshold is None:
        return [_text("The evaluation does not say.")]
    return [
        _text(
            f"A score of {_format_value(threshold.value)} or more is an alarm; that costs least on validation. "
            f"On the test window {threshold.alarms:.1%} of the rows are alarms; the metric cost is the mean of a row."
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
    measurements = list(gate.measured.items())
    return [
        _text(f"Decision {gate.decision_id}."),
        _table(("metric", "verdict", "why"), gate.findings),
        _text("Measured by the gate (differs from run to run, so it is no part of the decision's id):")
        if measurements
        else "",
        _table(("metric", "measured"), measurements),
        _text("Difference to the champion on the same rows:") if deltas else "",
        _table(("metric", "difference", "low", "high"), deltas),
    ]


def _verification(report: Verification | None) -> list[str]:
    if report is None:
        return ["Not rebuilt yet\\."]
    return [_table(("", ""), [(key, value) for key, value in report.as_json().items() if value not in (None, {})])]


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[_text(_format_value(cell)) for cell in row] for row in rows]
    if not lines:
        return ""
    above = [[_text(head) or " " for head in heads], ["---"] * len(heads)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (*above, *lines))


def _format_value(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """One line of plain text in which nothing is markup."""
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
