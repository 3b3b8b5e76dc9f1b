"""What the prediction log holds: requests, features, scores and, later, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from pipelines.records.database import METADATA, Instant, Numbers, text_of


class Lack(StrEnum):
    """Why stored features of a prediction were left out."""

    STORE = "store"  # it did not answer
    STALE = "stale"  # a row was older than its view's ttl, or of the future


PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("entity", sa.String(128), nullable=False),
    sa.Column("block", sa.String(128), nullable=False),
    sa.Column("closes_at", Instant, nullable=False),
    sa.Column("predicted_at", Instant, nullable=False),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("features", sa.JSON, nullable=False),
    sa.Column("ages", sa.JSON, nullable=False),
    sa.Column("plan", sa.Integer, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("served", sa.String(16), nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("scores", Numbers, nullable=False),
    sa.Column("milliseconds", sa.JSON, nullable=False),
    sa.Column("errors", sa.JSON, nullable=False),
    sa.Column("failed", sa.Boolean, nullable=False),  # whether there are errors, for the index below
    sa.Column("decision", sa.Boolean),
    sa.Column("lacks", text_of(Lack, 8)),
    sa.Column("layout", sa.String(16)),  # of `inputs`; without one, `features` and `ages` have what they say
    sa.Column("inputs", sa.LargeBinary),
    sa.Column("further", sa.JSON),
    # covers the query that a waiting rollout runs every second, so that it reads no rows
    sa.Index("ix_predictions_progress", "usecase", "plan", "predicted_at", "closes_at", "block", "failed"),
)
OUTCOMES = sa.Table(
    "outcomes",
    METADATA,
    sa.Column("usecase", sa.String(64), primary_key=True),
    sa.Column("prediction_id", sa.String(128), primary_key=True),
    sa.Column("label", sa.Float, nullable=False),
    sa.Column("known_at", Instant, nullable=False),
    sa.Index("ix_outcomes_known_at", "usecase", "known_at"),
)


@dataclass(frozen=True)
class Prediction:
    """One answered request.

    Attributes:
        entity: the key of the sticky split.
        block: name of the dependence block. A request that is independent of every other one is its own: the block has
            the name `prediction_id` and closes at `predicted_at`.
        closes_at: the instant from which no further request belongs to the block; it is before `predicted_at` where
            this one came late.
        predicted_at: by the injected clock.
        request: the fields of the request.
        features: every value that a version in the plan reads, stale ones excluded; None where it was missing.
        ages: seconds since the row of a stored feature was known; None where there was no row.
        plan: version of the routing plan in force.
        share: the challenger's share in force.
        served: the registered version that answered: the one that the plan assigns the entity to, or, if that failed,
            the other one. Plan and entity determine which was assigned; `errors` names those that failed.
        score: the answer; None if every version failed.
        scores: of every version in the plan, by registered version; None where it failed.
        milliseconds: by registered version.
        errors: messages by registered version; empty where none failed.
        decision: whether the score reaches the threshold of the version that answered, at which alarms cost least;
            None where nothing answered, or before decisions were kept.
        lacks: why stored features were left out, if some were.
        further: by name, the further outputs of the version that answered; a value is None where it is no probability.
            None where the version has none.
    """

    prediction_id: str
    entity: str
    block: str
    closes_at: datetime
    predicted_at: datetime
    request: Mapping[str, Any]
    features: Mapping[str, Any]
    ages: Mapping[str, float | None]
    plan: int
    share: float
    served: str
    score: float | None
    scores: Mapping[str, float | None]
    milliseconds: Mapping[str, float]
    errors: Mapping[str, str]
    decision: bool | None = None
    lacks: Lack | None = None
    further: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class Batch:
    """Predictions of one run as columns, each with a value for each of N requests; as `Prediction` where not said.

    Attributes:
        closes_at: microseconds since 1970.
        requests: JSON texts.
        layout: names that of `inputs`, which `InputLayouts` has; None where no inputs are known.
        scores: by version, of all that scored.
        milliseconds: of the run; its first prediction carries them.
        errors: of those requests that have any, by position.
        further: None where no version has further outputs.
    """

    plan: int
    share: float
    at: datetime
    ids: list[str]
    entities: list[str]
    blocks: list[str]
    closes_at: list[int]
    requests: list[str]
    layout: str | None
    inputs: Sequence[bytes | None]
    served: list[str]
    score: list[float]
    scores: Mapping[str, Sequence[float | None]]
    milliseconds: Mapping[str, float]
    errors: Mapping[int, Mapping[str, str]]
    decisions: list[bool | None]
    lacks: list[Lack | None]
    further: Sequence[Mapping[str, float | None] | None] | None = None


COLUMNS = [PREDICTIONS.c[field.name] for field in fields(Prediction)]


class Observation(NamedTuple):
    """The part of a prediction that the judge needs: no request and no features, but the outcome.

    Attributes:
        label, known_at: of the outcome; None where there is none.
        slices: the fields of the request that were asked for, in their order; None where it has none.
    """

    entity: str
    block: str
    closes_at: datetime
    predicted_at: datetime
    plan: int
    share: float
    served: str
    scores: Mapping[str, float | None]
    milliseconds: Mapping[str, float]
    errors: Mapping[str, str]
    label: float | None
    known_at: datetime | None
    slices: tuple[Any, ...] = ()


OBSERVED = [(OUTCOMES if name in ("label", "known_at") else PREDICTIONS).c[name] for name in Observation._fields[:-1]]


class Progress(NamedTuple):
    """Counts of the predictions under some plans.

    Attributes:
        failed: predictions of which a version failed.
        blocks: closed blocks with predictions, besides those of single requests.
        alone: requests that are blocks of their own, closed as well.
    """

    predictions: int
    failed: int
    blocks: int
    alone: int


class Arrival(StrEnum):
    """How a reported outcome was handled."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CONTRADICTS = "contradicts"
    UNKNOWN = "unknown"
