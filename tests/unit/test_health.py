"""Feature health against a brute-force computation, and its verdicts."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.feature_report import overlapping, read_feature_report
from pipelines.errors import CorruptData
from pipelines.features.health import View, engine, judge, measure
from pipelines.monitoring.health import health_sentence, summarize_health
from pipelines.params.features import Bar, Health
from pipelines.store import Store
from pipelines.verdict import Verdict
from tests.artifacts import feature_report

END = datetime(2024, 3, 5, tzinfo=UTC)
VIEW = View("heat", ("pump",), ("warm", "kind"), "known_at", timedelta(days=2), dated=True)
SCHEMA = pa.schema(
    {"pump": pa.string(), "known_at": pa.timestamp("us", "UTC"), "warm": pa.float32(), "kind": pa.string()}
)

values = st.one_of(st.sampled_from([None, math.nan, math.inf, -math.inf]), st.floats(width=32, allow_nan=False))
rows = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), st.integers(0, 86_399), values, st.sampled_from(["a", None])),
    max_size=6,
)


def write(folder: Path, days: list[list[Any]], last: datetime) -> list[str]:
    """Write one partition a day; the last day ends at an instant."""
    files = []
    for number, day in enumerate(days):
        begins = last - timedelta(days=len(days) - number)
        columns = {
            "pump": [row[0] for row in day],
            "known_at": [begins + timedelta(seconds=row[1]) for row in day],
            "warm": [row[2] for row in day],
            "kind": [row[3] for row in day],
        }
        files.append(str(folder / f"{begins:%Y-%m-%d}.parquet"))
        pq.write_table(pa.table(columns, schema=SCHEMA), files[-1])
    return files


def frame(days: list[list[Any]], last: datetime) -> pd.DataFrame:
    parts = [
        (*row[:1], last - timedelta(days=len(days) - n) + timedelta(seconds=row[1]), *row[2:], n)
        for n, day in enumerate(days)
        for row in day
    ]
    rows = pd.DataFrame(parts, columns=["pump", "known_at", "warm", "kind", "day"])
    typed = rows.astype(
        {"pump": object, "warm": float, "kind": object, "day": int}
    )  # also where all values are missing
    return typed.assign(known_at=pd.to_datetime(typed.known_at, utc=True))


def same(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


@given(st.lists(rows, min_size=1, max_size=2), st.lists(rows, max_size=3))
def test_every_figure_equals_a_plain_computation(
    tmp_path: Path, window: list[list[Any]], reference: list[list[Any]]
) -> None:
    start = END - timedelta(days=len(window))
    with engine() as connection:
        files = write(tmp_path, window, END), write(tmp_path, reference, start)
        profile = measure(connection, VIEW, *files, END)
    json.dumps(profile.as_json(), allow_nan=False)
    now, then = frame(window, END), frame(reference, start)
    both = pd.concat([now, then])
    assert profile.rows == len(now) and profile.reference_rows == len(then)
    newest = both.groupby("pump", dropna=False).known_at.max()
    assert profile.entities == len(newest)
    if len(both):
        assert same(profile.stale_share, float((newest < END - timedelta(days=2)).mean()))
        assert same(profile.newest_age_hours, (END - both.known_at.max()).total_seconds() / 3600)
    else:
        assert profile.stale_share is profile.newest_age_hours is None

    def warm(side: pd.DataFrame) -> Any:
        there = side.warm.astype(float).dropna().to_numpy()
        return there, there[np.isfinite(there)]

    (there, finite), (_, before) = warm(now), warm(then)
    own = profile.features["warm"]
    assert same(own.null_rate, 1 - len(there) / len(now) if len(now) else None)
    assert same(own.infinite_share, (len(there) - len(finite)) / len(now) if len(now) else None)
    assert (own.min, own.max) == ((finite.min(), finite.max()) if len(finite) else (None, None))
    if len(then):
        low, high = (before.min(), before.max()) if len(before) else (np.inf, -np.inf)
        share = float(((there < low) | (there > high)).mean()) if len(there) else 0.0
        assert same(profile.metrics["out_of_range_share"], share)

        def per_day(side: pd.DataFrame, days: int) -> tuple[float, float]:
            return len(side) / days, len(side.drop_duplicates(["day", "pump"])) / days

        (rows_now, entities_now), (rows_then, entities_then) = per_day(now, len(window)), per_day(then, len(reference))
        assert same(profile.metrics["rows_ratio"], rows_now / rows_then)
        assert same(profile.metrics["entities_ratio"], entities_now / entities_then)
        rises = [now[name].isna().mean() - then[name].isna().mean() for name in ("warm", "kind")] if len(now) else []
        assert same(profile.metrics["null_rate_rise"], max(rises, default=None))
    else:
        unknown = ("out_of_range_share", "rows_ratio", "entities_ratio", "null_rate_rise")
        assert {profile.metrics[name] for name in unknown} == {None}


HEALTHY = [[["1", 10, 1.0, "a"], ["2", 20, 2.0, "a"]]] * 2
BARS = (
    Bar(metric="null_rate", direction="at_most", threshold=0.5),
    Bar(metric="out_of_range_share", direction="at_most", threshold=0.4),
    Bar(metric="stale_share", direction="at_most", threshold=0.0),
    Bar(metric="rows_ratio", direction="at_least", threshold=0.5),
)


@pytest.mark.parametrize(
    ("window", "reference", "reasons"),
    [
        (HEALTHY, HEALTHY, []),
        (HEALTHY, [], ["no row is known of the days before the window, so it cannot be held against them"]),
        (HEALTHY, [[]], ["no row is known of the days before the window, so it cannot be held against them"]),
        ([[]], HEALTHY, ["it has no row in the window"]),
        ([[["1", 0, 9.0, "a"], ["2", 0, 1.5, "a"]]], HEALTHY, ["out_of_range_share is 0.5000, .* 0.4 \\(warm\\)"]),
        (
            [[["1", 0, 1.0, None], ["2", 0, None, None]]],
            HEALTHY,
            ["null_rate is 1.0000, but must be at most 0.5 \\(kind\\)"],
        ),
        ([[["1", 0, math.inf, "a"], ["2", 0, 1.0, "a"]]], HEALTHY, ["out_of_range_share is 0.5000"]),
        ([[["1", 0, 1.0, "a"]]], [[["7", 0, 1.0, "a"]], [], []], ["stale_share is 0.5000, but must be at most 0"]),
        ([HEALTHY[0], [], [], []], HEALTHY, ["stale_share is 1.0000", "rows_ratio is 0.2500, .* at least 0.5"]),
    ],
)
def test_a_view_that_misses_a_bar_holds_and_names_the_feature(
    tmp_path: Path, window: list[Any], reference: list[Any], reasons: list[str]
) -> None:
    with engine() as connection:
        files = write(tmp_path, window, END), write(tmp_path, reference, END - timedelta(days=len(window)))
        verdict, problems = judge(measure(connection, VIEW, *files, END), BARS)
    assert verdict is (Verdict.HOLD if reasons else Verdict.PASS)
    assert len(problems) == len(reasons), problems
    for why, pattern in zip(problems, reasons, strict=True):
        assert pd.Series([why]).str.match(pattern).all(), why


def test_a_view_without_days_has_no_reference_and_one_without_bars_holds(tmp_path: Path) -> None:
    view = View("maker", ("pump",), ("warm",), "known_at", timedelta(0), dated=False)
    with engine() as connection:
        profile = measure(connection, view, write(tmp_path, HEALTHY, END - timedelta(days=90))[:1], [], END)
    assert set(profile.metrics) == {"null_rate", "infinite_share", "stale_share"}
    assert profile.stale_share == 0, "without a ttl nothing is stale"
    assert judge(profile, BARS)[0] is Verdict.PASS
    assert judge(profile, BARS[3:])[0] is Verdict.HOLD


def test_a_missing_column_and_a_broken_file_do_not_pass(tmp_path: Path) -> None:
    files = write(tmp_path, HEALTHY, END)
    with engine() as connection:
        with pytest.raises(CorruptData, match="lacks the columns cold"):
            measure(connection, View("heat", ("pump",), ("cold",), "known_at", timedelta(0), True), files, [], END)
        Path(files[0]).write_bytes(Path(files[0]).read_bytes()[:100])
        with pytest.raises(duckdb.Error):
            measure(connection, VIEW, files, [], END)


def test_a_store_that_is_not_local_is_read_through_its_file_system(tmp_path: Path) -> None:
    import fsspec

    (file, _) = write(tmp_path, HEALTHY, END)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/health/day.parquet", Path(file).read_bytes())
    with engine(memory) as connection:
        assert measure(connection, VIEW, ["memory:///health/day.parquet"], [], END).rows == 2


def test_bars_of_a_view_replace_those_of_the_same_metric() -> None:
    own = (Bar(metric="null_rate", direction="at_most", threshold=1.0),)
    rules = Health(reference_days=7, bars=BARS, views={"heat": own})
    assert set(rules.bars_of("other")) == set(BARS)
    assert set(rules.bars_of("heat")) == {*BARS[1:], *own}


def test_monitoring_lists_the_reports_that_overlap_its_window() -> None:
    names = ["2024-03-01_2024-03-02.json", "2024-03-02_2024-03-05.json", "2024-03-09_2024-03-10.json", "notes.txt"]
    assert overlapping(names, date(2024, 3, 2), date(2024, 3, 9)) == names[1:2]
    assert overlapping(names, date(2024, 3, 1), date(2024, 3, 10)) == names[:3]
    assert summarize_health([]) is None and "not checked" in health_sentence(None)
    day = ["2024-03-01", "2024-03-02"]
    good = feature_report(window=day, views={"heat": {"verdict": "PASS"}})
    bad = feature_report(window=day, verdict="HOLD", reasons=["heat: too cold"], views={"heat": {"verdict": "HOLD"}})
    assert health_sentence(summarize_health([good])) == "The features of these days were healthy (1 checks)."
    health = summarize_health([good, bad])
    assert health is not None and health.as_json() == {
        "windows": 2,
        "held": 1,
        "held_by_view": {"heat": 1},
        "reasons": ["2024-03-01: heat: too cold"],
    }
    assert "held 1 of 2 windows (heat 1 times)" in health_sentence(health)


def test_an_invalid_report_is_refused_and_unrelated_file_names_are_ignored(tmp_path: Path) -> None:
    assert overlapping(["2024-13-45_2024-99-99.json"], date(2024, 3, 2), date(2024, 3, 9)) == []
    odd: dict[str, Any] = {"window": ["a"], "verdict": "PASS", "reasons": [], "views": {"heat": {}}}
    documents: list[Any] = [[], {}, {"window": []}, odd]
    for wrong in documents:
        (tmp_path / "report.json").write_text(json.dumps(wrong))
        with pytest.raises(CorruptData, match=r"no report of check_features .*; check the features of its days again"):
            read_feature_report(Store(str(tmp_path)), str(tmp_path / "report.json"))


@pytest.mark.parametrize("stamp", [-(2**63) + 2, -62_135_596_800_000_000, 253_402_300_799_999_999, 2**63 - 2])
def test_any_instant_and_number_can_be_reported(tmp_path: Path, stamp: int) -> None:
    largest = float(np.finfo(np.float32).max)
    uri = str(tmp_path / "day.parquet")
    columns: dict[str, Any] = {"pump": ["1", "2", "3"], "kind": ["x" * 100_000, "a", None]}
    columns |= {"known_at": pa.array([stamp] * 3, pa.timestamp("us", "UTC")), "warm": [largest, -largest, math.inf]}
    pq.write_table(pa.table(columns, schema=SCHEMA), uri)
    with engine() as connection:
        profile = measure(connection, VIEW, [uri], [uri], END)
    json.dumps(profile.as_json(), allow_nan=False)
    assert (profile.rows, profile.features["warm"].max, profile.metrics["infinite_share"]) == (3, largest, 1 / 3)
    assert isinstance(profile.newest, str)
