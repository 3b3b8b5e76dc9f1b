"""The check of outcomes: with outcomes permuted before any feature is built, nothing is left to learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract.altering import with_other_outcomes
from pipelines.contract.report import CheckReport, Skipped
from pipelines.contract.subject import CheckedUseCase
from pipelines.instants.arrow import INSTANT, convert
from pipelines.offline.columns import to_frame
from pipelines.request_columns import with_features
from pipelines.usecase import DAY, KNOWN_AT, LABEL, PREDICTED_AT, Tables, inputs_of

if TYPE_CHECKING:
    import pandas as pd

FEW = 30  # positives, and negatives, that are held out at least
ERRORS = 3.0  # standard errors of a ROC AUC around one half
AT = "__at"
DECLARE = "declare `outcomes`, by raw table the columns that only the future tells"


def outcomes(subject: CheckedUseCase) -> CheckReport:
    """With permuted outcomes a model scores no better than chance on unseen days."""
    columns = getattr(subject.usecase, "outcomes", None)
    if not columns:
        raise Skipped(DECLARE)
    dealt = with_other_outcomes(subject.tables, columns, subject.draw())
    before, after = (subject.examples(subject.window, subject.reach.end, tables) for tables in (None, dealt))
    if subject.due(before)[LABEL].equals(subject.due(after)[LABEL]):
        return CheckReport([f"no label changes when the outcomes ({_listing(columns)}) are others; {DECLARE}"])
    frame = joined(subject, subject.due(after), dealt)
    days = np.unique(frame[DAY])
    held_out = (frame[DAY] >= days[len(days) * 2 // 3]).to_numpy()
    if not frame[LABEL].isin([0, 1]).all():
        raise Skipped("some label is neither 0 nor 1; correct that first")
    positive = frame[LABEL][held_out].to_numpy() == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if len(days) < 3 or min(ones, zeros) < FEW or frame[LABEL][~held_out].nunique() < 2:
        raise Skipped(f"{len(days)} days hold out {ones} positive and {zeros} negative labels; give a longer window")
    auc = _auc(subject, frame, held_out)
    bar = ERRORS * np.sqrt((ones + zeros + 1) / (12 * ones * zeros))
    if abs(auc - 0.5) > bar:
        return CheckReport(
            [
                f"with outcomes that were dealt to other rows, features of {subject.service} still tell labels: "
                f"ROC AUC {auc:.3f} of {ones + zeros} held-out rows, where chance is 0.5 +- {bar:.3f}; "
                "a feature reads the outcome of its own row"
            ]
        )
    return CheckReport(notes=[f"ROC AUC {auc:.3f} of {ones + zeros} held-out rows, where chance is 0.5 +- {bar:.3f}"])


def joined(subject: CheckedUseCase, examples: pa.Table, tables: Tables) -> pd.DataFrame:
    """The labelled examples with the inputs of the service, each view as of the prediction: what Feast would join."""
    labelled = examples.filter(pc.is_valid(examples[LABEL]))
    frame = with_features(subject.usecase, to_frame(labelled)).assign(**{AT: _micros(labelled[PREDICTED_AT])})
    for names, rows, keys, ttl in _projections(subject, tables):
        frame = _as_of(frame.drop(columns=[name for name in names if name in frame]), rows, keys, ttl)
    return frame.reindex(columns=[DAY, LABEL, *inputs_of(subject.usecase, subject.service).names])


def _projections(subject: CheckedUseCase, tables: Tables) -> Iterator[tuple[list[str], pd.DataFrame, list[str], int]]:
    """For each stored view of the service its features, their rows with AT, its keys, and its ttl in microseconds."""
    from feast import FeatureService

    from pipelines.offline.repository import declarations_of
    from pipelines.offline.sources import keys_of, source_of

    services = {one.name: one for one in declarations_of(subject.usecase) if isinstance(one, FeatureService)}
    if subject.service not in services:
        raise Skipped(f"feature_repo declares no service {subject.service}, which models are trained on; declare it")
    by_name = {table.name: table for table in subject.usecase.feature_tables}
    for projection in services[subject.service].feature_view_projections:
        if projection.name not in by_name or projection.name not in subject.views:
            continue  # on demand
        view = subject.views[projection.name]
        declared = {stored: name for name, stored in source_of(view).stored.items()}
        rows = subject.build(by_name[view.name], subject.window, tables)
        rows = rows.rename_columns([declared.get(name, name) for name in rows.column_names])
        names = [field.name for field in projection.features if field.name in rows.column_names]
        frame = to_frame(rows.select([*keys_of(view), *names])).assign(**{AT: _micros(rows[KNOWN_AT])})
        yield names, frame, keys_of(view), int(view.ttl.total_seconds() * 10**6) if view.ttl else 0


def _as_of(frame: pd.DataFrame, rows: pd.DataFrame, keys: list[str], ttl: int) -> pd.DataFrame:
    """The frame with the latest row of each entity that is known by AT, and no older than the ttl."""
    import pandas as pd

    rows = rows.dropna(subset=keys).sort_values(AT, kind="stable")
    left = frame.sort_values(AT, kind="stable")
    return pd.merge_asof(left, rows, on=AT, by=keys or None, tolerance=ttl or None)


def _micros(instants: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(convert(instants, INSTANT, "UTC").cast(pa.int64()))


def _auc(subject: CheckedUseCase, frame: pd.DataFrame, held_out: np.ndarray[Any, Any]) -> float:
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    inputs = inputs_of(subject.usecase, subject.service)
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in inputs.numeric}
    codes = {name: pd.factorize(frame[name], sort=False)[0] for name in inputs.categorical}
    columns = pd.DataFrame({**numbers, **codes}, dtype="float64")
    values = columns.loc[
        :, columns[~held_out].notna().any()
    ].to_numpy()  # inputs without any value in training carry no information
    model = HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=50, random_state=subject.seed)
    model.fit(values[~held_out], frame[LABEL][~held_out])
    return float(roc_auc_score(frame[LABEL][held_out], model.predict_proba(values[held_out])[:, 1]))


def _listing(columns: Any) -> str:
    return "; ".join(f"{table}: {', '.join(names)}" for table, names in columns.items())
