"""The plots of an evaluation, as PNG; the same evaluation gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.artifacts.evaluation import Evaluation, Slice, WorstSlice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREY, RED = "#1f5fa8", "#888888", "#b3261e"
INPUTS, SLICES, LETTERS = 15, 20, 40  # inputs, and slices of a column, that are drawn; letters of a name

RANKED, UNRANKED, WORST = "ranked", "too few rows to be ranked", "worst of the ranked"
KINDS = {RANKED: ("o", BLUE), UNRANKED: ("x", GREY), WORST: ("D", RED)}


def pictures(evaluation: Evaluation, tables: Mapping[str, pd.DataFrame]) -> dict[str, bytes]:
    """By file name: curves.png, cost.png, importance.png, slices.png.

    Args:
        tables: roc, precision_recall, calibration, cost and importance, with the columns of their CSV files.
    """
    window, threshold = evaluation.window or ("?", "?"), evaluation.threshold
    subject = f"{evaluation.family}, test window {window[0]} to {window[1]}"
    slices = {column: entries or () for column, entries in evaluation.slices.items()}
    at = threshold.value if threshold else float("nan")
    return {
        "curves.png": curves_png(subject, tables["roc"], tables["precision_recall"], tables["calibration"]),
        "cost.png": cost_png(subject, tables["cost"], at, evaluation.metrics["cost"]),
        "importance.png": importance_png(subject, tables["importance"]),
        "slices.png": slices_png(subject, slices, evaluation.worst_slice, evaluation.metrics["roc_auc"]),
    }


def curves_png(subject: str, roc: pd.DataFrame, precision_recall: pd.DataFrame, calibration: pd.DataFrame) -> bytes:
    """ROC, precision over recall, and reliability, each with the line of no skill or of no error."""
    figure = _figure(f"Ranking and calibration: {subject}", 13, 4.4)
    first, second, third = figure.subplots(1, 3)
    first.plot(roc["false_positive_rate"], roc["true_positive_rate"], color=BLUE, label="model")
    first.plot([0, 1], [0, 1], linestyle=":", color=GREY, label="chance")
    first.set(
        title="ROC", xlabel="false positive rate (share of label 0)", ylabel="true positive rate (share of label 1)"
    )
    second.plot(precision_recall["recall"], precision_recall["precision"], color=BLUE, label="model")
    if len(precision_recall):  # with every row an alarm, precision is the share of positives
        base = float(precision_recall["precision"].iloc[-1])
        second.axhline(base, linestyle=":", color=GREY, label=f"share of label 1 ({base:.1%})")
    second.set(title="Precision and recall", xlabel="recall (share of label 1)", ylabel="precision (share of alarms)")
    third.plot(calibration["mean_score"], calibration["observed_rate"], marker="o", color=BLUE, label="bins of scores")
    third.plot([0, 1], [0, 1], linestyle=":", color=GREY, label="no error")
    third.set(title="Reliability", xlabel="mean score (probability)", ylabel="observed rate (share of label 1)")
    for axes, place in ((first, "lower right"), (second, "upper right"), (third, "upper left")):
        axes.set(xlim=(0, 1), ylim=(0, 1))
        _finish(axes, place)
    return _png(figure)


def cost_png(subject: str, curve: pd.DataFrame, threshold: float, cost: float | None) -> bytes:
    """The cost of each threshold, and the model's own threshold."""
    figure = _figure(f"Cost by threshold: {subject}", 8, 4.5)
    axes = figure.subplots()
    axes.plot(curve["threshold"], curve["cost"], color=BLUE, label="mean cost of a row")
    at_threshold = "undefined" if cost is None else f"{cost:.4g}"
    label = f"threshold of the model, {threshold:.3f}: cost {at_threshold}"
    axes.axvline(threshold, linestyle="--", color=RED, label=label)
    axes.set(
        xlim=(0, 1),
        xlabel="threshold (score from which a row is an alarm)",
        ylabel="mean cost of a row (unit of `costs`)",
    )
    _finish(axes, "best")
    return _png(figure)


