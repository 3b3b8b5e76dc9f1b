"""summary.json of a monitored window: the figures that the retraining decision rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipelines.artifacts.document import Document, Frozen, Instant, Number
from pipelines.artifacts.seal import DIGESTS, read_sealed
from pipelines.json_text import JsonObject
from pipelines.periods import PeriodField

if TYPE_CHECKING:
    from pipelines.store import Store

Metrics = dict[str, Number | None]  # None where undefined


class ColumnSummary(Frozen):
    """Drift of one column.

    Attributes:
        distance: None where one side, or both, has no value at all; `why` then says so.
    """

    method: str
    distance: Number | None
    threshold: Number
    drifted: bool
    why: str | None = None


class FeatureHealth(Frozen):
    """How many windows were checked and held, how often each view was, and why."""

    windows: int
    held: int
    held_by_view: dict[str, int]
    reasons: tuple[str, ...]


class Summary(Document):
    """The figures of a monitored window, over all its rows (drift alone rests on samples).

    Attributes:
        window: first period, and the one after the last, as the step was asked for them.
        n_scored, n_labelled, n_reference: rows; of the window, with a label, and of the model's test window.
        drift_share: of the model inputs that could be measured. `unmeasured` names all other columns with the reason.
        metrics, reference_metrics: of the window, and of the model's test window.
        score_drift: distance of the score's distribution.
        feature_health: what the checks of the features said about these days; None where there was none.
        left_out: pictures, pages and reports that are not there, with the reason.
    """

    FILE: ClassVar[str] = "summary.json"
    REMEDY: ClassVar[str] = "run report_drift again"

    window: tuple[PeriodField, PeriodField]
    as_of: Instant
    model_version: str
    n_scored: int
    n_labelled: int
    n_reference: int
    drifted_columns: tuple[str, ...]
    drift_share: Number | None
    unmeasured: dict[str, str]
    columns: dict[str, ColumnSummary]
    metrics: Metrics
    reference_metrics: Metrics
    roc_auc_drop: Number | None
    score_drift: Number | None
    feature_health: FeatureHealth | None
    left_out: dict[str, str]

    @property
    def tracked(self) -> dict[str, float | None]:
        """Its figures by name, as gates and MLflow read them."""
        figures = {"roc_auc_drop": self.roc_auc_drop, "score_drift": self.score_drift, "drift_share": self.drift_share}
        return {**self.metrics, **figures, "n_labelled": self.n_labelled}

    @property
    def figures(self) -> JsonObject:
        """All that it says, without its digest."""
        return {key: value for key, value in self.as_json().items() if key != DIGESTS}


def read_summary(store: Store, uri: str) -> Summary:
    """The summary at a place that a step names.

    Raises:
        MissingData: if it is not there.
        CorruptData: if it was altered, or is no summary of report_drift.
    """
    return Summary.of(read_sealed(store, uri, Summary.REMEDY), uri)
