"""Broken, empty or odd files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipelines.errors import CorruptData
from pipelines.steps import execute
from pipelines.usecase import DAY
from tests.sources import FIRST, TABLE, as_json, context_over, rows, write_csv
from tests.steps.ingestion.visits import WINDOW


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


def test_a_file_with_only_a_header_gives_empty_partitions(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text(",".join(TABLE.columns) + "\n")
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 0
    table = context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(4)))
    assert table.num_rows == 0 and table.column_names == [*TABLE.columns, DAY]


def test_a_very_long_string_and_odd_numbers_are_left_to_validation(tmp_path: Path) -> None:
    records = rows(10)
    records[2]["site"] = "x" * 1_000_000
    for number, value in ((3, "NaN"), (4, "inf"), (5, "-inf")):
        records[number]["value"] = value
    write_csv(tmp_path / "visits.csv", records)
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    execute("ingest", WINDOW, context)
    table = context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(4))).sort_by("id")
    assert len(table["site"][2].as_py()) == 1_000_000
    assert table["value"].to_pylist()[3:6] == [None, float("inf"), float("-inf")], "NaN is missing, infinity is not"
