"""Names are taken literally from source to partition, and a day is the same in any window."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CorruptData, InvalidInput
from pipelines.steps import execute
from pipelines.usecase import RawTable
from tests.conftest import tree_hashes
from tests.examples import costly
from tests.sources import FIRST, TABLE, Api, as_json, context_over, rows, write_csv

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
ODD = ["a b", 'q"t', "it's", "[x]", "{y}", ".lead", "a.b", "100%", "select", "größe", "[", "?", "*", "$1", ":p", "\\n"]
Record = dict[str, Any]


def odd_table(declared: str) -> tuple[RawTable, list[Record]]:
    """A table whose key and values have odd names; further columns are not declared."""
    columns = {f"{declared}!": "int32", declared: "string", "at": "timestamp[us, UTC]"}
    records = [
        {f"{declared}!": one["id"], declared: "x", "at": one["at"]} | {name: "y" for name in ODD if name != declared}
        for one in rows(8)
    ]
    return RawTable("visits", (f"{declared}!",), columns, day="at"), as_json(records)


def into_sqlite(file: Path, records: list[Record], name: str = "visits") -> str:
    names = ", ".join('"' + column.replace('"', '""') + '"' for column in records[0])
    quoted = '"' + name.replace('"', '""') + '"'
    with sqlite3.connect(file) as connection:
        connection.execute(f"create table {quoted} ({names})")
        marks = ", ".join("?" * len(records[0]))
        connection.executemany(f"insert into {quoted} values ({marks})", [tuple(one.values()) for one in records])
    return f"sqlite:///{file}"


@pytest.mark.parametrize("declared", ODD)
def test_odd_names_are_kept_from_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str) -> None:
    table, records = odd_table(declared)
    write_csv(tmp_path / "visits.csv", records)
    pd.DataFrame(records).to_parquet(tmp_path / "visits.parquet")
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "visits.db", records))
    with Api(records).serving() as api:
        sources: list[Record] = [
            {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"},
            {"kind": "files", "uri": f"{tmp_path}/{{table}}.parquet"},
            {"kind": "sql", "url_env": "VISITS_URL"},
            {"kind": "http", "url": api.url, "per_second": 1000},
        ]
        hashes = []
        for number, source in enumerate(sources):
            context = context_over(tmp_path / f"home{number}", source, table)
            execute("ingest", WINDOW, context)
            hashes.append(tree_hashes(Path(context.data.uri("raw"))))
    part = context.data.store.read_table(context.data.partition("raw", "visits", FIRST))
    assert part.column_names == [*table.columns, "local_day", *sorted({*ODD} - {declared})]
    assert part[declared].to_pylist() == ["x"] * 8
    assert all(one == hashes[0] for one in hashes)


@pytest.mark.parametrize("name", ["vi sits", 'vi"sits', "Vi.Sits", "order", "v%s", "{v}", "v*", "v?", "[v]", "a::b"])
def test_a_table_of_any_name_is_read_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    table = replace(TABLE, name=name)
    write_csv(tmp_path / "in" / f"{name}-1.csv", rows(8))
    for other in ("vi-1.csv", "v-1.csv", "vx-1.csv"):
        write_csv(tmp_path / "in" / other, rows(20)[8:])
    monkeypatch.setenv("VISITS_URL", into_sqlite(tmp_path / "v.db", as_json(rows(8)), name))
    for number, source in enumerate(
        (
            {"kind": "files", "uri": f"{tmp_path}/in/{{table}}-1.csv"},
            {"kind": "files", "uri": f"{tmp_path}/in/{{table}}-*.csv"},
            {"kind": "sql", "url_env": "VISITS_URL"},
        )
    ):
        context = context_over(tmp_path / f"home{number}", source, table)
        assert execute("ingest", WINDOW, context)["tables"][name]["delivered"] == 8


def test_a_folder_with_brackets_is_not_read_as_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "[in] ?"
    write_csv(folder / "visits-1.csv", rows(8))
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{folder}/{{table}}-*.csv"})
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["delivered"] == 8


TWICE: list[tuple[Record, Record]] = [({"Extra": 1, "extra": 2}, {}), ({"Extra": 1}, {"extra": 2}), ({"VALUE": 1}, {})]


@pytest.mark.parametrize(("first", "second"), TWICE)
@pytest.mark.parametrize("kind", ["csv", "http"])
def test_names_that_differ_in_case_only_are_refused_also_across_pieces(
    tmp_path: Path, kind: str, first: Record, second: Record
) -> None:
    parts = [[one | first for one in rows()[:7]], [one | second for one in rows()[7:14]]]
    for number, part in enumerate(parts):
        write_csv(tmp_path / f"visits-{number}.csv", part)
    with Api(as_json([*parts[0], *parts[1]])).serving() as api:
        csv = {"kind": "files", "uri": f"{tmp_path}/{{table}}-*.csv"}
        http = {"kind": "http", "url": api.url, "per_second": 1000, "stable_pages": True}
        context = context_over(tmp_path / "home", csv if kind == "csv" else http)
        with pytest.raises(CorruptData, match=r"'(Extra|VALUE|value)' and '(extra|VALUE|value)' differ only"):
            execute("ingest", WINDOW, context)
    assert not Path(context.data.uri()).exists()
    assert not list((context.settings.root / "staging").rglob("*.parquet"))


def test_a_declared_name_is_matched_exactly(tmp_path: Path) -> None:
    write_csv(tmp_path / "visits.csv", [{name.title(): one[name] for name in one} for one in rows(3)])
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    with pytest.raises(CorruptData, match=r"column id is missing .*; Id is not id"):
        execute("ingest", WINDOW, context)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_without_a_name_is_refused(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(rows(3)).assign(**{"": "x"})
    frame.to_csv(tmp_path / "visits.csv", index=False)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "visits.parquet")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.{suffix}"})
    with pytest.raises(CorruptData, match="a column has no name"):
        execute("ingest", WINDOW, context)


def test_a_new_name_that_differs_only_in_case_from_a_stored_one_is_refused(tmp_path: Path) -> None:
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}-{{day}}.csv", "incremental": True}
    context = context_over(tmp_path / "home", source)
    for number, name in enumerate(("Mood", "mood")):
        write_csv(tmp_path / f"visits-{FIRST + timedelta(number)}.csv", [one | {name: "x"} for one in rows(8)])
    execute("ingest", {"start": str(FIRST), "end": str(FIRST + timedelta(1))}, context)
    with pytest.raises(CorruptData, match="'Mood' and 'mood' differ only in the case"):
        execute("ingest", {"start": str(FIRST + timedelta(1)), "end": str(FIRST + timedelta(2))}, context)


# --- a column that only some days have


@costly()
@given(
    extras=st.lists(st.sampled_from([None, "mood", "note"]), min_size=60, max_size=60),
    lone=st.integers(0, 59),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=3),
)
def test_a_day_has_the_same_columns_in_any_window(
    tmp_path_factory: pytest.TempPathFactory, extras: list[str | None], lone: int, cuts: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("days")
    records = [one | ({} if extra is None else {extra: "x"}) for one, extra in zip(rows(), extras, strict=True)]
    records[lone]["rare"] = 1
    undated = [one | {"id": 100 + n, "at": None, "apart": "z"} for n, one in enumerate(rows(2))]
    write_csv(folder / "visits.csv", [*records, *undated])
    source = {"kind": "files", "uri": f"{folder}/{{table}}.csv"}
    whole, pieces = (context_over(folder / home, source) for home in ("whole", "pieces"))
    execute("ingest", WINDOW, whole)
    for first, last in (*(cut for cut in cuts if cut[0] < cut[1]), *((n, n + 1) for n in range(4)), (0, 4)):
        window = {"start": str(FIRST + timedelta(first)), "end": str(FIRST + timedelta(last))}
        counts = execute("ingest", window, pieces)["tables"]["visits"]
    assert counts["restated"] == [] and counts["partitions"] == 0
    assert [tree_hashes(Path(whole.data.uri(zone))) for zone in ("raw", "quarantine")] == [
        tree_hashes(Path(pieces.data.uri(zone))) for zone in ("raw", "quarantine")
    ]
    for day in whole.data.periods("raw", "visits"):
        part = whole.data.store.read_table(whole.data.partition("raw", "visits", day))
        others = part.column_names[len(TABLE.columns) + 1 :]
        assert others == sorted(others) and all(part[name].null_count < part.num_rows for name in others)


def test_an_empty_column_is_left_out_of_partitions(tmp_path: Path) -> None:
    makers = RawTable("visits", ("id",), {"id": "int32"})
    (tmp_path / "visits.csv").write_text("id,gone,kept\n1,,\n2,,x\n")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}, makers)
    execute("ingest", WINDOW, context)
    assert context.data.read_reference("raw", "visits").column_names == ["id", "kept"]


def test_a_removed_column_is_reported_as_changed_rows_only(tmp_path: Path) -> None:
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}
    context = context_over(tmp_path / "home", source)
    write_csv(tmp_path / "visits.csv", [one | {"mood": "x" if n == 3 else None} for n, one in enumerate(rows())])
    execute("ingest", WINDOW, context)
    write_csv(tmp_path / "visits.csv", rows())
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["restated"] == [str(FIRST)]
    (line,) = context.partitions.lines(restated=True)
    assert (line.added, line.removed) == (1, 1)


# --- places that are not files


def place(kind: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "visits.csv"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")
    return file


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("uri", ["{file}", "file://{file}", "simplecache::file://{file}", "{folder}/*.csv"])
def test_files_that_are_not_regular_are_refused_without_waiting(tmp_path: Path, kind: str, uri: str) -> None:
    file = place(kind, tmp_path / "in")
    source = {"kind": "files", "uri": uri.replace("{file}", str(file)).replace("{folder}", str(file.parent))}
    with pytest.raises(InvalidInput, match=f"is not a file but a ({kind}|pipe or a device)"):
        execute("ingest", WINDOW, context_over(tmp_path / "home", source))
