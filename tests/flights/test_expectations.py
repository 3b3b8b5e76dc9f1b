"""The flights' suites on real days with injected faults: a quarantined row or a clear error, and nothing lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.context import Context, build_context
from pipelines.errors import CheckFailed
from pipelines.records import DecisionKind
from pipelines.steps import execute
from pipelines.usecases.flights.expectations import SUITES
from tests.conftest import ROOT, tree_hashes
from tests.homes import copy_home

SPRING, AUTUMN = date(2013, 3, 10), date(2013, 11, 3)  # the clock goes forward, and back
BEFORE = date(2013, 3, 9)
WINDOW = {"start": "2013-03-09", "end": "2013-03-11"}
FIVE_HOURS = pd.Timedelta(hours=5)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ingested")
    context = build_context(ROOT / "params.yaml", home)
    for start, end in (("2013-03-09", "2013-03-12"), ("2013-11-02", "2013-11-05")):
        execute("ingest", {"start": start, "end": end}, context)
    return home


@pytest.fixture
def home(ingested: Path, tmp_path: Path) -> Context:
    copy_home(ingested, tmp_path / "home")
    return build_context(ROOT / "params.yaml", tmp_path / "home")


def alter(context: Context, table: str, day: date, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    uri = context.data.partition("raw", table, day)
    rows = context.data.store.read_table(uri)
    frame = change(rows.to_pandas(types_mapper=pd.ArrowDtype))
    changed = pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False)
    context.data.store.write_table(uri, changed)


Change = Callable[[pd.DataFrame, int], pd.DataFrame]


def put(**values: Any) -> Change:
    """Change a flight."""

    def change(frame: pd.DataFrame, row: int) -> pd.DataFrame:
        for name, value in values.items():
            frame.loc[row, name] = value(frame.loc[row, name]) if callable(value) else value
        return frame

    return change


def twice(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[row]].assign(tailnum="N1")], ignore_index=True)


LONG = "N" * 1_000_000
BAD: dict[str, tuple[Change, str]] = {
    "a negative distance": (put(distance=-100), "bad_distance,bad_speed"),
    "an unknown destination": (put(dest="ZZZ"), "unknown_dest"),
    "an unknown origin": (put(origin="ZZZ"), "unknown_origin"),
    "a string of 1 MB": (put(tailnum=LONG), "bad_tailnum"),
    "a line break behind a code": (put(carrier="AA\n"), "bad_carrier"),
    "a time in another zone": (put(time_hour=lambda at: at - FIVE_HOURS), "wrong_zone"),
    "arrived and never departed": (put(dep_time=None, dep_delay=None), "no_departure"),
    "arrived at no time": (put(arr_time=None), "no_arrival"),
    "faster than sound": (put(distance=5000, air_time=60), "bad_speed"),
    "no time in the air": (put(air_time=0), "bad_air_time,bad_speed"),
    "a delay that its times deny": (put(arr_delay=lambda delay: delay + 60), "arr_delay_misfit"),
    "61 minutes past": (put(dep_time=1161), "bad_clock,dep_delay_misfit"),
    "no schedule": (put(time_hour=None), "no_schedule"),
    "the same flight twice": (twice, "duplicate"),
}
TEMPERATURES = {"nan": (math.nan, "not_finite"), "infinite": (math.inf, "not_finite,bad_temp"), "none": (None, None)}


@dataclass(frozen=True)
class Judged:
    """Days with one altered row for each case, validated in one run."""

    context: Context
    outputs: dict[str, Any]
    rows: dict[str, int]  # in the raw partition, by case
    again: pa.Table  # a valid flight of the first day, repeated on the second

    def read(self, zone: str, table: str = "flights", day: date = BEFORE) -> pa.Table:
        return self.context.data.store.read_table(self.context.data.partition(zone, table, day))

    def raw(self, case: str) -> list[dict[str, Any]]:
        """The row of a case, or its two rows."""
        rows = self.read("raw").to_pylist()
        return [rows[self.rows[case]], *(rows[-1:] if BAD[case][0] is twice else ())]


@pytest.fixture(scope="module")
def cases_home(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    home = tmp_path_factory.mktemp("judged") / "home"
    copy_home(ingested, home)
    context = build_context(ROOT / "params.yaml", home)
    store, cases = context.data.store, {}

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        arrived = frame.index[frame["arr_delay"].notna()]
        for number, (name, (change, _)) in enumerate(BAD.items()):
            cases[name] = int(arrived[10 + number])
            frame = change(frame, cases[name])
        return frame

    again = store.read_table(context.data.partition("raw", "flights", BEFORE)).slice(7, 1)
    alter(context, "flights", BEFORE, spoil)
    day = pa.array([SPRING], again.schema.field("local_day").type)
    again = again.set_column(again.column_names.index("local_day"), "local_day", day)
    uri = context.data.partition("raw", "flights", SPRING)
    store.write_table(uri, pa.concat_tables([store.read_table(uri), again]))

    uri = context.data.partition("raw", "weather", BEFORE)
    rows = store.read_table(uri)
    temps = [*(value for value, _ in TEMPERATURES.values()), *rows["temp"].to_pylist()[len(TEMPERATURES) :]]
    store.write_table(uri, rows.set_column(rows.column_names.index("temp"), "temp", pa.array(temps, pa.float64())))
    return Judged(context, execute("validate", WINDOW, context), cases, again)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_flight_is_quarantined(cases_home: Judged, case: str) -> None:
    rows, apart = cases_home.raw(case), cases_home.read("quarantine")
    bad = zip(apart.drop_columns(["reason"]).to_pylist(), apart["reason"].to_pylist(), strict=True)
    assert [reason for row, reason in bad if row in rows] == [BAD[case][1]] * len(rows)
    clean = cases_home.read("validated").to_pylist()
    assert not any(row in clean for row in rows)


def test_no_bad_flight_is_lost(cases_home: Judged) -> None:
    raw, clean, bad = (cases_home.read(zone) for zone in ("raw", "validated", "quarantine"))
    assert cases_home.outputs["verdict"] == "PASS" and raw.num_rows == clean.num_rows + bad.num_rows
    assert bad.num_rows == len(BAD) + 1, "one of them is there twice"
    together = pa.concat_tables([clean, bad.drop_columns(["reason"])])
    assert sorted(together.to_pylist(), key=str) == sorted(raw.to_pylist(), key=str)


def test_a_long_string_does_not_inflate_the_report(cases_home: Judged) -> None:
    reports = Path(cases_home.context.data.uri("reports"))
    assert 10_000 < sum(file.stat().st_size for file in reports.rglob("*") if file.is_file()) < 300_000


def test_a_flight_repeated_on_a_later_day_is_quarantined_there(cases_home: Judged) -> None:
    bad = cases_home.read("quarantine", day=SPRING)
    assert bad.drop_columns(["reason"]).to_pylist() == cases_home.again.to_pylist()
    assert bad["reason"].to_pylist() == ["duplicate"]
    (first,) = cases_home.read("raw").slice(7, 1).to_pylist()
    assert first in cases_home.read("validated").to_pylist()


def test_nan_and_infinity_are_quarantined_and_missing_values_are_not(cases_home: Judged) -> None:
    assert cases_home.read("quarantine", "weather")["reason"].to_pylist() == ["not_finite", "not_finite,bad_temp"]
    assert cases_home.outputs["quarantined"]["weather"] == {"not_finite": 2, "bad_temp": 1}
    missing = cases_home.read("raw", "weather").slice(2, 1).to_pylist()
    assert missing[0]["temp"] is None and missing[0] in cases_home.read("validated", "weather").to_pylist()


@pytest.fixture(scope="module")
def validated(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("validated") / "home"
    copy_home(ingested, home)
    execute("validate", WINDOW, build_context(ROOT / "params.yaml", home))
    return home


def nothing(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:0]


def elsewhere(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(time_hour=frame["time_hour"] + FIVE_HOURS)


def few(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:100]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nothing, "flights has no rows on 1 days, the first 2013-03-10"),
        (elsewhere, "flights on 2013-03-10: 100.00% of .* would be quarantined .*wrong_zone"),
        (few, "expect_period_row_counts_to_be_between.*outside on 1 days .2013-03-10: 100."),
    ],
    ids=["no rows", "a whole day in another zone", "a day cut short"],
)
def test_a_bad_day_stops_the_run_and_changes_nothing(
    validated: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    copy_home(validated, tmp_path / "home")
    home = build_context(ROOT / "params.yaml", tmp_path / "home")
    before = tree_hashes(Path(home.data.uri("validated")))
    alter(home, "flights", SPRING, change)
    with pytest.raises(CheckFailed, match=message):
        execute("validate", WINDOW, home)
    assert tree_hashes(Path(home.data.uri("validated"))) == before
    assert home.decisions.all(DecisionKind.VALIDATE)[-1]["verdict"] in ("PASS", "REJECT")
    assert {d["verdict"] for d in home.decisions.all(DecisionKind.VALIDATE)} == {"PASS", "REJECT"}


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 24)])
def test_valid_rows_pass_on_the_days_of_clock_changes(home: Context, day: date, hours: int) -> None:
    window = {"start": day.isoformat(), "end": (date.fromordinal(day.toordinal() + 1)).isoformat()}
    outputs = execute("validate", window, home)
    assert outputs["verdict"] == "PASS" and not any(outputs["quarantined"].values())
    weather = home.data.store.read_table(home.data.partition("validated", "weather", day))
    assert len(weather["time_hour"].unique()) == hours  # the source lacks one in autumn


def test_every_table_has_the_kinds_of_expectations_that_it_needs() -> None:
    kinds = {name: {expectation.configuration.type for expectation in suite} for name, suite in SUITES.items()}
    for name, types in kinds.items():
        assert "expect_column_types" in types and "expect_column_values_to_not_be_null" in types, name
        assert types & {"expect_keys_to_be_unique", "expect_column_values_to_be_unique"}, name
        assert types & {"expect_period_row_counts_to_be_between", "expect_table_row_count_to_be_between"}, name
    for name in ("flights", "weather"):
        assert {"expect_periods_to_reach_their_end", "expect_values_to_be_known"} <= kinds[name]
    assert "expect_distribution_to_be_stable" in kinds["flights"]
