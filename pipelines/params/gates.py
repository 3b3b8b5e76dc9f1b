"""Gates of params.yaml: a gate on a metric that is not computed is refused when the file is read."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field

from pipelines.metric_names import AGAINST, BEHAVIOUR_FAILURES, FLOORS, RETRAINING, SCORES
from pipelines.params.section import Section
from pipelines.verdict import Gate


def _among(names: Sequence[str]) -> AfterValidator:
    def require_computed(gate: Gate) -> Gate:
        if gate.metric not in names:
            close = get_close_matches(gate.metric, names, n=2)
            remedy = f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(names)}"
            raise ValueError(f"no metric {gate.metric!r} is computed for it; {remedy}")
        return gate

    return AfterValidator(require_computed)


Score = Annotated[Gate, _among(SCORES)]  # of rows that are scored
Floor = Annotated[Gate, _among(FLOORS)]  # of a candidate
Against = Annotated[Gate, _among(AGAINST)]  # of a candidate and the champion, on the same rows
Retraining = Annotated[Gate, _among(RETRAINING)]  # of a monitored window


def _at_most(metric: str, threshold: float) -> Gate:
    return Gate(metric=metric, direction="at_most", threshold=threshold)


FLOORS_OF_ALL = (
    Gate(metric="roc_auc", direction="at_least", threshold=0.55),
    Gate(metric="skill", direction="at_least", threshold=0.0),
    _at_most("calibration_error", 0.15),
    _at_most("latency_p95_ms", 50),
    _at_most("size_bytes", 50_000_000),
)
NO_FAILURE = _at_most(BEHAVIOUR_FAILURES, 0)  # only where behaviours are declared: without, it never passes


class GateRules(Section):
    floors: Annotated[tuple[Floor, ...], Field(min_length=1)] = FLOORS_OF_ALL
    against_champion: Annotated[tuple[Against, ...], Field(min_length=1)] = (_at_most("log_loss_delta_high", 0.02),)


RETRAIN_WHEN = (_at_most("roc_auc_drop", 0.03), _at_most("calibration_gap", 0.05))
