"""Ingestion from every kind of source: the same partitions whichever way rows come, how often, and in what order."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.console.data import COMMAND
from pipelines.context import Context
from pipelines.errors import CorruptData, FlightdeckError, InvalidInput, Unavailable
from pipelines.steps import execute
from pipelines.store import Store
from pipelines.usecase import DAY
from tests.conftest import tree_hashes
from tests.examples import costly, seeds
from tests.sources import FIRST, TABLE, Api, as_json, context_over, rows, versions, write_csv

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
PLAIN = replace(TABLE, known=None)
Record = dict[str, Any]


def raw(context: Context) -> dict[str, str]:
    return tree_hashes(Path(context.data.uri("raw")))


def read(context: Context, *columns: str) -> pd.DataFrame:
    table = context.data.read("raw", "visits", *(date.fromisoformat(WINDOW[end]) for end in ("start", "end")))
    return table.to_pandas().sort_values("id")[list(columns)].reset_index(drop=True)


def into_sqlite(file: Path, records: list[Record], zone: str = "UTC") -> str:
    """A database whose instants are naive local times."""
    file.unlink(missing_ok=True)
    engine = sa.create_engine(f"sqlite:///{file}")
    kinds = (sa.Integer, sa.String, sa.Float, sa.DateTime, sa.DateTime)
    columns = [sa.Column(name, kind) for name, kind in zip(TABLE.columns, kinds, strict=True)]
    table = sa.Table("visits", sa.MetaData(), *columns)
    table.create(engine)
    local = [
        one | {name: one[name].astimezone(ZoneInfo(zone)).replace(tzinfo=None) for name in ("at", "changed_at")}
        for one in records
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(table), local)
    engine.dispose()
    return f"sqlite:///{file}"


@pytest.fixture
def reference(tmp_path: Path) -> Context:
    """The visits, read from one plain CSV."""
    write_csv(tmp_path / "one" / "visits.csv", rows())
    context = context_over(tmp_path / "reference", {"kind": "files", "uri": f"{tmp_path}/one/{{table}}.csv"})
    execute("ingest", WINDOW, context)
    return context


def csv_zipped(tmp_path: Path) -> Record:
    (tmp_path / "in").mkdir()
    pd.DataFrame(as_json(rows())).to_csv(tmp_path / "in" / "visits.csv.zip", index=False, sep=";", encoding="latin-1")
    return {"kind": "files", "uri": f"{tmp_path}/in/{{table}}.csv.zip", "delimiter": ";", "encoding": "latin-1"}


def csv_naive(tmp_path: Path) -> Record:
    local = [
        one | {name: one[name].astimezone().astimezone(UTC).replace(tzinfo=None) for name in ("at", "changed_at")}
        for one in rows()
    ]
    write_csv(tmp_path / "in" / "visits.csv", local)
    return {"kind": "files", "uri": f"{tmp_path}/in/{{table}}.csv", "timezone": "UTC"}


def parquet_pieces(tmp_path: Path) -> Record:
    """Several files, integers as floats, nanoseconds, strings as categories: what pandas writes."""
    frame = pd.DataFrame(rows()).astype({"id": "float64", "site": "category"})
    (tmp_path / "in").mkdir()
    for number, part in enumerate((frame[40:], frame[:17], frame[17:40])):
        part.to_parquet(tmp_path / "in" / f"visits-{number}.parquet")
    return {"kind": "files", "uri": f"file://{tmp_path}/in/{{table}}-*.parquet"}


def parquet_daily_in_memory(tmp_path: Path) -> Record:
    import fsspec

    frame = pd.DataFrame(rows())
    day = frame["at"].dt.tz_convert("Europe/Berlin").dt.date
    for found, part in frame.groupby(day):
        with fsspec.open(f"memory://{tmp_path.name}/visits/{found}.parquet", "wb") as file:
            part.to_parquet(file, index=False)
    return {"kind": "files", "uri": f"memory://{tmp_path.name}/{{table}}/{{day}}.parquet"}


def database(tmp_path: Path) -> Record:
    return {"kind": "sql", "url_env": "VISITS_URL", "batch_rows": 11}


SOURCES = [csv_zipped, csv_naive, parquet_pieces, parquet_daily_in_memory, database]


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_source_gives_the_same_partitions(
    make: Callable[[Path], Record], reference: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", rows()))
    context = context_over(tmp_path / "other", make(tmp_path))
    counts = execute("ingest", WINDOW, context)["tables"]["visits"]
    assert raw(context) == raw(reference) and len(raw(context)) == 4
    assert counts["rows"] == 60 and counts["undated"] == counts["repeated"] == counts["superseded"] == 0


@pytest.mark.parametrize("cursors", [False, True])
def test_an_api_gives_the_same_partitions(reference: Context, tmp_path: Path, cursors: bool) -> None:
    keys = {"records": "data.items", "next": "meta.next"} if cursors else {}
    with Api(as_json(rows()), cursors=cursors).serving() as api:
        source = {"kind": "http", "url": api.url, "per_second": 1000, "query": {"from": "{start}", "to": "{until}"}}
        context = context_over(tmp_path / "other", source | keys)
        execute("ingest", WINDOW, context)
    assert raw(context) == raw(reference)
    assert api.asked[0]["from"] == "2024-03-29" and api.asked[0]["to"] == "2024-04-01T22:00:00+00:00"
    assert len(api.asked) == (9 if cursors else 10), "numbered pages end with an empty one"


@costly()
@given(
    order=st.permutations(range(60)),
    twice=st.lists(st.integers(0, 59), max_size=20),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3),
)
def test_order_repetition_and_overlapping_windows_do_not_show(
    reference: Context, tmp_path_factory: pytest.TempPathFactory, order: list[int], twice: list[int], cuts: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("delivery")
    every = rows()
    write_csv(folder / "visits.csv", [every[n] for n in (*order, *twice)])
    context = context_over(folder / "home", {"kind": "files", "uri": f"{folder}/{{table}}.csv"}, PLAIN)
    for first, last in (*(cut for cut in cuts if cut[0] < cut[1]), (0, 4)):
        window = {"start": str(FIRST + timedelta(first)), "end": str(FIRST + timedelta(last))}
        counts = execute("ingest", window, context)["tables"]["visits"]
    assert raw(context) == raw(reference)
    assert counts["repeated"] == len(twice) and counts["restated"] == []


@costly()
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 59), st.integers(1, 70), st.sampled_from([-26, 0, 0, 26, 50])), max_size=12
    ),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3),
)
def test_nor_do_they_where_records_were_corrected_and_moved_to_another_day(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Any], order: random.Random, cuts: list[Any]
) -> None:
    folder, every = tmp_path_factory.mktemp("delivery"), rows()
    for number, (row, hours, moved) in enumerate(changes):
        one = every[row]
        changed = one["changed_at"] + timedelta(hours=hours, seconds=number)
        every.append(one | {"value": -1.0 - number, "at": one["at"] + timedelta(hours=moved), "changed_at": changed})
    order.shuffle(every)
    write_csv(folder / "visits.csv", every)
    whole, pieces = (
        context_over(folder / home, {"kind": "files", "uri": f"{folder}/{{table}}.csv"}) for home in ("whole", "pieces")
    )
    execute("ingest", WINDOW, whole)
    for first, last in (*(cut for cut in cuts if cut[0] < cut[1]), *((n, n + 1) for n in range(4))):
        execute("ingest", {"start": str(FIRST + timedelta(first)), "end": str(FIRST + timedelta(last))}, pieces)
    assert raw(pieces) == raw(whole)
    ids = whole.data.read("raw", "visits", FIRST, FIRST + timedelta(4))["id"].to_pylist()
    assert len(ids) == len(set(ids)), "a record that moved is where it is now"


def test_the_newest_record_of_a_key_counts_and_equals_are_both_kept(tmp_path: Path) -> None:
    records = rows(20)
    corrected = records[3] | {"value": 99.0, "changed_at": records[3]["changed_at"] + timedelta(hours=1)}
    rival = records[5] | {"value": -5.0}  # as new as the other: nothing says which is right
    write_csv(tmp_path / "visits.csv", [corrected, *records, rival])
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    counts = execute("ingest", WINDOW, context)["tables"]["visits"]
    frame = read(context, "id", "value")
    assert frame[frame.id == 3].value.tolist() == [99.0] and sorted(frame[frame.id == 5].value) == [-5.0, 1.25]
    assert (counts["rows"], counts["superseded"], counts["repeated"]) == (21, 1, 0)


def test_a_restatement_shows_in_the_history_the_version_and_the_days_to_do_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}
    context = context_over(tmp_path / "home", source)
    write_csv(tmp_path / "visits.csv", rows())
    execute("ingest", WINDOW, context)
    before = execute("snapshot", {}, context)["data_version"]
    late = rows(61)[-1] | {"id": 500, "at": rows()[20]["at"]}
    write_csv(tmp_path / "visits.csv", [*rows(), late])
    outputs = execute("ingest", WINDOW, context)
    assert outputs["tables"]["visits"]["restated"] == ["2024-03-30"] and outputs["tables"]["visits"]["partitions"] == 1
    (line,) = context.partitions.lines(restated=True)
    assert (line.table, line.day, line.added, line.removed) == ("visits", "2024-03-30", 1, 0)
    assert execute("snapshot", {}, context)["data_version"] != before
    told, show = COMMAND.answer({"verb": "history", "table": "visits", "day": None, "restated": True}, context)
    show()
    assert [(one["day"], one["rows"], one["added"]) for one in told] == [("2024-03-30", line.rows, 1)]
    assert "2024-03-30" in capsys.readouterr().out
    with pytest.raises(InvalidInput, match="no table 'visit'; choose from visits"):
        COMMAND.answer({"verb": "history", "table": "visit", "day": None, "restated": False}, context)
    lines = len(context.partitions.lines())
    execute("ingest", WINDOW, context)
    assert len(context.partitions.lines()) == lines == 5, "the same again leaves no line"


# --- incremental sources: what changed is merged into the partitions of its days


def incremental(tmp_path: Path, records: list[Record], home: str) -> Context:
    into_sqlite(tmp_path / "visits.db", records, "Asia/Tokyo")
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True, "timezone": "Asia/Tokyo"}
    return context_over(tmp_path / home, source)


def day(number: int) -> dict[str, str]:
    return {"start": str(FIRST + timedelta(number)), "end": str(FIRST + timedelta(number + 1))}


def day_end(number: int) -> datetime:
    return datetime.combine(FIRST + timedelta(number + 1), time.min, ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("seed", seeds(2, 50))
def test_changes_by_watermark_end_where_one_whole_read_does(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are corrected, arrive late, and move to another day; days run once, twice, or out of order."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    draw = random.Random(seed)
    records = versions(draw, 40, lambda first, last: last + timedelta(hours=draw.choice([0, 0, 26])))
    whole = incremental(tmp_path, records, "whole")
    execute("ingest", {"start": str(FIRST), "end": str(FIRST + timedelta(6))}, whole)
    step_by_step = incremental(tmp_path, records, "steps")
    order = [0, 1, 2, 3, 4, 5]
    order += draw.sample(order, 2)
    for number in order:
        execute("ingest", day(number), step_by_step)
    frames = [context.data.read("raw", "visits", FIRST, FIRST + timedelta(6)) for context in (whole, step_by_step)]
    assert frames[0].equals(frames[1]) and len(set(frames[0]["id"].to_pylist())) == frames[0].num_rows
    assert raw(whole) == raw(step_by_step)


def test_a_gap_in_the_runs_is_read_from_the_watermark_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(), "home")
    execute("ingest", day(0), context)
    newest = [max(one["changed_at"] for one in rows() if one["changed_at"] < day_end(number)) for number in (0, 3)]
    assert context.partitions.watermark("visits") == newest[0]
    outputs = execute("ingest", day(3), context)
    assert {str(day) for day in context.data.days("raw", "visits")} == {str(FIRST + timedelta(n)) for n in range(4)}, (
        "the days between were never asked for, and lost nothing"
    )
    assert outputs["tables"]["visits"]["delivered"] > 16
    assert outputs["validate_since"] == outputs["build_since"] == "2024-03-30", "nobody else validates them"
    execute("ingest", day(1), context)
    assert context.partitions.watermark("visits") == newest[1]


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_day_that_was_read_before_its_end_loses_nothing(
    tmp_path: Path, hour: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermark is where the source stood, not where the window ends; the day's own run never came."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    now = datetime(2024, 3, 29, hour, tzinfo=UTC)
    context = incremental(tmp_path, [one for one in rows() if one["changed_at"] < now], "home")
    execute("ingest", day(0), context)
    incremental(tmp_path, rows(), "unused")
    execute("ingest", day(1), context)
    assert context.data.read("raw", "visits", FIRST, FIRST + timedelta(2)).num_rows == 32


def test_a_quiet_source_is_read_from_its_last_change_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(3), "home")
    seen = [execute("ingest", day(number), context)["tables"]["visits"]["delivered"] for number in range(4)]
    assert seen == [3, 1, 1, 1]
    assert context.partitions.watermark("visits") == rows(3)[-1]["changed_at"]
    empty = incremental(tmp_path, [], "empty")
    execute("ingest", day(0), empty)
    assert empty.partitions.watermark("visits") is None


def test_a_late_change_of_an_old_day_is_to_be_validated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    context = incremental(tmp_path, rows(), "home")
    for number in range(3):
        execute("ingest", day(number), context)
    corrected = rows()[5] | {"value": 7.5, "changed_at": datetime(2024, 4, 1, 12, tzinfo=UTC)}
    incremental(tmp_path, [*rows(), corrected], "unused")
    outputs = execute("ingest", day(3), context)
    assert outputs["tables"]["visits"]["restated"] == ["2024-03-29"]
    assert outputs["validate_since"] == "2024-03-29"


class Killed(BaseException):
    """What no handler catches."""


@pytest.mark.parametrize("write", range(4))
def test_a_run_that_dies_at_any_write_is_finished_by_the_next(
    tmp_path: Path, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partitions, their history and the watermark are as if it had run once."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    corrected = [rows()[n] | {"value": -1.0, "changed_at": datetime(2024, 4, 1, 12, tzinfo=UTC)} for n in (5, 20, 40)]
    homes = []
    for home in ("clean", "killed"):
        context = incremental(tmp_path, [*rows(), *corrected], home)
        for number in range(3):
            execute("ingest", day(number), context)
        homes.append(context)
    clean, killed = homes
    told = execute("ingest", day(3), clean)
    put, count = Store.write_bytes, itertools.count()

    def dies(self: Store, uri: str, content: bytes) -> str:
        if next(count) == write:
            raise Killed
        return put(self, uri, content)

    monkeypatch.setattr(Store, "write_bytes", dies)
    with pytest.raises(Killed):
        execute("ingest", day(3), killed)
    monkeypatch.setattr(Store, "write_bytes", put)
    before = killed.partitions.watermark("visits")
    again = execute("ingest", day(3), killed)
    assert raw(killed) == raw(clean)
    overdue = ("validate_since", "build_since", "build_until")
    assert told["validate_since"] == "2024-03-29" and [again[name] for name in overdue] == [
        told[name] for name in overdue
    ]
    histories = [context.partitions for context in homes]
    assert histories[0].lines() == histories[1].lines()
    newest = max(one["changed_at"] for one in rows() if one["changed_at"] < day_end(3))
    assert before is not None and before < newest
    assert histories[0].watermark("visits") == histories[1].watermark("visits") == newest


def test_incremental_needs_a_column_that_says_what_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", rows()))
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True}
    with pytest.raises(InvalidInput, match="names no column `known`"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source, PLAIN))


# --- schema policy


def test_a_new_column_is_recorded_and_carried(tmp_path: Path) -> None:
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}-*.csv"}
    context = context_over(tmp_path / "home", source)
    write_csv(tmp_path / "visits-1.csv", rows()[:30])
    write_csv(tmp_path / "visits-2.csv", [one | {"mood": n % 3} for n, one in enumerate(rows()[30:])])
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["new_columns"] == ["mood"]
    frame = read(context, "id", "mood")
    assert frame.mood[:30].isna().all() and frame.mood[30:].tolist() == [str(n % 3) for n in range(30)]


RETYPED: list[tuple[Record, str]] = [
    ({"value": "missing"}, r"column value is missing; expected float64, found only the columns id, site, at"),
    ({"value": "high"}, r"column value: .*(invalid value 'high'|expected double, found string)"),
    ({"id": 2**40}, r"column id: .*(1099511627776)"),
    ({"id": 1.5}, r"column id: .*1\.5"),
    ({"at": 5}, r"column at: expected timestamp\[us, tz=UTC\]"),
    ({"at": "yesterday"}, r"column at: .*yesterday"),
]
TEXT = ({"site": 7}, r"column site: expected string, found int64")  # in a CSV every value is text


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [
        *((*retyped, "csv") for retyped in RETYPED),
        *((*retyped, kind) for retyped in (*RETYPED, TEXT) for kind in ("parquet", "http")),
    ],
)
def test_a_missing_or_retyped_column_stops_the_run(
    tmp_path: Path, kind: str, change: dict[str, Any], message: str
) -> None:
    (name, value), records = next(iter(change.items())), as_json(rows())
    for record in records:
        record[name] = value
        if value == "missing":
            del record[name]
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.{kind}"})
    with Api(records).serving() as api:
        if kind == "csv":
            write_csv(tmp_path / "visits.csv", records)
        elif kind == "parquet":
            pd.DataFrame(records).to_parquet(tmp_path / "visits.parquet")
        else:
            context = context_over(tmp_path / "home", {"kind": "http", "url": api.url, "per_second": 1000})
        with pytest.raises(CorruptData, match=message):
            execute("ingest", WINDOW, context)
    assert not Path(context.data.uri()).exists()


# --- broken files


def cut_parquet(file: Path) -> None:
    pd.DataFrame(rows()).to_parquet(file)
    file.write_bytes(file.read_bytes()[:-300])


def cut_zip(file: Path) -> None:
    pd.DataFrame(as_json(rows())).to_csv(file, index=False)
    file.write_bytes(file.read_bytes()[:-90])


def cut_gzip(file: Path) -> None:
    pd.DataFrame(as_json(rows(2000))).to_csv(file, index=False)
    file.write_bytes(file.read_bytes()[:-500])


def other_delimiter(file: Path) -> None:
    write_csv(file, rows(), sep=";")


def other_encoding(file: Path) -> None:
    write_csv(file, [one | {"site": "Köln"} for one in rows()], encoding="latin-1")


def utf16(file: Path) -> None:
    write_csv(file, rows(), encoding="utf-16")


def not_a_parquet(file: Path) -> None:
    file.write_text("id,site\n")


def ragged(file: Path) -> None:
    write_csv(file, rows())
    file.write_text(file.read_text() + "61,a\n")


def doubled_column(file: Path) -> None:
    write_csv(file, rows())
    file.write_text(file.read_text().replace("id,site", "id,id", 1))


def mixed_offsets(file: Path) -> None:
    records = as_json(rows())
    records[7]["at"] = "2024-03-29T10:00:00"
    write_csv(file, records)


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("visits.parquet", cut_parquet, "cannot be read"),
        ("visits.parquet", not_a_parquet, "cannot be read"),
        ("visits.csv.zip", cut_zip, "cannot be read"),
        ("visits.csv.gz", cut_gzip, "cannot be read"),
        ("visits.csv", other_delimiter, "is ',' its delimiter"),
        ("visits.csv", other_encoding, "cannot be read .*UTF8"),
        ("visits.csv", utf16, "cannot be read|is missing|is ',' its delimiter"),
        ("visits.csv", ragged, "Expected 5 columns, got 2"),
        ("visits.csv", doubled_column, r"come twice|site is missing"),
        ("visits.csv", mixed_offsets, "some have an offset"),
        ("visits.csv", lambda file: file.write_text(""), "cannot be read .*Empty CSV"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_broken_file_is_named_and_nothing_is_written(
    tmp_path: Path, name: str, harm: Callable[[Path], None], message: str
) -> None:
    harm(tmp_path / name)
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.*"})
    with pytest.raises(CorruptData, match=message):
        execute("ingest", WINDOW, context)
    assert not Path(context.data.uri()).exists()


def test_a_header_alone_gives_empty_partitions(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text(",".join(TABLE.columns) + "\n")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 0
    table = context.data.read("raw", "visits", FIRST, FIRST + timedelta(4))
    assert table.num_rows == 0 and table.column_names == [*TABLE.columns, DAY]


def test_a_very_long_string_and_odd_numbers_pass_on_to_validation(tmp_path: Path) -> None:
    records = rows(10)
    records[2]["site"] = "x" * 1_000_000
    for number, value in ((3, "NaN"), (4, "inf"), (5, "-inf")):
        records[number]["value"] = value
    write_csv(tmp_path / "visits.csv", records)
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    execute("ingest", WINDOW, context)
    table = context.data.read("raw", "visits", FIRST, FIRST + timedelta(4)).sort_by("id")
    assert len(table["site"][2].as_py()) == 1_000_000
    assert table["value"].to_pylist()[3:6] == [None, float("inf"), float("-inf")], "NaN is missing, infinity is not"


# --- times


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ("2024-03-31T02:30:00", "Timestamp doesn't exist in timezone"),
        ("2024-10-27T02:30:00", "is ambiguous in timezone"),
    ],
)
def test_a_local_time_that_is_no_instant_or_two_is_refused(tmp_path: Path, local: str, message: str) -> None:
    records = [{**one, "at": local, "changed_at": "2024-03-29T12:00:00"} for one in rows(1)]
    write_csv(tmp_path / "visits.csv", records)
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv", "timezone": "Europe/Berlin"}
    with pytest.raises(CorruptData, match=f"column at: .*{message}"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))


def test_days_are_local_across_both_changes_of_the_clock(tmp_path: Path) -> None:
    for start in (datetime(2024, 3, 29, tzinfo=UTC), datetime(2024, 10, 25, tzinfo=UTC)):
        records = rows(72, start)
        for number, record in enumerate(records):
            record["at"] = start + timedelta(hours=number)
        folder = tmp_path / f"{start:%m}"
        write_csv(folder / "visits.csv", records)
        pumps = context_over(folder / "home", {"kind": "files", "uri": f"{folder}/{{table}}.csv"})
        context = Context(pumps.settings, pumps.params, replace(pumps.usecase, end=date(2025, 1, 1)))  # type: ignore[type-var]
        first = start.date()
        execute("ingest", {"start": str(first), "end": str(first + timedelta(4))}, context)
        local = pd.Series([one["at"] for one in records]).dt.tz_convert("Europe/Berlin").dt.date
        for day, count in local.value_counts().items():
            part = context.data.store.read_table(context.data.partition("raw", "visits", day))  # type: ignore[arg-type]
            assert part.num_rows == count
    assert sorted(local.value_counts()) == [1, 22, 24, 25]


# --- HTTP


def http(api: Api, **changes: Any) -> Record:
    return {"kind": "http", "url": api.url, "per_second": 1000, "attempts": 4} | changes


def test_a_busy_server_is_asked_again_as_it_wishes(reference: Context, tmp_path: Path) -> None:
    busy = {2: (429, {"Retry-After": "0"}), 5: (503, {"Retry-After": "0"}), 6: (500, {"Retry-After": "0"})}
    with Api(as_json(rows()), fail=lambda request, page: busy.get(request)).serving() as api:
        context = context_over(tmp_path / "other", http(api))
        execute("ingest", WINDOW, context)
    assert raw(context) == raw(reference) and len(api.asked) == 13


@pytest.mark.parametrize("cursors", [False, True])
def test_a_read_that_gave_up_goes_on_from_the_page_it_reached(
    reference: Context, tmp_path: Path, cursors: bool
) -> None:
    down = [True]

    def fail(request: int, page: int) -> tuple[int, dict[str, str]] | None:
        return (503, {"Retry-After": "0"}) if page == 4 and down[0] else None

    keys = {"records": "data.items", "next": "meta.next"} if cursors else {}
    with Api(as_json(rows()), cursors=cursors, fail=fail).serving() as api:
        context = context_over(tmp_path / "other", http(api, stable_pages=not cursors, **keys))
        with pytest.raises(Unavailable, match="no answer in 4 attempts"):
            execute("ingest", WINDOW, context)
        assert not Path(context.data.uri()).exists()
        down[0] = False
        api.asked.clear()
        execute("ingest", WINDOW, context)
        assert api.asked[0]["page"] in ("4", "c4")
    assert raw(context) == raw(reference)
    assert not list((context.settings.root / "staging").rglob("*.parquet"))


def test_a_token_comes_from_the_environment_and_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Api(as_json(rows()), fail=lambda request, page: (401, {}) if request > 3 else None).serving() as api:
        context = context_over(tmp_path / "home", http(api, token_env="VISITS_TOKEN"))
        with pytest.raises(InvalidInput, match="VISITS_TOKEN is not set"):
            execute("ingest", WINDOW, context)
        monkeypatch.setenv("VISITS_TOKEN", "sesame")
        with caplog.at_level("DEBUG"), pytest.raises(InvalidInput, match="refuses us \\(401\\)") as raised:
            execute("ingest", WINDOW, context)
        assert api.headers[0]["Authorization"] == "Bearer sesame"
    assert "sesame" not in caplog.text + str(raised.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"items": []}, "holds no list of records"),
        ([1, 2], "holds no list of records"),
        ([{"id": 1, "at": 3}, {"id": "x"}], "values of several types"),
    ],
)
def test_an_answer_of_another_shape_is_named(tmp_path: Path, answer: Any, message: str) -> None:
    with Api([]).serving() as api:
        api.answer = lambda query: (200, {}, answer)  # type: ignore[method-assign]
        with pytest.raises(CorruptData, match=message):
            execute("ingest", WINDOW, context_over(tmp_path / "home", http(api)))


def test_a_next_page_on_another_host_or_the_same_again_is_refused(tmp_path: Path) -> None:
    for body, message in (
        ({"rows": [], "next": "http://localhost:1/x"}, "another host"),
        ({"rows": [], "next": "c1"}, "names page 'c1' as next for a second time"),
    ):
        with Api([]).serving() as api:
            api.answer = lambda query, body=body: (200, {}, body)  # type: ignore[misc, method-assign]
            context = context_over(tmp_path / "home", http(api, records="rows", next="next"))
            with pytest.raises(CorruptData, match=message):
                execute("ingest", WINDOW, context)


# --- SQL


def test_a_database_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_over(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"})
    for url, message in (
        (None, "VISITS_URL is not set"),
        ("postgres", "VISITS_URL is not a database URL"),
        ("nosuch://ada:sesame@db/x", "is not a database URL, or its driver is not installed"),
        (f"sqlite:///{tmp_path}/nowhere/sesame/x.db", "cannot be read for visits"),
        (f"sqlite:///{tmp_path}/empty.db", "has no table visits"),
    ):
        monkeypatch.delenv("VISITS_URL", raising=False)
        if url:
            monkeypatch.setenv("VISITS_URL", url)
        with pytest.raises(FlightdeckError, match=message) as raised:
            execute("ingest", WINDOW, context)
        assert "sesame" not in str(raised.value)


def test_only_the_window_is_read_from_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", rows()))
    context = context_over(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"}, PLAIN)
    assert execute("ingest", day(1), context)["tables"]["visits"]["delivered"] == 16
    with sqlite3.connect(tmp_path / "visits.db") as connection:
        connection.execute("alter table visits drop column value")
    with pytest.raises(CorruptData, match="column value is missing; expected float64"):
        execute("ingest", day(1), context)


# --- larger than memory


def test_a_day_spread_over_many_batches_is_one_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ingestion.staging.BATCH", 2048)
    draw = random.Random(1)
    start = datetime(2024, 3, 28, 23, tzinfo=UTC)
    at = [start + timedelta(seconds=draw.randint(0, 3 * 86400)) for _ in range(20_000)]
    frame = pd.DataFrame({"id": range(20_000), "site": "a", "value": 1.0, "at": at, "changed_at": at})
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "visits.parquet")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.parquet"})
    execute("ingest", WINDOW, context)
    assert read(context, "id").id.tolist() == list(range(20_000))
