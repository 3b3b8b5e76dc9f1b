"""Rows without a day: quarantined once, counted against the window, released when the source gives a day."""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.console.quarantine import list_rows
from pipelines.context import Context, build_context
from pipelines.errors import CorruptData
from pipelines.steps import execute
from tests.conftest import TOY, tree_hashes
from tests.examples import seeds
from tests.sources import FIRST, TABLE, as_json, context_over, rows, versions, write_csv

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
PLAIN = replace(TABLE, known=None)


def day(number: int) -> dict[str, str]:
    return {"start": str(FIRST + timedelta(number)), "end": str(FIRST + timedelta(number + 1))}


def without_day(*numbers: int) -> list[dict[str, Any]]:
    return [one | ({"at": None} if n in numbers else {}) for n, one in enumerate(as_json(rows()))]


def apart(context: Context) -> list[int]:
    place = context.data.uri("quarantine", "visits", "undated.parquet")
    return context.data.store.read_table(place)["id"].to_pylist() if context.data.store.exists(place) else []


@pytest.fixture(params=["csv", "sql", "incremental"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if request.param == "csv":
        return {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    return {"kind": "sql", "url_env": "VISITS_URL", "incremental": request.param == "incremental"}


def put(records: list[dict[str, Any]], tmp_path: Path) -> None:
    """Write records into both the file and the database."""
    write_csv(tmp_path / "visits.csv", records)

    def cell(name: str, value: Any) -> Any:
        return value.replace("+00:00", "").replace("T", " ") if name.endswith("at") and value else value

    plain = [[cell(*item) for item in one.items()] for one in records]
    with sqlite3.connect(tmp_path / "visits.db") as connection:
        connection.execute("drop table if exists visits")
        connection.execute("create table visits (id integer, site text, value real, at datetime, changed_at datetime)")
        connection.executemany("insert into visits values (?, ?, ?, ?, ?)", [tuple(one) for one in plain])


def test_one_partition_holds_undated_rows_once_whichever_windows_read_them(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    put(without_day(5, 9, 50), tmp_path)
    whole, pieces = (context_over(tmp_path / home, source) for home in ("whole", "pieces"))
    counts = execute("ingest", WINDOW, whole)["tables"]["visits"]
    assert (counts["undated"], counts["rows"]) == (3, 57)
    for number in (0, 1, 1, 3, 2, 3):
        execute("ingest", day(number), pieces)
    assert apart(whole) == [5, 9, 50]
    hashes = [tree_hashes(Path(context.data.uri("quarantine"))) for context in (whole, pieces)]
    assert hashes[0] == hashes[1] and len(hashes[0]) == 1
    listing, _ = list_rows(None, "undated", pieces)
    assert listing == [{"table": "visits", "period": "undated", "rows": 3, "reasons": {"no_day": 3}}]


def test_a_few_undated_rows_stop_nothing_and_many_new_ones_stop_the_run(tmp_path: Path, source: dict[str, Any]) -> None:
    put(without_day(4, 50), tmp_path)
    context = context_over(tmp_path / "home", source, PLAIN if not source.get("incremental") else TABLE)
    execute("ingest", day(0), context)  # 2 of some 17 are far more than 2 %
    put(without_day(*range(20, 26)), tmp_path)
    with pytest.raises(CorruptData, match=r"6 new rows have no at and so no partition, beside \d+ of the window"):
        execute("ingest", day(1), context)
    put(without_day(*range(20, 25)), tmp_path)
    for number in range(4):
        execute("ingest", day(number), context)  # the five are counted as new once, however often they arrive
    assert set(range(20, 25)) <= set(apart(context))


def test_a_row_whose_day_becomes_known_leaves_quarantine(tmp_path: Path, source: dict[str, Any]) -> None:
    put(without_day(5, 9), tmp_path)
    context = context_over(tmp_path / "home", source)
    execute("ingest", WINDOW, context)
    records = without_day(9)
    records[5]["changed_at"] = datetime(2024, 4, 1, 12, tzinfo=UTC).isoformat()
    put(records, tmp_path)
    counts = execute("ingest", WINDOW, context)["tables"]["visits"]
    assert counts["undated"] == 1 and apart(context) == [9]
    assert 5 in context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(4)))["id"].to_pylist()
    put(without_day(), tmp_path)
    execute("ingest", WINDOW, context)
    assert apart(context) == [], "although its change has no instant"
    assert not list(Path(context.data.uri("quarantine")).rglob("*.parquet"))


@pytest.mark.parametrize("seed", seeds(1, 40))
def test_a_record_that_loses_or_gains_its_day_is_in_one_place(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incremental days in any order end with the same data as one full read, quarantine included."""
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'visits.db'}")
    draw = random.Random(seed)
    records = versions(draw, 30, lambda first, _: draw.choice([first, first, first + timedelta(hours=26), None]))
    put(as_json(records), tmp_path)
    kept = {"max_quarantine_share": 1.0}
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True}
    whole, pieces = (context_over(tmp_path / home, source, validation=kept) for home in ("whole", "pieces"))
    execute("ingest", {"start": str(FIRST), "end": str(FIRST + timedelta(6))}, whole)
    order = [*range(6), *draw.sample(range(6), 3)]
    for number in order:
        execute("ingest", day(number), pieces)
    assert apart(whole) and apart(whole) == apart(pieces)
    for zone in ("raw", "quarantine"):
        assert tree_hashes(Path(whole.data.uri(zone))) == tree_hashes(Path(pieces.data.uri(zone)))


def test_an_undated_row_without_a_key_stays_and_a_changed_declaration_is_reported(tmp_path: Path) -> None:
    source = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"}
    put([{**one, "id": ""} if n == 3 else one for n, one in enumerate(without_day(3))], tmp_path)
    context = context_over(tmp_path / "home", source)
    execute("ingest", WINDOW, context)
    put(without_day(), tmp_path)
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["undated"] == 1
    place = context.data.uri("quarantine", "visits", "undated.parquet")
    odd = context.data.store.read_table(place).drop_columns(["value"]).append_column("value", pa.array(["high"]))
    context.data.store.write_table(place, odd)
    with pytest.raises(CorruptData, match="does not fit what visits declares now"):
        execute("ingest", WINDOW, context)


def test_the_console_shows_undated_rows_and_releases_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    context = build_context(TOY, home)
    execute("ingest", {"start": "2024-03-01", "end": "2024-03-03"}, context)
    part = context.data.store.read_table(context.data.partition("raw", "readings", date(2024, 3, 1))).slice(0, 2)
    undated = part.append_column("reason", pa.array(["no_day"] * 2))
    context.data.store.write_table(context.data.uri("quarantine", "readings", "undated.parquet"), undated)
    words = ["--params", str(TOY), "--home", str(home)]
    assert main(["quarantine", "list", "--day", "undated", *words, "--json"]) == 0
    assert [(one["period"], one["rows"]) for one in json.loads(capsys.readouterr().out)] == [("undated", 2)]
    assert main(["quarantine", "show", "readings", "undated", *words]) == 0
    assert "no_day" in capsys.readouterr().out
    assert main(["quarantine", "release", "readings", "undated", "--why", "x", *words]) == 2
    assert "give it one at the source" in capsys.readouterr().err
    assert main(["quarantine", "show", "makers", "undated", *words]) == 2
    assert "makers has no quarantined row on undated" in capsys.readouterr().err
