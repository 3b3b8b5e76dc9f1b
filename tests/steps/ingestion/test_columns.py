"""New columns, missing columns and columns of another type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.errors import CorruptData
from pipelines.steps import execute
from tests.sources import Api, as_json, context_over, rows, write_csv
from tests.steps.ingestion.visits import WINDOW, Record, read


def test_a_new_column_is_recorded_and_kept(tmp_path: Path) -> None:
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
