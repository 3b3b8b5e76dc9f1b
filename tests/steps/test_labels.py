"""Labels that look ahead: each is that of all records, none counts before its maturity, none reads on unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.instants import midnight
from pipelines.point_in_time import load_examples
from pipelines.steps import execute
from pipelines.usecase import Tables
from pipelines.windows import Window
from tests.toy import Pumps

AS_OF = date(2024, 4, 30)
Desk = Callable[..., Context]


@dataclass(frozen=True)
class Ahead(Pumps):
    """Is the pump serviced at one of the readings of the `days` that follow?

    Attributes:
        known: how long after the prediction a label is known; by default when it happens, or never can.
    """

    maturity: timedelta = timedelta(days=3)
    looks_ahead: timedelta = timedelta(days=3)
    days: int = 3
    known: timedelta | None = None

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        made = super().examples(tables, window).to_pandas()
        rows = tables["readings"].to_pandas()
        serviced = {pump: group.read_at[group.serviced].sort_values() for pump, group in rows.groupby("pump")}
        next_at = pd.Series(
            [
                next(iter(serviced[pump][serviced[pump] > at]), pd.NaT)
                for pump, at in zip(made.pump, made.read_at, strict=True)
            ],
            dtype="datetime64[us, UTC]",
        )
        comes = next_at <= made.read_at + timedelta(days=self.days)
        by_then = made.predicted_at + timedelta(days=self.days)
        known_at = made.predicted_at + self.known if self.known else next_at.where(comes, by_then)
        return pa.Table.from_pandas(
            made.assign(label=comes.astype("float64"), label_known_at=known_at), preserve_index=False
        )


@pytest.fixture
def desk(copy_of: Callable[[Path], Context], toy_home: Path) -> Desk:
    """The toy's data with this label."""

    def make(**declared: Any) -> Context:
        context = copy_of(toy_home)
        splits = context.params.splits.model_copy(update={"embargo_days": 3})
        return replace(context, usecase=Ahead(**declared), params=context.params.model_copy(update={"splits": splits}))

    return make


def training_set(context: Context) -> dict[str, pd.DataFrame]:
    as_of = midnight(AS_OF, context.usecase.timezone).isoformat()
    built = execute("build_training_set", {"as_of": as_of, "data_version": "v", "run": "r"}, context)
    frames = ("train", "validation", "test")
    return {name: pd.read_parquet(Path(built["training_set_uri"]) / f"{name}.parquet") for name in frames}


def test_every_label_is_that_of_all_records_and_none_is_younger_than_its_maturity(desk: Desk) -> None:
    context = desk()
    usecase = context.usecase
    whole = context.window(usecase.start, usecase.end)
    truth = load_examples(context, whole).to_pandas().set_index("example_id").label
    assert 0.2 < truth.mean() < 0.9
    for name, frame in training_set(context).items():
        assert frame.label.tolist() == truth[frame.example_id].tolist(), name
        assert len(frame) and (frame.predicted_at + usecase.maturity <= midnight(AS_OF, usecase.timezone)).all()


def test_young_examples_would_be_of_one_class(desk: Desk) -> None:
    """A service is known when it happens, that there was none only after three days."""
    context = desk()
    at = midnight(AS_OF, context.usecase.timezone)
    window = context.window(AS_OF - timedelta(days=3), AS_OF)
    young = load_examples(context, window, at).to_pandas()
    early = young[young.label_known_at <= at]
    assert len(early) > 20 and early.label.eq(1).all()
    assert training_set(context)["test"].local_day.max() == AS_OF - timedelta(days=4)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"looks_ahead": timedelta(0)},
            r"label of \d+@2024\d+ is 0.0, and 1.0 once .* looks_ahead, 0:00:00; declare how far",
        ),
        ({"days": 9, "known": timedelta(3)}, r"reads beyond looks_ahead, 3 days"),
        (
            {"known": timedelta(days=3, seconds=1)},
            r"is known 3 days, 0:00:01 after its prediction, later than the maturity",
        ),
    ],
    ids=["the days of the window alone", "further than it says", "later than it says"],
)
def test_a_label_that_is_not_as_declared_is_refused(desk: Desk, declared: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        training_set(desk(**declared))
