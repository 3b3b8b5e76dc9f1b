"""The flights' suites on real days with bad input put in: a quarantined row or a clear error, and nothing lost."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from pipelines.context import Context, build_context
from pipelines.errors import CheckFailed
from pipelines.steps import execute
from pipelines.usecases.flights.expectations import SUITES
from tests.conftest import ROOT, tree_hashes

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
    shutil.copytree(ingested, tmp_path / "home")
    return build_context(ROOT / "params.yaml", tmp_path / "home")


def alter(context: Context, table: str, day: date, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    uri = context.data.partition("raw", table, day)
    rows = context.data.store.read_table(uri)
    frame = change(rows.to_pandas(types_mapper=pd.ArrowDtype))
    changed = pa.Table.from_pandas(frame, schema=rows.schema, preserve_index=False)
    context.data.store.write_table(uri, changed)


def put(**values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Change a flight that has arrived."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        row = frame.index[frame["arr_delay"].notna()][3]
        for name, value in values.items():
            frame.loc[row, name] = value(frame.loc[row, name]) if callable(value) else value
        return frame

    return change


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[5]].assign(tailnum="N1")], ignore_index=True)


LONG = "N" * 1_000_000
BAD: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], set[str]]] = [
    ("a negative distance", put(distance=-100), {"bad_distance,bad_speed"}),
    ("an unknown destination", put(dest="ZZZ"), {"unknown_dest"}),
    ("an unknown origin", put(origin="ZZZ"), {"unknown_origin"}),
    ("a string of 1 MB", put(tailnum=LONG), {"bad_tailnum"}),
    ("a line break behind a code", put(carrier="AA\n"), {"bad_carrier"}),
    ("a time in another zone", put(time_hour=lambda at: at - FIVE_HOURS), {"wrong_zone"}),
    ("arrived and never departed", put(dep_time=None, dep_delay=None), {"no_departure"}),
    ("arrived at no time", put(arr_time=None), {"no_arrival"}),
    ("faster than sound", put(distance=5000, air_time=60), {"bad_speed"}),
    ("no time in the air", put(air_time=0), {"bad_air_time,bad_speed"}),
    ("a delay that its times deny", put(arr_delay=lambda delay: delay + 60), {"arr_delay_misfit"}),
    ("61 minutes past", put(dep_time=1161), {"bad_clock,dep_delay_misfit"}),
    ("no schedule", put(time_hour=None), {"no_schedule"}),
    ("the same flight twice", twice, {"duplicate"}),
]


@pytest.mark.parametrize(("change", "reasons"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_flight_is_set_apart_and_nothing_is_lost(
    home: Context, change: Callable[[pd.DataFrame], pd.DataFrame], reasons: set[str]
) -> None:
    alter(home, "flights", BEFORE, change)
    outputs = execute("validate", WINDOW, home)
    read = home.data.store.read_table
    raw, clean, bad = (
        read(home.data.partition(zone, "flights", BEFORE)) for zone in ("raw", "validated", "quarantine")
    )
    assert outputs["verdict"] == "PASS" and raw.num_rows == clean.num_rows + bad.num_rows
    assert set(bad["reason"].to_pylist()) == reasons
    assert bad.num_rows == (2 if reasons == {"duplicate"} else 1)
    together = pa.concat_tables([clean, bad.drop_columns(["reason"])]).sort_by("tailnum")
    assert sorted(together.to_pylist(), key=str) == sorted(raw.to_pylist(), key=str)
    written = sum(file.stat().st_size for file in Path(home.data.uri("reports")).rglob("*") if file.is_file())
    assert written < 300_000  # the long string is not in there


def test_a_flight_that_comes_again_on_a_later_day_is_set_apart_there(home: Context) -> None:
    first = home.data.store.read_table(home.data.partition("raw", "flights", BEFORE)).slice(7, 1)
    again = first.set_column(
        first.column_names.index("local_day"), "local_day", pa.array([SPRING], first.schema.field("local_day").type)
    )
    uri = home.data.partition("raw", "flights", SPRING)
    home.data.store.write_table(uri, pa.concat_tables([home.data.store.read_table(uri), again]))
    outputs = execute("validate", WINDOW, home)
    assert outputs["quarantined"]["flights"] == {"duplicate": 1}
    bad = home.data.store.read_table(home.data.partition("quarantine", "flights", SPRING))
    assert bad.drop_columns(["reason"]).to_pylist() == again.to_pylist()
    assert BEFORE not in home.data.days("quarantine", "flights")


@pytest.mark.parametrize(
    ("value", "reasons"), [(math.nan, "not_finite"), (math.inf, "not_finite,bad_temp"), (None, None)]
)
def test_numbers_that_are_none_are_set_apart_and_missing_ones_are_not(
    home: Context, value: float | None, reasons: str | None
) -> None:
    uri = home.data.partition("raw", "weather", BEFORE)
    rows = home.data.store.read_table(uri)
    temps = [value, *rows["temp"].to_pylist()[1:]]
    at = rows.column_names.index("temp")
    home.data.store.write_table(uri, rows.set_column(at, "temp", pa.array(temps, pa.float64())))
    outputs = execute("validate", WINDOW, home)
    assert set(outputs["quarantined"]["weather"]) == set(reasons.split(",") if reasons else ())
    if reasons:
        bad = home.data.store.read_table(home.data.partition("quarantine", "weather", BEFORE))
        assert bad["reason"].to_pylist() == [reasons]


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
        (few, "expect_day_row_counts_to_be_between.*outside on 1 days .2013-03-10: 100."),
    ],
    ids=["no rows", "a whole day in another zone", "a day cut short"],
)
def test_a_bad_day_stops_the_run_and_leaves_what_was_there(
    home: Context, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    execute("validate", WINDOW, home)
    before = tree_hashes(Path(home.data.uri("validated")))
    alter(home, "flights", SPRING, change)
    with pytest.raises(CheckFailed, match=message):
        execute("validate", WINDOW, home)
    assert tree_hashes(Path(home.data.uri("validated"))) == before
    assert home.records.decisions("flights", "validate")[-1]["verdict"] in ("PASS", "REJECT")
    assert {d["verdict"] for d in home.records.decisions("flights", "validate")} == {"PASS", "REJECT"}


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 24)])
def test_true_rows_pass_on_the_days_when_the_clock_changes(home: Context, day: date, hours: int) -> None:
    window = {"start": day.isoformat(), "end": (date.fromordinal(day.toordinal() + 1)).isoformat()}
    outputs = execute("validate", window, home)
    assert outputs["verdict"] == "PASS" and not any(outputs["quarantined"].values())
    weather = home.data.store.read_table(home.data.partition("validated", "weather", day))
    assert len(weather["time_hour"].unique()) == hours  # the source lacks one in autumn


def test_every_table_has_a_suite_of_every_kind_that_it_needs() -> None:
    kinds = {name: {expectation.configuration.type for expectation in suite} for name, suite in SUITES.items()}
    for name, types in kinds.items():
        assert "expect_column_types" in types and "expect_column_values_to_not_be_null" in types, name
        assert types & {"expect_keys_to_be_unique", "expect_column_values_to_be_unique"}, name
        assert types & {"expect_day_row_counts_to_be_between", "expect_table_row_count_to_be_between"}, name
    for name in ("flights", "weather"):
        assert {"expect_days_to_reach_their_end", "expect_values_to_be_known"} <= kinds[name]
    assert "expect_distribution_to_be_stable" in kinds["flights"]
