"""Ingestion from every kind of source gives the same partitions, however often and in whatever order rows arrive."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.console.data import COMMAND
from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.steps import execute
from tests.examples import costly
from tests.sources import FIRST, Api, as_json, context_over, rows, write_csv
from tests.steps.ingestion.visits import PLAIN, WINDOW, Record, into_sqlite, raw, read


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
    for name, part in frame.groupby(day):
        with fsspec.open(f"memory://{tmp_path.name}/visits/{name}.parquet", "wb") as file:
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
    assert api.queries[0]["from"] == "2024-03-29" and api.queries[0]["to"] == "2024-04-01T22:00:00+00:00"
    assert len(api.queries) == (9 if cursors else 10), "numbered pages end with an empty one"


@costly()
@given(
    order=st.permutations(range(60)),
    twice=st.lists(st.integers(0, 59), max_size=20),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3),
)
def test_order_repetition_and_overlapping_windows_change_no_partition(
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
def test_nor_do_they_where_records_are_corrected_or_move_to_another_day(
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
    ids = whole.data.read("raw", "visits", whole.window(FIRST, FIRST + timedelta(4)))["id"].to_pylist()
    assert len(ids) == len(set(ids)), "a record that moved is only in its new day"


def test_the_newest_record_of_a_key_is_kept_and_ties_are_kept_both(tmp_path: Path) -> None:
    records = rows(20)
    corrected = records[3] | {"value": 99.0, "changed_at": records[3]["changed_at"] + timedelta(hours=1)}
    rival = records[5] | {"value": -5.0}  # as new as the other: neither is known to be right
    write_csv(tmp_path / "visits.csv", [corrected, *records, rival])
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    counts = execute("ingest", WINDOW, context)["tables"]["visits"]
    frame = read(context, "id", "value")
    assert frame[frame.id == 3].value.tolist() == [99.0] and sorted(frame[frame.id == 5].value) == [-5.0, 1.25]
    assert (counts["rows"], counts["superseded"], counts["repeated"]) == (21, 1, 0)


def test_a_restatement_changes_the_history_the_data_version_and_the_days_to_validate(
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
    assert (line.table, line.period, line.added, line.removed) == ("visits", "2024-03-30", 1, 0)
    assert execute("snapshot", {}, context)["data_version"] != before
    history, show = COMMAND.answer({"verb": "history", "table": "visits", "period": None, "restated": True}, context)
    show()
    assert [(one["period"], one["rows"], one["added"]) for one in history] == [("2024-03-30", line.rows, 1)]
    assert "2024-03-30" in capsys.readouterr().out
    with pytest.raises(InvalidInput, match="no table 'visit'; choose from visits"):
        COMMAND.answer({"verb": "history", "table": "visit", "period": None, "restated": False}, context)
    lines = len(context.partitions.lines())
    execute("ingest", WINDOW, context)
    assert len(context.partitions.lines()) == lines == 5, "repeating the read adds no line"
