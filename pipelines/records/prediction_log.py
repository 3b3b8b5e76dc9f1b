"""The prediction log and its outcomes in SQL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from pipelines.records.database import (
    Repository,
    inserted_columns,
    to_json,
    to_micros,
)
from pipelines.records.inputs import InputLayout, InputLayouts
from pipelines.records.predictions import (
    COLUMNS,
    OBSERVED,
    OUTCOMES,
    PREDICTIONS,
    Arrival,
    Batch,
    Observation,
    Prediction,
    Progress,
)

NOTHING = "{}"  # JSON
AT_ONCE = 1000  # ids in one query, which databases limit
PACKED = (PREDICTIONS.c.layout, PREDICTIONS.c.inputs)


class PredictionLog(Repository):
    """Predictions and outcomes of one use case."""

    def __init__(self, engine: sa.Engine, usecase: str) -> None:
        super().__init__(engine, usecase)
        self._layouts = InputLayouts(engine, usecase)
        self._known_layouts: dict[str, InputLayout] = {}

    def keep_layout(self, layout: InputLayout) -> None:
        """Store a layout of inputs, before a batch that has it."""
        self._layouts.keep(layout)

    def append(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Write predictions, all or none, and give the logged predictions of their ids.

        An id that is in the log keeps its first answer: a client that repeats a request gets the same answer.
        """
        if not predictions:
            return []
        rows = [self._row(prediction) for prediction in predictions]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        once = {prediction.prediction_id: prediction for prediction in reversed(predictions)}  # the first of each id
        return self._append(columns) or [once[prediction.prediction_id] for prediction in predictions]

    def append_batch(self, batch: Batch) -> list[Prediction] | None:
        """Write a batch, all or none. None if all of its ids were new; else the logged predictions, as `append`."""
        count = len(batch.ids)
        return self._append(
            {
                "usecase": [self.usecase] * count,
                "prediction_id": batch.ids,
                "entity": batch.entities,
                "block": batch.blocks,
                "closes_at": batch.closes_at,
                "predicted_at": [to_micros(batch.at)] * count,
                "request": batch.requests,
                "features": [NOTHING] * count,
                "ages": [NOTHING] * count,
                "plan": [batch.plan] * count,
                "share": [batch.share] * count,
                "served": batch.served,
                "score": batch.score,
                "scores": _rows_to_json(batch.scores),
                "milliseconds": [to_json(batch.milliseconds), *[NOTHING] * (count - 1)],
                "errors": [to_json(batch.errors[n]) if n in batch.errors else NOTHING for n in range(count)],
                "failed": [n in batch.errors for n in range(count)],
                "decision": batch.decisions,
                "lacks": batch.lacks,
                "layout": [batch.layout] * count,
                "inputs": batch.inputs,
                "further": [_further(one) for one in batch.further] if batch.further else [None] * count,
            }
        )

    def _append(self, columns: Mapping[str, Sequence[Any]]) -> list[Prediction] | None:
        ids = columns["prediction_id"]
        with self.engine.begin() as connection:
            if inserted_columns(connection, PREDICTIONS, columns, "prediction_id") == len(ids):
                return None
            logged = {row.prediction_id: row for row in self._select(connection, [*set(ids)])}
        return [logged[identity] for identity in ids]

    def _row(self, prediction: Prediction) -> dict[str, Any]:
        """A row as the driver takes it."""
        scores = {name: n if n is None or math.isfinite(n) else str(n) for name, n in prediction.scores.items()}
        return {
            **{column.name: getattr(prediction, column.name) for column in COLUMNS},
            "usecase": self.usecase,
            "closes_at": to_micros(prediction.closes_at),
            "predicted_at": to_micros(prediction.predicted_at),
            "request": to_json(prediction.request),
            "features": to_json(prediction.features),
            "ages": to_json(prediction.ages),
            "scores": to_json(scores),
            "milliseconds": to_json(prediction.milliseconds),
            "errors": to_json(prediction.errors),
            "failed": bool(prediction.errors),
            "layout": None,
            "inputs": None,
            "further": _further(prediction.further),
        }

    def get(self, prediction_ids: Sequence[str]) -> list[Prediction]:
        """The predictions with these ids that are in the log; no id with a NUL is, which PostgreSQL would refuse."""
        prediction_ids = [identity for identity in prediction_ids if "\0" not in identity]
        with self.engine.connect() as connection:
            return self._select(connection, prediction_ids)

    def all(self) -> list[Prediction]:
        """Every prediction, in order of `predicted_at` and id."""
        query = sa.select(*COLUMNS, *PACKED).where(PREDICTIONS.c.usecase == self.usecase)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(PREDICTIONS.c.predicted_at, PREDICTIONS.c.prediction_id))
            return self._read(rows.all())

    def _select(self, connection: sa.Connection, ids: Sequence[str]) -> list[Prediction]:
        prediction = PREDICTIONS.c
        query = sa.select(*COLUMNS, *PACKED)
        query = query.where(prediction.usecase == self.usecase, prediction.prediction_id.in_(ids))
        return self._read(connection.execute(query).all())

    def _read(self, rows: Sequence[Any]) -> list[Prediction]:
        if lacking := {row.layout for row in rows if row.layout} - self._known_layouts.keys():
            self._known_layouts |= self._layouts.read(sorted(lacking))
        return [self._prediction(*row[: len(COLUMNS)], layout=row.layout, inputs=row.inputs) for row in rows]

    def _prediction(self, *values: Any, layout: str | None, inputs: bytes | None) -> Prediction:
        prediction = Prediction(*values)
        if layout is None or inputs is None:
            return prediction
        features, ages = self._known_layouts[layout].decode(inputs)
        return replace(prediction, features=features, ages=ages)

    def observations(
        self,
        plans: Sequence[int],
        known_by: datetime,
        since: datetime | None = None,
        slices: Sequence[str] = (),
    ) -> list[Observation]:
        """Predictions under these plans with their outcomes, in order of `predicted_at` and id.

        Only predictions and outcomes from before `known_by` count: others of that instant may arrive after the look.

        Args:
            slices: fields of the requests to tell.
        """
        prediction, outcome = PREDICTIONS.c, OUTCOMES.c
        request = [prediction.request] if slices else []  # whole: PostgreSQL reads no field of one that has a NUL
        query = (
            sa.select(*OBSERVED, *request)
            .select_from(_with_outcomes(outcome.known_at < known_by))
            .where(prediction.usecase == self.usecase, prediction.plan.in_(plans), prediction.predicted_at < known_by)
            .order_by(prediction.predicted_at, prediction.prediction_id)
        )
        if since is not None:
            query = query.where(prediction.predicted_at >= since)
        with self.engine.connect() as connection:
            rows = connection.execute(query)
            if not slices:
                return [Observation(*row) for row in rows]
            return [Observation(*(*row[:-1], tuple(row[-1].get(name) for name in slices))) for row in rows]

    def newest(self, plan: int, known_by: datetime, count: int) -> list[Prediction]:
        """The last predictions under a plan from before `known_by`, at most `count`, newest first."""
        prediction = PREDICTIONS.c
        query = sa.select(*COLUMNS, *PACKED).where(
            prediction.usecase == self.usecase, prediction.plan == plan, prediction.predicted_at < known_by
        )
        query = query.order_by(prediction.predicted_at.desc(), prediction.prediction_id.desc()).limit(count)
        with self.engine.connect() as connection:
            return self._read(connection.execute(query).all())

    def progress(self, plans: Sequence[int], now: datetime, closed_by: datetime) -> Progress:
        """Count the predictions under these plans, from an index alone.

        Args:
            now: predictions from then on do not count.
            closed_by: blocks that closed by then are counted. One whose requests name several instants is counted once
                for each, so that the count changes at every one of them.
        """
        prediction = PREDICTIONS.c
        here = (prediction.usecase == self.usecase, prediction.plan.in_(plans), prediction.predicted_at < now)
        is_closed, is_alone = prediction.closes_at <= closed_by, prediction.closes_at == prediction.predicted_at
        block = prediction.block + " " + sa.cast(sa.type_coerce(prediction.closes_at, sa.BigInteger), sa.String)
        query = sa.select(
            sa.func.count(),
            _number_of(prediction.failed),
            sa.func.count(sa.distinct(sa.case((is_closed & ~is_alone, block)))),
            _number_of(is_closed & is_alone),
        ).where(*here)
        with self.engine.connect() as connection:
            return Progress(*map(int, connection.execute(query).one()))

    def record_outcomes(self, outcomes: Iterable[tuple[str, float, datetime]]) -> list[Arrival]:
        """Record outcomes (prediction id, label, instant from which it is known), and say how each was handled.

        The first label of a prediction is final: a later one that differs is refused, and nothing is overwritten.
        """
        arriving = list(outcomes)
        first = {identity: (label, known_at) for identity, label, known_at in reversed(arriving)}
        while (labels := self._try_outcomes(first)) is None:
            pass  # another process has recorded one of them meanwhile
        arrivals = []
        for identity, label, _ in arriving:
            before = labels.get(identity, label)
            if identity not in labels:
                arrivals.append(Arrival.UNKNOWN)
            elif before is None:
                labels[identity] = label
                arrivals.append(Arrival.RECORDED)
            else:
                arrivals.append(Arrival.REPEATED if before == label else Arrival.CONTRADICTS)
        return arrivals

    def _try_outcomes(self, first: Mapping[str, tuple[float, datetime]]) -> dict[str, float | None] | None:
        """Record label and instant of each prediction that is logged and has none.

        Returns:
            By id of the logged ones the label that was there, None where there was none. None, and nothing is recorded,
            if another process records one of them at the same time.
        """
        with self.engine.connect() as connection:  # what is not committed is undone
            labels = self._labels(connection, [*first])
            new = [identity for identity, label in labels.items() if label is None]
            columns: dict[str, list[Any]] = {
                "usecase": [self.usecase] * len(new),
                "prediction_id": new,
                "label": [first[identity][0] for identity in new],
                "known_at": [to_micros(first[identity][1]) for identity in new],
            }
            if new and inserted_columns(connection, OUTCOMES, columns, "prediction_id") < len(new):
                return None
            connection.commit()
        return labels

    def _labels(self, connection: sa.Connection, ids: Sequence[str]) -> dict[str, float | None]:
        """The labels of the logged ones of some predictions; None where there is none."""
        prediction, outcome = PREDICTIONS.c, OUTCOMES.c
        query = sa.select(prediction.prediction_id, outcome.label).select_from(_with_outcomes())
        query = query.where(prediction.usecase == self.usecase)
        return {
            row[0]: row[1]
            for n in range(0, len(ids), AT_ONCE)
            for row in connection.execute(query.where(prediction.prediction_id.in_(ids[n : n + AT_ONCE])))
        }


def _rows_to_json(columns: Mapping[str, Sequence[float | None]]) -> list[str]:
    """The JSON text of each row of columns of numbers, as `to_json` has it: a column at once is faster."""
    keys = [msgspec.json.encode(name).decode() for name in columns]
    texts = [msgspec.json.encode(numbers).decode()[1:-1].split(",") for numbers in columns.values()]
    return ["{" + ",".join(map("{}:{}".format, keys, row)) + "}" for row in zip(*texts, strict=True)]


def _further(outputs: Mapping[str, float | None] | None) -> str | None:
    return None if outputs is None else to_json(outputs)


def _with_outcomes(*conditions: sa.ColumnElement[bool]) -> sa.FromClause:
    """Predictions, each with its outcome if there is one that meets the conditions."""
    prediction, outcome = PREDICTIONS.c, OUTCOMES.c
    same = (outcome.usecase == prediction.usecase, outcome.prediction_id == prediction.prediction_id)
    return PREDICTIONS.outerjoin(OUTCOMES, sa.and_(*same, *conditions))


def _number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """The number of rows of which a condition holds."""
    return sa.func.coalesce(sa.func.sum(sa.cast(condition, sa.Integer)), 0)
