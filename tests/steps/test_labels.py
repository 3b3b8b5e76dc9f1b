"""Labels that look ahead: each equals that from all records, and none counts before its maturity."""

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
        known: how long after the prediction a label is known; by default at the service, or once none can follow.
    """

    maturity: timedelta = timedelta(days=3, hours=1)
    looks_ahead: timedelta = timedelta(days=3)
    days: float = 3
    known: timedelta | None = None

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        frame = super().examples(tables, window).to_pandas()
        rows = tables["readings"].to_pandas()
        serviced = {pump: group.read_at[group.serviced].sort_values() for pump, group in rows.groupby("pump")}
        next_at = pd.Series(
            [
                next(iter(serviced[pump][serviced[pump] > at]), pd.NaT)
                for pump, at in zip(frame.pump, frame.read_at, strict=True)
            ],
            dtype="datetime64[us, UTC]",
        )
        comes = next_at <= frame.read_at + timedelta(days=self.days)
        by_then = frame.predicted_at + timedelta(days=self.days)
        known_at = frame.predicted_at + self.known if self.known else next_at.where(comes, by_then)
        return pa.Table.from_pandas(
            frame.assign(label=comes.astype("float64"), label_known_at=known_at), preserve_index=False
        )


@pytest.fixture
def desk(copy_of: Callable[[Path], Context], toy_home: Path) -> Desk:
    """The toy's data with this label."""

    def make(**declared: Any) -> Context:
        context = copy_of(toy_home)
        splits = context.params.splits.model_copy(update={"embargo_days": 4})
        return replace(context, usecase=Ahead(**declared), params=context.params.model_copy(update={"splits": splits}))

    return make


def training_set(context: Context, hours: int = 0) -> dict[str, pd.DataFrame]:
    """The training frames as of some hours after the midnight of AS_OF."""
    as_of = midnight(AS_OF, context.usecase.timezone) + timedelta(hours=hours)
    built = execute("build_training_set", {"as_of": as_of.isoformat(), "data_version": "v", "run": "r"}, context)
    frames = ("train", "validation", "test")
    return {name: pd.read_parquet(Path(built["training_set_uri"]) / f"{name}.parquet") for name in frames}


@pytest.mark.parametrize("ahead", [6, 24, 30, 72], ids="{} hours".format)
@pytest.mark.parametrize("hours", [0, 15], ids=["at midnight", "in the afternoon"])
def test_every_label_is_that_of_all_records_and_none_counts_before_its_maturity(
    desk: Desk, ahead: int, hours: int
) -> None:
    """Also across a clock change, and where labels look ahead by part of a day."""
    length = timedelta(hours=ahead)
    context = desk(days=ahead / 24, looks_ahead=length, maturity=length + timedelta(minutes=1))
    usecase = context.usecase
    truth = load_examples(context, context.window(usecase.start, usecase.end)).to_pandas().set_index("example_id").label
    frames = training_set(context, hours)
    for name, frame in frames.items():
        assert frame.label.tolist() == truth[frame.example_id].tolist(), name
        assert len(frame) and (frame.predicted_at + usecase.maturity <= midnight(AS_OF, usecase.timezone)).all()
    assert frames["train"].label.nunique() == (1 if ahead == 6 else 2), "the next reading is 24 hours away"


def test_the_day_of_a_clock_change_is_read_whole(desk: Desk) -> None:
    """Labels look one day ahead of a window that ends before the shorter day."""
    context = desk(days=1, looks_ahead=timedelta(days=1))
    usecase = context.usecase
    truth = load_examples(context, context.window(usecase.start, usecase.end)).to_pandas().set_index("example_id").label
    for last in (date(2024, 3, 30), date(2024, 3, 31), date(2024, 4, 1)):
        window = context.window(last, last + timedelta(days=1))
        seen = load_examples(context, window, midnight(AS_OF, usecase.timezone)).to_pandas()
        assert seen.label.tolist() == truth[seen.example_id].tolist()


def test_examples_younger_than_the_maturity_would_have_one_class_only(desk: Desk) -> None:
    """A service is known when it happens; that there was none, only after three days."""
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
            {"known": timedelta(days=3, hours=1)},
            r"is known 3 days, 1:00:00 after its prediction, and not within the maturity",
        ),
    ],
    ids=["the days of the window alone", "further than it says", "later than it says"],
)
def test_a_label_that_contradicts_its_declaration_is_refused(
    desk: Desk, declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        training_set(desk(**declared))