def importance_png(subject: str, importance: pd.DataFrame) -> bytes:
    """The most important inputs, the largest on top."""
    top = importance.head(INPUTS).iloc[::-1]
    figure = _figure(f"Permutation importance: {subject}", 8, 1.6 + 0.28 * len(top))
    axes = figure.subplots()
    axes.barh(range(len(top)), top["log_loss_rise"], color=BLUE, label=f"{len(top)} of {len(importance)} inputs")
    axes.axvline(0, color=GREY, linewidth=1)
    _name(axes, [_short(name) for name in top["input"]])
    axes.set(xlabel="rise of log loss when the input is shuffled (nats)", ylabel="input")
    _finish(axes, "lower right")
    return _png(figure)


def slices_png(
    subject: str,
    slices: Mapping[str, Sequence[Slice]],
    worst: WorstSlice | None,
    overall: float | None,
) -> bytes:
    """ROC AUC and rows of the largest slices of every column, with the column's worst slice and the overall ROC AUC.

    Args:
        slices, worst: as `pipelines.metrics.slices` gives them.
        overall: ROC AUC of all rows.
    """
    selection = {column: _select_slices(entries) for column, entries in slices.items()}
    tallest = max((len(entries) for entries in selection.values()), default=1)
    figure = _figure(f"ROC AUC by slice: {subject}", max(3.6 * len(selection), 7.5), 2.1 + 0.27 * tallest)
    panels = figure.subplots(1, max(len(selection), 1), squeeze=False, sharex=True)[0]
    for axes, (column, entries) in zip(panels, selection.items(), strict=False):
        if overall is not None:
            axes.axvline(overall, linestyle=":", color=GREY, label="all rows")
        kinds = [_kind(entry, column, worst) for entry in entries]
        for kind, (marker, color) in KINDS.items():
            points = [
                (area, row)
                for row, entry in enumerate(entries)
                if (area := entry.metric("roc_auc")) is not None and kinds[row] == kind
            ]
            axes.scatter(
                [x for x, _ in points], [y for _, y in points], marker=marker, color=color, label=kind, zorder=3
            )
        _name(axes, [f"{_short(e.value)} (n = {e.rows:,}{_note_undefined(e)})" for e in entries])
        count = len(slices[column])
        title = f"{_short(column)}: {len(entries)} of {count}" if count > len(entries) else _short(column)
        axes.set_title(title, parse_math=False)
        axes.set(xlabel="ROC AUC", ylim=(len(entries) - 0.5, -0.5))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("slice (rows)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return _png(figure)


def _kind(entry: Slice, column: str, worst: WorstSlice | None) -> str:
    if not entry.ranked:
        return UNRANKED
    return WORST if worst and (worst.column, worst.value) == (column, entry.value) else RANKED


def _select_slices(entries: Sequence[Slice]) -> list[Slice]:
    """The largest slices of a column, and its worst one; numbers, such as hours, in their order."""
    areas = [(area, n) for n, e in enumerate(entries) if e.ranked and (area := e.metric("roc_auc")) is not None]
    worst = entries[min(areas, key=lambda pair: pair[0])[1]] if areas else None
    largest = list(entries[:SLICES])
    selection = largest if worst is None or worst in largest else [*largest[:-1], worst]
    try:
        return sorted(selection, key=lambda e: float(e.value))
    except ValueError:
        return selection


def _note_undefined(entry: Slice) -> str:
    return ", one class" if entry.metric("roc_auc") is None else ""


def _figure(title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    return figure


def _name(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows. Names come from the data, so a dollar sign in them must not begin a formula."""
    axes.set_yticks(range(len(names)), names, parse_math=False, fontsize=8)


def _short(name: Any) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _finish(axes: Axes, place: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)
    axes.legend(loc=place, fontsize=8)


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    return sink.getvalue()
