"""One picture of how a model ranks and how well its probabilities hold."""

from __future__ import annotations

import io

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def curves_png(title: str, roc: pd.DataFrame, precision_recall: pd.DataFrame, calibration: pd.DataFrame) -> bytes:
    """Three panels as PNG; the same curves give the same bytes."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = (
        (roc, "false_positive_rate", "true_positive_rate", "false positive rate", "true positive rate", True),
        (precision_recall, "recall", "precision", "recall", "precision", False),
        (calibration, "mean_score", "observed_rate", "mean score", "observed rate", True),
    )
    for axes, (curve, x, y, x_label, y_label, diagonal) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot(curve[x], curve[y], marker="o" if len(curve) <= 20 else "", color="#1f5fa8")
        if diagonal:
            axes.plot([0, 1], [0, 1], linestyle=":", color="#888888")
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.3)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
    return sink.getvalue()
