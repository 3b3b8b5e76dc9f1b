"""The flights' features: their values equal plain computations, and no later record moves them."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.declare.tables import feature_rows
from pipelines.instants import midnight
from pipelines.request_columns import with_features
from pipelines.usecase import KNOWN_AT, LABEL, LABEL_KNOWN_AT, PREDICTED_AT, FeatureTable
from pipelines.usecases.flights.departures import query
from pipelines.windows import Window
from tests.examples import costly
from tests.flights.sources import USECASE, tables
from tests.services import thorough

START, END = date(2013, 1, 1), date(2013, 1, 21)
WINDOW = Window(START, END, USECASE.timezone)
DAILY = [feature_table for feature_table in USECASE.feature_tables if feature_table.daily]


@functools.cache
def raw() -> dict[str, pa.Table]:
    """The raw tables of WINDOW, by name."""
    return tables(START, END)


def altered_after(cut: datetime, seed: int) -> dict[str, pa.Table]:
    """The raw tables with everything that became known after `cut` replaced by something else that could have been.

    Of a flight of a day that has begun by then, that is whatever happened to it later (a flight that never left or
    landed may have done so later, though no later than events are declared to be); of a flight of a later day it is the
    whole record, and whether there is one.
    """
    draw = np.random.default_rng(seed)
    flights = query("select * from departures order by all", raw(), {}).to_pandas()
    is_recent = pd.Timestamp(cut) - flights.day_began_at < pd.Timedelta(hours=40)
    leaves, lands = ~(flights.dep_at <= cut) & is_recent, ~(flights.arr_at <= cut) & is_recent
    for column, due, later in (("dep", flights.sched_dep_at, leaves), ("arr", flights.sched_arr_at, lands)):
        still = np.maximum(0, (pd.Timestamp(cut) - due).dt.total_seconds() // 60 + 1)
        delay = pd.Series(still + draw.integers(0, 300, len(flights))).astype("Int32")
        never = draw.random(len(flights)) < 0.1
        drawn = {f"{column}_delay": delay.mask(never), f"{column}_time": clock(draw, len(flights)).mask(never)}
        for name, values in drawn.items():
            flights[name] = flights[name].astype("Int32").mask(later, values)
    flights["air_time"] = flights.air_time.astype("Int32").mask(lands, pd.Series(draw.integers(20, 700, len(flights))))
    unknown = flights.day_began_at > cut
    for column in ("carrier", "flight", "tailnum", "origin", "dest", "distance"):
        flights.loc[unknown, column] = draw.permutation(flights.loc[unknown, column])
    hour, minute = draw.integers(0, 24, len(flights)), draw.integers(0, 60, len(flights))
    scheduled: dict[str, Any] = {"hour": hour, "minute": minute, "sched_dep_time": hour * 100 + minute}
    scheduled["time_hour"] = flights.day_began_at + pd.to_timedelta(hour, unit="h")
    scheduled["sched_arr_time"] = clock(draw, len(flights))
    for column, values in scheduled.items():
        flights[column] = flights[column].mask(unknown, values)
    gone, copied = unknown & (draw.random(len(flights)) < 0.2), unknown & (draw.random(len(flights)) < 0.2)
    flights = pd.concat([flights[~gone], flights[copied].assign(flight=9999)])
    weather = raw()["weather"].to_pandas()
    unseen = weather.time_hour + pd.Timedelta(hours=1) > cut
    for column in ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"):
        weather.loc[unseen, column] = np.where(
            draw.random(unseen.sum()) < 0.2, np.nan, draw.uniform(0, 9, unseen.sum())
        )
    tables = raw() | {
        name: pa.Table.from_pandas(frame[raw()[name].column_names], schema=raw()[name].schema, preserve_index=False)
        for name, frame in {"flights": flights, "weather": weather}.items()
    }
    in_time = "greatest(dep_at, arr_at) <= day_began_at + interval 2 days or greatest(dep_at, arr_at) is null"
    return tables | {
        "flights": query(
            f"select {', '.join(tables['flights'].column_names)} from departures where {in_time}", tables, {}
        )
    }


def clock(draw: np.random.Generator, rows: int) -> pd.Series:
    """Times of day as the source writes them: 1430."""
    return pd.Series(draw.integers(0, 24, rows) * 100 + draw.integers(0, 60, rows)).astype("Int32")


def build(feature_table: FeatureTable, source: dict[str, pa.Table], window: Window = WINDOW) -> pa.Table:
    return feature_rows(USECASE, feature_table, {name: source[name] for name in feature_table.sources}, window)


@functools.cache
def built(name: str) -> pa.Table:
    return build(table(name), raw())


@thorough
@costly()
@given(minutes=st.integers(0, 12 * 24 * 60), to_midnight=st.booleans(), seed=st.integers(0, 2**32))
def test_changing_what_becomes_known_after_a_cut_moves_no_feature_before_it(
    minutes: int, to_midnight: bool, seed: int
) -> None:
    """Cuts at any minute of twelve days, and half of them at one at which a local day begins."""
    cut = midnight(date(2013, 1, 6), USECASE.timezone) + timedelta(
        minutes=minutes // 1440 * 1440 if to_midnight else minutes
    )
    changed = altered_after(cut, seed)
    for feature_table in DAILY:
        before, after = (
            rows.filter(known_by(rows, cut)) for rows in (built(feature_table.name), build(feature_table, changed))
        )
        assert before.num_rows > 50 and before.equals(after), feature_table.name


@pytest.mark.parametrize("name", [feature_table.name for feature_table in DAILY])
def test_changing_what_becomes_known_after_a_cut_moves_features_after_it(name: str) -> None:
    """So the test above can fail, for every column."""
    changed = build(table(name), altered_after(datetime(2013, 1, 14, 17, tzinfo=UTC), 1)).to_pandas()
    keys = [*table(name).keys, KNOWN_AT]
    both = built(name).to_pandas().merge(changed, on=keys, suffixes=("", "_altered"))
    for column in set(built(name).column_names) - set(keys):
        assert not both[column].equals(both[f"{column}_altered"].rename(column)), column


def known_by(rows: pa.Table, cut: datetime) -> pa.ChunkedArray:
    return pc.less_equal(rows[KNOWN_AT], pa.scalar(cut))


@pytest.mark.parametrize("key", ["origin", "carrier"])
def test_trailing_windows_equal_a_plain_computation(key: str) -> None:
    """Differences of running sums against a loop over flights, at a few instants."""
    flights = query("select * from departures", raw(), {}).to_pandas()
    for _, row in built(f"{key}_state").to_pandas().sample(60, random_state=1).iterrows():
        at, here = row[KNOWN_AT], flights[flights[key] == row[key]]
        for hours in (1, 2, 4):
            left = here[(here.dep_at > at - pd.Timedelta(hours=hours)) & (here.dep_at <= at)]
            expected = (len(left), left.dep_delay.mean(), (left.dep_delay >= 15).mean())
            seen = [row[f"{key}_{what}_{hours}h"] for what in ("departures", "dep_delay", "late_share")]
            assert seen == pytest.approx(expected, nan_ok=True, rel=1e-5)
        due = np.maximum(here.sched_dep_at + pd.Timedelta(minutes=15), here.day_began_at)
        given_up = here.sched_dep_at + pd.Timedelta(hours=4)
        waiting = (due <= at) & (at <= given_up) & ~(here.dep_at <= at)
        assert row[f"{key}_waiting"] == waiting.sum()


@pytest.mark.parametrize(
    ("name", "keys"), [("origin_day", ["origin"]), ("dest_state", ["dest"]), ("hub_state", ["origin", "carrier"])]
)
def test_windows_of_arrivals_and_of_several_keys_equal_a_plain_computation(name: str, keys: list[str]) -> None:
    flights, prefix = query("select * from departures", raw(), {}).to_pandas(), name.partition("_")[0]
    seen = 0
    for _, row in built(name).to_pandas().sample(40, random_state=2).iterrows():
        at, here = row[KNOWN_AT], flights[(flights[keys] == row[keys]).all(axis=1)]
        for what, parts in (
            ("dep", ("departures", "dep_delay", "late_share")),
            ("arr", ("arrivals", "arr_delay", "late_arrivals")),
        ):
            for hours in (2, 4, 12):
                if f"{prefix}_{parts[0]}_{hours}h" in row:
                    last = here[(here[f"{what}_at"] > at - pd.Timedelta(hours=hours)) & (here[f"{what}_at"] <= at)]
                    delays = last[f"{what}_delay"]
                    values = [row[f"{prefix}_{part}_{hours}h"] for part in parts]
                    expected = (len(last), delays.mean(), (delays >= 15).mean())
                    assert values == pytest.approx(expected, nan_ok=True, rel=1e-5)
                    seen += 1
    assert seen >= 40 * 3


def test_an_aircraft_is_away_for_two_legs_and_two_turnarounds() -> None:
    """Against a loop over departures, and at every instant of the grid at which it is on its way, and only there."""
    flights = query("select * from departures where tailnum is not null and dep_at is not null", raw(), {}).to_pandas()
    rows = built("aircraft_rotation").to_pandas()
    assert not rows[["tailnum", KNOWN_AT]].duplicated().any()
    for _, row in rows.sample(200, random_state=3).iterrows():
        at = row[KNOWN_AT]
        left = flights[(flights.tailnum == row.tailnum) & (flights.dep_at <= at)].sort_values(
            ["dep_at", "sched_dep_at"]
        )
        last = left.iloc[-1]
        landed = last.arr_at <= at
        lands = last.arr_at if landed else max(last.sched_arr_at + pd.Timedelta(minutes=last.dep_delay), at)
        back = lands + (last.sched_arr_at - last.sched_dep_at) + pd.Timedelta(minutes=90)
        seen = [row.aircraft_dep_delay, row.aircraft_arr_delay, row.aircraft_minutes_away]
        expected = [last.dep_delay, last.arr_delay if landed else np.nan, (back - at).total_seconds() / 60]
        assert seen == pytest.approx(expected, nan_ok=True)
    tail = rows.tailnum.value_counts().index[0]
    grid = pd.date_range(WINDOW.start_at, WINDOW.end_at, freq="30min", inclusive="left")
    of_it = flights[flights.tailnum == tail]
    away = [
        (
            (of_it.dep_at <= at)
            & (at <= of_it.dep_at + 2 * (of_it.sched_arr_at - of_it.sched_dep_at) + pd.Timedelta(minutes=210))
        )[of_it.dep_at == of_it.dep_at[of_it.dep_at <= at].max()].any()
        for at in grid
    ]
    assert list(rows[KNOWN_AT][rows.tailnum == tail]) == list(grid[away])


def test_an_entity_has_rows_on_days_when_it_is_scheduled_and_on_the_day_after() -> None:
    rows = built("carrier_state").to_pandas()
    days = rows[KNOWN_AT].dt.tz_convert(USECASE.timezone).dt.date.groupby(rows.carrier).value_counts()
    assert (days == 96).all()
    flies = raw()["flights"].to_pandas().groupby("carrier").local_day.apply(set)
    rarest = min(flies.index, key=lambda carrier: len(flies[carrier]))
    for carrier in ("UA", rarest):
        expected = {day + timedelta(n) for day in flies[carrier] for n in (0, 1)} - {END}
        assert set(days[carrier].index) == expected
    assert len(flies[rarest]) < 20 == len(flies["UA"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [("carrier", ["carrier"]), ("route", ["origin", "dest"]), ("dest", ["dest"])],
    ids=str,
)
def test_trailing_rates_equal_a_plain_computation(name: str, keys: list[str]) -> None:
    flights = query("select * from departures where arr_delay is not null", raw(), {}).to_pandas()
    for _, row in built(f"{name}_stats").to_pandas().sample(40, random_state=1).iterrows():
        landed = flights[(flights[keys] == row[keys]).all(axis=1) & (flights.arr_at < row[KNOWN_AT])]
        for days in (7, 28):
            last = landed[landed.arr_at >= row[KNOWN_AT] - pd.Timedelta(days=days)]
            expected = (len(last), (last.arr_delay >= 15).mean(), last.arr_delay.mean())
            seen = [row[f"{name}_{what}_{days}d"] for what in ("flights", "late_rate", "arr_delay")]
            assert seen == pytest.approx(expected, nan_ok=True, rel=1e-5)


def test_congestion_is_the_schedule_of_the_day() -> None:
    flights = raw()["flights"].to_pandas().assign(sched_hour=lambda rows: rows.sched_dep_time // 100)
    for _, row in built("congestion").to_pandas().sample(40, random_state=1).iterrows():
        day = flights[flights.local_day == row[KNOWN_AT].tz_convert(USECASE.timezone).date()]
        at, hour = day[day.origin == row.origin], int(row.sched_hour)
        around = [(at.sched_hour == hour + n).sum() for n in (0, -1, 1)]
        ours = ((at.sched_hour == hour) & (at.carrier == row.carrier)).sum()
        names = ("hour_departures", "previous_hour_departures", "next_hour_departures", "day_departures")
        assert [row[name] for name in names] == [*around, len(at)] and len(row.sched_hour) == 2
        assert (row.carrier_hour_departures, row.carrier_hour_share) == (ours, pytest.approx(ours / around[0]))


def table(name: str):  # type: ignore[no-untyped-def]
    return next(feature_table for feature_table in USECASE.feature_tables if feature_table.name == name)


def test_labels_mature_on_landing_and_within_the_declared_time() -> None:
    frame = USECASE.examples({name: raw()[name] for name in ("flights", "airports")}, WINDOW).to_pandas()
    assert frame.example_id.is_unique and len(frame) == raw()["flights"].num_rows
    assert (frame[LABEL].isna() == frame[LABEL_KNOWN_AT].isna()).all()
    waited = frame[LABEL_KNOWN_AT] - frame[PREDICTED_AT]
    assert waited.min() > pd.Timedelta(minutes=60) and waited.max() <= USECASE.maturity
    assert frame[LABEL].mean() == pytest.approx((raw()["flights"].to_pandas().arr_delay.dropna() >= 15).mean())


def test_arrival_times_are_local_to_the_destination() -> None:
    """JFK to LAX takes about six hours, to San Juan about four, whatever the clocks there say."""
    frame = USECASE.examples({name: raw()[name] for name in ("flights", "airports")}, WINDOW).to_pandas()
    by_dest = frame.groupby("dest").scheduled_minutes.median()
    assert 340 < by_dest["LAX"] < 400 and 200 < by_dest["SJU"] < 260
    assert frame.scheduled_minutes.between(30, 720).all()


def test_scheduled_minutes_are_those_between_the_instants() -> None:
    frame = query("select * from departures order by carrier, flight, sched_dep_at", raw(), {}).to_pandas()
    minutes = ((frame.sched_arr_at - frame.sched_dep_at).dt.total_seconds() / 60).astype("float32")
    examples = USECASE.examples({name: raw()[name] for name in ("flights", "airports")}, WINDOW).to_pandas()
    examples = examples.sort_values(["carrier", "flight", "sched_dep_at"])
    assert examples.scheduled_minutes.dtype == "float32" and list(examples.flight) == list(frame.flight)
    np.testing.assert_array_equal(examples.scheduled_minutes, minutes)


def test_request_features_work_row_by_row() -> None:
    frame = USECASE.examples({name: raw()[name] for name in ("flights", "airports")}, WINDOW).to_pandas().head(500)
    whole = with_features(USECASE, frame)
    parts = pd.concat([with_features(USECASE, frame.iloc[[n]]) for n in range(0, 500, 50)])
    pd.testing.assert_frame_equal(whole.iloc[::50], parts)
    local = frame.sched_dep_at.dt.tz_convert("America/New_York").dt
    assert (whole.dep_minute == local.hour * 60 + local.minute).all() and whole.dep_minute.dtype == "float32"
    assert (whole.dep_weekday == local.weekday).all() and (whole.sched_hour == local.strftime("%H")).all()


def test_a_flight_to_a_destination_of_unknown_time_zone_has_no_known_arrival() -> None:
    """Otherwise its arrival would count as known when its day begins, hours before departure."""
    airports = raw()["airports"]
    unzoned = airports.set_column(
        airports.column_names.index("tzone"),
        "tzone",
        pc.if_else(pc.equal(airports["faa"], "LAX"), None, airports["tzone"]),
    )
    sql = "select arr_at, sched_arr_at from departures where dest = 'LAX' and arr_delay is not null"
    known = query(sql, raw(), {})
    assert known.num_rows > 100 and known["arr_at"].null_count == 0
    lost = query(sql, {**raw(), "airports": unzoned}, {})
    assert lost.num_rows == known.num_rows == lost["arr_at"].null_count == lost["sched_arr_at"].null_count


def test_a_cancellation_is_known_at_the_scheduled_departure_and_a_departure_when_it_happens() -> None:
    tables = {name: raw()[name] for name in ("flights", "airports")}
    frame = USECASE.examples(tables, WINDOW).to_pandas()
    gone = frame.cancelled == 1
    assert gone.sum() == raw()["flights"].to_pandas().dep_time.isna().sum() > 0 and (frame.cancelled[~gone] == 0).all()
    assert (frame.cancelled_known_at[gone] == frame.sched_dep_at[gone]).all()
    assert frame[LABEL][gone].isna().all()
    left = query("select sched_dep_at, dep_at from departures where dep_at is not null", tables, {}).to_pandas()
    ordered = ["sched_dep_at", "dep_at"]
    seen = frame[~gone].rename(columns={"cancelled_known_at": "dep_at"})[ordered]
    pd.testing.assert_frame_equal(*(one.sort_values(ordered, ignore_index=True) for one in (seen, left)))
    known = frame[LABEL].notna()
    assert (frame.cancelled_known_at[known] < frame[LABEL_KNOWN_AT][known]).all()
