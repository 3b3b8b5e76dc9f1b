"""Files and databases from which rows could be lost silently, and files over HTTP."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData, FlightdeckError, MissingData, Unavailable
from pipelines.steps import execute
from pipelines.usecase import RawTable
from tests.conftest import tree_hashes
from tests.sources import FIRST, TABLE, as_json, context_over, rows, server, write_csv

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
OPTIONAL = replace(TABLE, required=False)


def day(number: int) -> dict[str, str]:
    return {"start": str(FIRST + timedelta(number)), "end": str(FIRST + timedelta(number + 1))}


def row_count(context: Context) -> int:
    return len(context.data.read("raw", "visits", context.window(FIRST, FIRST + timedelta(4))))


def by_day() -> dict[date, list[dict[str, Any]]]:
    days: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for row in rows():
        days[row["at"].astimezone(ZoneInfo("Europe/Berlin")).date()].append(row)
    return days


def write_days(folder: Path, days: dict[date, list[dict[str, Any]]]) -> dict[str, Any]:
    for day, part in days.items():
        write_csv(folder / f"visits-{day}.csv", part)
    return {"kind": "files", "uri": f"{folder}/{{table}}-{{day}}.csv"}


# --- archives


def zipped(file: Path, *members: str) -> dict[str, Any]:
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [name for name in members if not name.endswith("/")]
    with zipfile.ZipFile(file, "w") as archive:
        for name in members:
            part = rows()[parts.index(name) :: len(parts)] if name in parts else None
            archive.writestr(name, "" if part is None else pd.DataFrame(as_json(part)).to_csv(index=False))
    return {"kind": "files", "uri": f"{file.parent}/{{table}}.csv.zip"}


def test_an_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    for members, message in ((("a.csv", "b.csv"), r"holds 2 files \(a\.csv, b\.csv\)"), ((), r"holds 0 files")):
        context = context_over(tmp_path / "home", zipped(tmp_path / "in" / "visits.csv.zip", *members))
        with pytest.raises(CorruptData, match=message):
            execute("ingest", WINDOW, context)
        assert not Path(context.data.uri()).exists()


def test_a_folder_in_an_archive_is_not_read_as_a_file(tmp_path: Path) -> None:
    context = context_over(tmp_path / "home", zipped(tmp_path / "in" / "visits.csv.zip", "in/", "in/visits.csv"))
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["rows"] == 60


# --- a file a day


def test_a_row_in_the_file_of_another_day_is_refused(tmp_path: Path) -> None:
    days = by_day()
    days[date(2024, 3, 30)].append(days[date(2024, 3, 29)].pop())
    source = write_days(tmp_path / "in", days)
    context = context_over(tmp_path / "home", source)
    for window in (WINDOW, day(1)):
        with pytest.raises(
            CorruptData, match=r"visits-2024-03-30\.csv is the file of 2024-03-30 and holds 1 rows of ot"
        ):
            execute("ingest", window, context)
    execute("ingest", day(0), context)
    changes = context_over(tmp_path / "changes", source | {"incremental": True})
    for number in range(4):
        execute("ingest", day(number), changes)
    assert row_count(changes) == 60


@pytest.mark.parametrize("name", ["visits-{day}.csv", "visits.csv"])
def test_a_deleted_file_removes_no_rows(tmp_path: Path, name: str) -> None:
    write_days(tmp_path / "in", by_day())
    write_csv(tmp_path / "in" / "visits.csv", rows())
    context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{tmp_path}/in/{name}"}, OPTIONAL)
    execute("ingest", WINDOW, context)
    before = tree_hashes(Path(context.data.uri("raw")))
    gone = [date(2024, 3, 30)] if "day" in name else [FIRST + timedelta(n) for n in range(4)]
    (tmp_path / "in" / name.replace("{day}", "2024-03-30")).unlink()
    counts = execute("ingest", WINDOW, context)["tables"]["visits"]
    assert counts["kept"] == [str(one) for one in gone] and counts["restated"] == []
    assert tree_hashes(Path(context.data.uri("raw"))) == before
    new = context_over(tmp_path / "new", {"kind": "files", "uri": f"{tmp_path}/in/{name}"}, OPTIONAL)
    assert execute("ingest", WINDOW, new)["tables"]["visits"]["kept"] == []
    assert row_count(new) == 60 - sum(len(by_day()[one]) for one in gone), "a day that never had rows is empty"


def test_an_empty_file_empties_its_day(tmp_path: Path) -> None:
    source = write_days(tmp_path / "in", by_day())
    context = context_over(tmp_path / "home", source, OPTIONAL)
    execute("ingest", WINDOW, context)
    write_csv(tmp_path / "in" / "visits-2024-03-30.csv", [])
    (tmp_path / "in" / "visits-2024-03-30.csv").write_text(",".join(TABLE.columns) + "\n")
    assert execute("ingest", WINDOW, context)["tables"]["visits"]["restated"] == ["2024-03-30"]


# --- nulls that no comparison finds


def test_a_database_row_without_a_date_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "d.db") as connection:
        connection.execute('create table visits (id integer, "on" date)')
        connection.executemany("insert into visits values (?, ?)", [(1, "2024-03-29"), (2, None), (3, "2024-03-30")])
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'd.db'}")
    dated = RawTable("visits", ("id",), {"id": "int32", "on": "date32"}, day="on")
    counts = execute("ingest", day(0), context_over(tmp_path / "home", {"kind": "sql", "url_env": "VISITS_URL"}, dated))
    assert [counts["tables"]["visits"][name] for name in ("delivered", "rows", "undated")] == [2, 1, 1]


def test_a_change_without_an_instant_is_read_in_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISITS_URL", f"sqlite:///{tmp_path / 'v.db'}")
    with sqlite3.connect(tmp_path / "v.db") as connection:
        connection.execute("create table visits (id integer, site text, value real, at datetime, changed_at datetime)")
        for row in rows():
            instants = [row[name].replace(tzinfo=None).isoformat(" ") for name in ("at", "changed_at")]
            known = None if row["id"] == 4 else instants[1]
            connection.execute("insert into visits values (?, 'a', 1.0, ?, ?)", (row["id"], instants[0], known))
    source = {"kind": "sql", "url_env": "VISITS_URL", "incremental": True}
    whole, pieces = (context_over(tmp_path / home, source) for home in ("whole", "pieces"))
    execute("ingest", WINDOW, whole)
    for number in (0, 1, 1, 3, 2):
        counts = execute("ingest", day(number), pieces)["tables"]["visits"]
    assert row_count(whole) == 60 and counts["restated"] == []
    assert tree_hashes(Path(whole.data.uri("raw"))) == tree_hashes(Path(pieces.data.uri("raw")))
    with sqlite3.connect(tmp_path / "v.db") as connection:
        connection.execute("update visits set value = 9, changed_at = '2024-04-01 12:00:00' where id = 4")
    execute("ingest", day(3), pieces)
    frame = pieces.data.read("raw", "visits", pieces.window(FIRST, FIRST + timedelta(4))).to_pandas()
    assert frame[frame.id == 4].value.tolist() == [9.0], "a record with an instant is newer than one without"


# --- over HTTP


def content(name: str) -> bytes:
    frame = pd.DataFrame(rows())
    if name.endswith(".parquet"):
        into = io.BytesIO()
        frame.to_parquet(into, index=False)
        return into.getvalue()
    text = pd.DataFrame(as_json(rows())).to_csv(index=False)
    if not name.endswith(".zip"):
        return text.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("visits.csv", text)
    return packed.getvalue()


def serve(name: str, headers: dict[str, str], status: int = 200) -> Callable[[BaseHTTPRequestHandler], Any]:
    """Serves one file under its name, by ranges where requested."""
    whole = content(name)

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if handler.path != f"/{name}" or status != 200:
            return (404 if status == 200 else status), {}, b""
        span = handler.headers.get("Range", "")
        if not span or headers:
            return 200, {"Accept-Ranges": "bytes", **headers}, whole
        first, last = span.removeprefix("bytes=").split("-")
        end = min(int(last or len(whole) - 1), len(whole) - 1)
        fields = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{end}/{len(whole)}"}
        return 206, fields, whole[int(first) : end + 1]

    return answer


@pytest.mark.parametrize("name", ["visits.csv", "visits.csv.zip", "visits.parquet"])
def test_a_file_over_http_gives_the_same_partitions(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "visits.csv", rows())
    local = context_over(tmp_path / "local", {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv"})
    execute("ingest", WINDOW, local)
    with server(serve(name, {})) as url:
        context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{url}/{name}"})
        execute("ingest", WINDOW, context)
    assert tree_hashes(Path(context.data.uri("raw"))) == tree_hashes(Path(local.data.uri("raw")))


@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet"])
def test_a_missing_or_truncated_file_over_http_is_named(tmp_path: Path, name: str) -> None:
    with server(serve(name, {})) as url:
        context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{url}/no-{name}"})
        with pytest.raises(MissingData, match=f"no-{name} does not exist"):
            execute("ingest", WINDOW, context)
    with server(serve(name, {"Content-Length": "99999"})) as url:
        context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{url}/{name}"})
        with pytest.raises(FlightdeckError, match=f"{name} cannot be (read|reached)"):
            execute("ingest", WINDOW, context)
    assert not Path(context.data.uri()).exists()


def test_a_failing_server_does_not_mean_an_empty_day(tmp_path: Path) -> None:
    with server(serve("visits.csv", {}, status=500)) as url:
        context = context_over(tmp_path / "home", {"kind": "files", "uri": f"{url}/{{table}}.csv"}, OPTIONAL)
        with pytest.raises(Unavailable, match=r"cannot be reached .*500"):
            execute("ingest", WINDOW, context)
    with pytest.raises(Unavailable, match=r"cannot be reached"):
        execute("ingest", WINDOW, context)  # the server has stopped
    assert not Path(context.data.uri()).exists()
