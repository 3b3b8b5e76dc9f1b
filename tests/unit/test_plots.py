"""The pictures of an evaluation: their content, their labels, and odd evaluations."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from pipelines.artifacts.evaluation import Evaluation, Slice
from pipelines.metrics.costs import thin_cost_curve
from pipelines.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from pipelines.metrics.scores import measure
from pipelines.metrics.slices import slice_metrics, worst_slice
from pipelines.params.costs import Costs
from pipelines.training import plots
from tests.artifacts import evaluation

NAMES = ("curves.png", "cost.png", "importance.png", "slices.png")
COSTS = Costs(false_alarm=1, miss=3, true_alarm=0.5)
ODD = "$\\nope$ <b>"  # text that matplotlib would read as an invalid formula


def sample(rows: int = 3000) -> tuple[Evaluation, dict[str, pd.DataFrame]]:
    draw = np.random.default_rng(0)
    scores = draw.beta(1.5, 5, rows)
    labels = (draw.random(rows) < scores).astype(float)
    kinds = np.where(np.arange(rows) < 20, ODD, draw.choice(["a", "b", "c"], rows))
    frame = pd.DataFrame({"kind": kinds, "hour": draw.integers(5, 24, rows)})
    slices = slice_metrics(frame, ["kind", "hour"], labels, scores, 500)
    whole = evaluation(
        window=["2024-03-01", "2024-04-01"],
        slices=slices,
        worst_slice=worst_slice(slices),
        metrics={"roc_auc": measure(labels, scores)["roc_auc"], "cost": 0.5},
        threshold={"value": 0.25, "costs": COSTS.model_dump(), "alarms": 0.3},
    )
    inputs = pd.DataFrame({"input": [f"{ODD}{n}" for n in range(40)], "log_loss_rise": np.linspace(0.2, -0.01, 40)})
    tables = {
        "roc": roc_curve(labels, scores),
        "precision_recall": precision_recall_curve(labels, scores),
        "calibration": calibration_curve(labels, scores),
        "cost": thin_cost_curve(labels, scores, COSTS),
        "importance": inputs,
    }
    return whole, tables


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures drawn for `sample`, by file name."""
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(plots, "_png", keep)
    return dict(zip(plots.pictures(*sample()), drawn, strict=True))


def ticks(figure: Figure, panel: int = 0) -> list[str]:
    return [label.get_text() for label in figure.axes[panel].get_yticklabels()]


def test_the_same_evaluation_gives_the_same_bytes_and_they_are_pictures() -> None:
    first = plots.pictures(*sample())
    assert tuple(first) == NAMES and first == plots.pictures(*sample())
    for content in first.values():
        width, height = Image.open(io.BytesIO(content)).size
        assert width > 600 and height > 200


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_says_what_it_shows(figures: dict[str, Figure], name: str) -> None:
    figure = figures[name]
    assert "mlp, test window 2024-03-01 to 2024-04-01" in str(figure.get_suptitle())
    assert all(axes.get_xlabel() for axes in figure.axes) and figure.axes[0].get_ylabel()
    assert figure.legends or all(axes.get_legend() for axes in figure.axes)


def test_slices_are_drawn_with_their_rows_and_the_worst_is_marked(figures: dict[str, Figure]) -> None:
    figure, (whole, _) = figures["slices.png"], sample()
    kinds, worst = whole.slices["kind"], whole.worst_slice
    assert kinds is not None and worst is not None
    assert ticks(figure) == [f"{e.value} (n = {e.rows:,})" for e in kinds] and ticks(figure)[-1].startswith(ODD)
    assert [name.split()[0] for name in ticks(figure, 1)] == [str(hour) for hour in range(5, 24)]
    at = [e.value for e in kinds].index(worst.value)
    panels = {
        c.get_label(): (np.asarray(c.get_offsets()).tolist(), to_hex(c.get_facecolor()[0]))
        for c in figure.axes[0].collections
    }
    assert panels[plots.WORST] == ([[worst.metric("roc_auc"), at]], plots.RED)
    assert [y for _, y in panels[plots.UNRANKED][0]] == [3] and len(panels[plots.RANKED][0]) == 2
    assert not len(np.asarray(figure.axes[1].collections[-1].get_offsets())), (
        "no hour is ranked, so no hour is the worst"
    )
    assert np.asarray(figure.axes[0].lines[0].get_xdata())[0] == whole.metrics["roc_auc"]


def test_the_worst_slice_is_drawn_however_small_it_is() -> None:
    entries = [Slice(value=f"v{n}", rows=900 - n, ranked=True, roc_auc=0.9 - n / 100) for n in range(30)]
    shown = [entry.value for entry in plots._select_slices(entries)]
    assert shown == [*(f"v{n}" for n in range(plots.SLICES - 1)), "v29"]


def test_the_most_important_inputs_are_on_top(figures: dict[str, Figure]) -> None:
    figure = figures["importance.png"]
    assert ticks(figure) == [f"{ODD}{n}" for n in reversed(range(15))]
    assert [bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)][-1] == 0.2
    legend = figure.axes[0].get_legend()
    assert legend is not None and legend.get_texts()[0].get_text() == "15 of 40 inputs"


def test_the_threshold_lies_on_the_cost_curve(figures: dict[str, Figure]) -> None:
    curve, threshold = figures["cost.png"].axes[0].lines
    assert list(np.asarray(curve.get_ydata())) == list(sample()[1]["cost"]["cost"])
    assert np.asarray(threshold.get_xdata())[0] == 0.25
    assert "0.250: cost 0.5" in str(threshold.get_label())


@pytest.mark.parametrize("slices", [{}, {"kind": [{"value": "a", "rows": 3, "ranked": False, "roc_auc": None}]}])
def test_an_evaluation_without_any_defined_metric_is_drawn_too(slices: dict[str, Any]) -> None:
    whole, tables = sample()
    nothing = {"slices": slices, "worst_slice": None, "metrics": {"roc_auc": None, "cost": None}}
    bare = evaluation(**{**whole.as_json(), **nothing})
    assert set(plots.pictures(bare, {n: table.iloc[:0] for n, table in tables.items()})) == {*NAMES}
