"""The flights' features: knowledge times hold, and a day is the same however it is built."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.usecase import KNOWN_AT, LABEL, LABEL_KNOWN_AT, PREDICTED_AT
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window
from tests.flights.sources import USECASE, tables

START, END = date(2013, 1, 1), date(2013, 1, 21)
RAW = tables(START, END)
WINDOW = Window(START, END, USECASE.timezone)
DAILY = [feature_table for feature_table in USECASE.feature_tables if feature_table.daily]


def altered_after(cut: datetime, seed: int) -> dict[str, pa.Table]:
    """The raw tables with every value that became known after `cut` replaced by another that could have been."""
    draw = np.random.default_rng(seed)
    frame = query("select * from departures", RAW, {}).to_pandas()
    later = draw.integers(1, 300, len(frame))
    leaves, lands = ~(frame.dep_at <= cut), ~(frame.arr_at <= cut)  # never known counts as later
    still = np.where(leaves, np.maximum(0, (pd.Timestamp(cut) - frame.sched_dep_at).dt.total_seconds() // 60 + 1), 0)
    due = np.maximum(0, (pd.Timestamp(cut) - frame.sched_arr_at).dt.total_seconds() // 60 + 1)
    frame["dep_delay"] = frame.dep_delay.astype("Int32").mask(leaves, pd.Series(still + later).astype("Int32"))
    frame["arr_delay"] = frame.arr_delay.astype("Int32").mask(lands, pd.Series(due + later[::-1]).astype("Int32"))
    flights = pa.Table.from_pandas(
        frame[RAW["flights"].column_names], schema=RAW["flights"].schema, preserve_index=False
    )
    weather = RAW["weather"].to_pandas()
    unseen = weather.time_hour + pd.Timedelta(hours=1) > cut
    for column in ("temp", "wind_speed", "visib", "precip"):
        weather.loc[unseen, column] = draw.uniform(0, 9, unseen.sum())
    observed = pa.Table.from_pandas(weather, schema=RAW["weather"].schema, preserve_index=False)
    return {**RAW, "flights": flights, "weather": observed}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("feature_table", DAILY, ids=lambda feature_table: feature_table.name)
def test_nothing_known_before_a_cut_moves_when_records_after_it_do(feature_table, seed: int) -> None:  # type: ignore[no-untyped-def]
    cut = datetime(2013, 1, 14, 3 + 5 * seed, 7 * seed, tzinfo=UTC)
    changed = altered_after(cut, seed)
    before, after = (
        USECASE.build(feature_table, {name: source[name] for name in feature_table.sources}, WINDOW)
        for source in (RAW, changed)
    )
    known = [rows.filter(known_by(rows, cut)) for rows in (before, after)]
    assert known[0].num_rows > 10
    assert known[0].equals(known[1])
    if seed == 0:
        assert not before.equals(after), "the alteration must show somewhere, or this test proves nothing"


def known_by(rows: pa.Table, cut: datetime) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.less_equal(rows[KNOWN_AT], pa.scalar(cut))


@pytest.mark.parametrize("feature_table", DAILY, ids=lambda feature_table: feature_table.name)
def test_a_day_is_the_same_alone_and_in_a_longer_window(feature_table) -> None:  # type: ignore[no-untyped-def]
    whole = USECASE.build(feature_table, {name: RAW[name] for name in feature_table.sources}, WINDOW)
    for day in (START, date(2013, 1, 9), date(2013, 1, 20)):
        window = Window(day, day + timedelta(1), USECASE.timezone)
        reach = window.widened(feature_table.lookback_days, START)
        sources = {name: tables(reach.start, reach.end)[name] for name in feature_table.sources}
        alone = USECASE.build(feature_table, sources, window)
        known = whole[KNOWN_AT].to_pandas()
        assert alone.equals(whole.filter(pa.array((known >= window.start_at) & (known < window.end_at))))


def test_trailing_windows_equal_a_plain_computation() -> None:
    """The as-of differences of running sums against a loop over flights, at a few instants."""
    sources = {name: RAW[name] for name in ("flights", "airports")}
    built = USECASE.build(table("origin_state"), sources, WINDOW).to_pandas()
    flights = query("select origin, dep_at, sched_dep_at, dep_delay, day_began_at from departures", RAW, {}).to_pandas()
    for _, row in built.sample(60, random_state=1).iterrows():
        at, here = row[KNOWN_AT], flights[flights.origin == row.origin]
        for hours in (1, 2, 4):
            left = here[(here.dep_at > at - pd.Timedelta(hours=hours)) & (here.dep_at <= at)]
            expected = left.dep_delay.mean() if len(left) else np.nan
            assert row[f"origin_dep_delay_{hours}h"] == pytest.approx(expected, nan_ok=True, rel=1e-5)
        due = np.maximum(here.sched_dep_at + pd.Timedelta(minutes=15), here.day_began_at)
        overdue = here.sched_dep_at + pd.Timedelta(hours=4)
        waiting = (due <= at) & (at <= overdue) & ~(here.dep_at <= at)
        assert row.origin_waiting == waiting.sum()


def test_trailing_rates_equal_a_plain_computation() -> None:
    sources = {name: RAW[name] for name in ("flights", "airports")}
    built = USECASE.build(table("carrier_stats"), sources, WINDOW).to_pandas()
    flights = query(
        "select carrier, arr_at, arr_delay from departures where arr_delay is not null", RAW, {}
    ).to_pandas()
    for _, row in built.sample(40, random_state=1).iterrows():
        landed = flights[(flights.carrier == row.carrier) & (flights.arr_at < row[KNOWN_AT])]
        week = landed[landed.arr_at >= row[KNOWN_AT] - pd.Timedelta(days=7)]
        assert row.carrier_flights_7d == len(week)
        assert row.carrier_late_rate_7d == pytest.approx(
            (week.arr_delay >= 15).mean() if len(week) else np.nan, nan_ok=True
        )
        assert row.carrier_late_rate_28d == pytest.approx((landed.arr_delay >= 15).mean())


def table(name: str):  # type: ignore[no-untyped-def]
    return next(feature_table for feature_table in USECASE.feature_tables if feature_table.name == name)


def test_labels_mature_on_landing_and_within_the_declared_time() -> None:
    frame = USECASE.examples({name: RAW[name] for name in ("flights", "airports")}, WINDOW).to_pandas()
    assert frame.example_id.is_unique and len(frame) == RAW["flights"].num_rows
    assert (frame[LABEL].isna() == frame[LABEL_KNOWN_AT].isna()).all()
    waited = frame[LABEL_KNOWN_AT] - frame[PREDICTED_AT]
    assert waited.min() > pd.Timedelta(minutes=60) and waited.max() <= USECASE.maturity
    assert frame[LABEL].mean() == pytest.approx((RAW["flights"].to_pandas().arr_delay.dropna() >= 15).mean())


def test_arrival_times_are_the_destinations() -> None:
    """JFK to LAX takes about six hours, to San Juan about four, whatever the clocks there say."""
    frame = USECASE.examples({name: RAW[name] for name in ("flights", "airports")}, WINDOW).to_pandas()
    minutes = (frame.sched_arr_at - frame.sched_dep_at).dt.total_seconds() / 60
    by_dest = minutes.groupby(frame.dest).median()
    assert 340 < by_dest["LAX"] < 400 and 200 < by_dest["SJU"] < 260
    assert minutes.between(30, 720).all()


def test_request_features_work_row_by_row() -> None:
    frame = USECASE.examples({name: RAW[name] for name in ("flights", "airports")}, WINDOW).to_pandas().head(500)
    whole = USECASE.request_features(frame)
    parts = pd.concat([USECASE.request_features(frame.iloc[[n]]) for n in range(0, 500, 50)])
    pd.testing.assert_frame_equal(whole.iloc[::50], parts)
    assert "dep_minute" not in frame.columns
