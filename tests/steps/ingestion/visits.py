"""Shared by the tests of ingestion: the window of the visits, their partitions, and a database of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import sqlalchemy as sa

from pipelines.context import Context
from tests.conftest import tree_hashes
from tests.sources import FIRST, TABLE

WINDOW = {"start": str(FIRST), "end": str(FIRST + timedelta(4))}
PLAIN = replace(TABLE, known=None)
Record = dict[str, Any]


def raw(context: Context) -> dict[str, str]:
    return tree_hashes(Path(context.data.uri("raw")))


def read(context: Context, *columns: str) -> pd.DataFrame:
    window = context.window(*(date.fromisoformat(WINDOW[end]) for end in ("start", "end")))
    table = context.data.read("raw", "visits", window)
    frame: pd.DataFrame = table.to_pandas()
    return frame.sort_values("id")[list(columns)].reset_index(drop=True)


def into_sqlite(file: Path, records: list[Record], zone: str = "UTC") -> str:
    """A database whose instants are naive local times."""
    file.unlink(missing_ok=True)
    engine = sa.create_engine(f"sqlite:///{file}")
    kinds = (sa.Integer, sa.String, sa.Float, sa.DateTime, sa.DateTime)
    columns: list[sa.Column[Any]] = [sa.Column(name, kind) for name, kind in zip(TABLE.columns, kinds, strict=True)]
    table = sa.Table("visits", sa.MetaData(), *columns)
    table.create(engine)
    local = [
        one | {name: one[name].astimezone(ZoneInfo(zone)).replace(tzinfo=None) for name in ("at", "changed_at")}
        for one in records
    ]
    if local:
        with engine.begin() as connection:
            connection.execute(sa.insert(table), local)
    engine.dispose()
    return f"sqlite:///{file}"
