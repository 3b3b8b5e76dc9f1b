"""Random point-in-time cases, the right answer by definition, and the stores under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String
from hypothesis import strategies as st

from pipelines.offline.repository import open_store
from pipelines.settings import Settings
from pipelines.store import Layout, Store

ORIGIN = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000  # microseconds
TTL = 6 * HOUR
PROJECT = "cases"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("part", pa.int64()),
        ("known_at", pa.timestamp("us", "UTC")),
        ("created", pa.timestamp("us", "UTC")),
        ("value", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Row:
    """A feature row; instants in microseconds since ORIGIN."""

    key: str | None
    part: int | None
    known: int
    created: int | None
    value: float | None


@dataclass(frozen=True)
class Line:
    """An entity row."""

    key: str | None
    other: str | None
    part: int | None
    asked: int


@dataclass(frozen=True)
class Question:
    """One view, as `answer` sees it: the attribute of a line that each key of a row must equal."""

    keys: Mapping[str, str]
    ttl: int | None
    created: bool


QUESTIONS = {
    "short__value": Question({"key": "key"}, TTL, True),
    "forever__value": Question({"key": "key"}, None, True),
    "tied__value": Question({"key": "key"}, TTL, False),
    "mapped__amount": Question({"key": "key", "part": "part"}, TTL, True),
    "aliased__value": Question({"key": "other"}, TTL, True),
    "everyone__value": Question({}, TTL, True),
}


def answer(rows: Sequence[Row], line: Line, question: Question, only_written: bool = False) -> float | None:
    """The value of the latest row of the line's entity that was known at the line's instant and is within the ttl.

    Of rows known at the same instant the one created last counts (null before any other), then the last one in
    order. With `only_written`, rows created after the instant, or at an unknown one, do not count.
    """
    best: tuple[tuple[float, ...], float | None] | None = None
    for position, row in enumerate(rows):
        keys = [(getattr(row, name), getattr(line, wanted)) for name, wanted in question.keys.items()]
        if any(own is None or own != wanted for own, wanted in keys) or row.known > line.asked:
            continue
        if question.ttl is not None and line.asked - row.known > question.ttl:
            continue
        if only_written and question.created and (row.created is None or row.created > line.asked):
            continue
        created = float("-inf") if row.created is None or not question.created else row.created
        rank = (row.known, created, position)
        if best is None or rank > best[0]:
            best = (rank, row.value)
    return None if best is None else best[1]


def cases(least: int = 1) -> st.SearchStrategy[tuple[list[Row], list[Line]]]:
    """Few keys, and instants at whole hours or a microsecond off, so that ties and exact ttls are common.

    Args:
        least: number of rows, and of entity rows.
    """
    instants = st.builds(lambda hour, beside: hour * HOUR + beside, st.integers(1, 30), st.sampled_from([-1, 0, 0, 1]))
    keys, parts = st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, None])
    values = st.none() | st.floats(-1e6, 1e6)
    rows = st.builds(Row, keys, parts, instants, st.none() | instants, values)
    lines = st.builds(Line, keys, keys, parts, instants)
    return st.tuples(st.lists(rows, min_size=least, max_size=25), st.lists(lines, min_size=least, max_size=12))


def at(micros: int | None) -> datetime | None:
    return None if micros is None else ORIGIN + timedelta(microseconds=micros)


def table(rows: Sequence[Row]) -> pa.Table:
    dicts = [
        {"key": r.key, "part": r.part, "known_at": at(r.known), "created": at(r.created), "value": r.value}
        for r in rows
    ]
    return pa.Table.from_pylist(dicts, schema=SCHEMA)


def entity_rows(lines: Sequence[Line]) -> pd.DataFrame:
    instants = pd.to_datetime(pd.Series([at(line.asked) for line in lines], dtype=object), utc=True)
    frame = pd.DataFrame({"key": [line.key for line in lines], "other": [line.other for line in lines]}, dtype=object)
    frame["part"] = pd.array([line.part for line in lines], dtype="Int64")
    return frame.assign(who=frame.key, lot=frame.part, event_timestamp=instants, note=range(len(lines)))


def declarations(path: Callable[[str], str]) -> list[Any]:
    """The views of QUESTIONS, each over its own source, and the service `all` of all of them."""
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=kind)
        for name, kind in (
            ("key", ValueType.STRING),
            ("who", ValueType.STRING),
            ("lot", ValueType.INT64),
        )
    }
    types = {"key": String, "who": String, "lot": Int64}

    def view(name: str, keys: Sequence[str], ttl: int | None, created: bool, **names: str) -> FeatureView:
        mapping = {stored.removesuffix("_"): declared for stored, declared in names.items()}
        source = FileSource(
            name=name,
            path=path("rows"),
            timestamp_field=mapping.get("known_at", "known_at"),
            created_timestamp_column=mapping.get("created", "created") if created else "",
            field_mapping=mapping,
        )
        schema = [Field(name=key, dtype=types[key]) for key in keys]
        schema += [Field(name=mapping.get("value", "value"), dtype=Float64)]
        lasts = timedelta(microseconds=ttl or 0)
        return FeatureView(name=name, entities=[entities[k] for k in keys], ttl=lasts, schema=schema, source=source)

    views = [
        view("short", ["key"], TTL, True),
        view("forever", ["key"], None, True),
        view("tied", ["key"], TTL, False),
        view(
            "mapped", ["who", "lot"], TTL, True, key="who", part="lot", value="amount", known_at="since", created_="on"
        ),
        view("everyone", [], TTL, True),
    ]
    aliased = views[0].with_name("aliased").with_join_key_map({"key": "other"})
    named = [view.with_name(view.name) for view in views]  # Feast cannot sort a view beside its own alias
    return [*entities.values(), *views, FeatureService(name="all", features=[*named, aliased])]


def our_store(home: Path) -> tuple[FeatureStore, Callable[[Sequence[Row]], None]]:
    """Our store, and a function that writes rows into it, one partition a day."""
    store = open_store(Settings(home=home), PROJECT)
    store.apply(declarations(lambda name: f"features/{name}"))
    data = Layout(Store(store.config.offline_store.root), PROJECT)

    def write(rows: Sequence[Row]) -> None:
        data.store.delete(data.uri("features"))
        for day in range(3):
            of_day = [row for row in rows if row.known // (24 * HOUR) == day]
            date = (ORIGIN + timedelta(days=day)).date()
            data.store.write_table(data.partition("features", "rows", date), table(of_day))

    return store, write


def feast_store(home: Path, kind: str) -> tuple[FeatureStore, Callable[[Sequence[Row]], None]]:
    """One of Feast's own stores, `duckdb` or `dask`, and a function that writes rows into its only file."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "rows.parquet"
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(home / "registry.db"),
            online_store={"type": "sqlite", "path": str(home / "online.db")},
            offline_store={"type": kind},
            entity_key_serialization_version=3,
        )
    )
    pq.write_table(table([Row("a", 1, 0, 0, 0.0)]), file)
    store.apply(declarations(lambda name: str(file)))
    return store, lambda rows: pq.write_table(table(sorted(rows, key=lambda row: row.known // (24 * HOUR))), file)
