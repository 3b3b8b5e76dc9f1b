"""Packed inputs in the log are read back as they were, next to rows in the older form."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import Batch, InputLayout, Lack, PredictionLog, Records
from pipelines.records.direct_log import Repeated

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
LAYOUT = InputLayout(("heat", "age", "load"), ("plant",), 2, {"heat": 0, "age": 1, "plant": 0})

numbers = st.one_of(st.just(math.nan), st.floats(width=32, allow_nan=False, allow_infinity=False))
ages = st.one_of(st.just(math.nan), st.floats(0, 1e9))
names = st.lists(st.text(max_size=5), max_size=4, unique=True)


def or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


@given(st.data(), names, names, st.integers(0, 3), st.integers(1, 4))
def test_inputs_are_decoded_as_they_were_encoded(
    data: st.DataObject, of_numbers: list[str], of_texts: list[str], views: int, rows: int
) -> None:
    of_texts = [name for name in of_texts if name not in of_numbers]
    stored = (
        data.draw(st.lists(st.sampled_from([*of_numbers, *of_texts]), unique=True)) if of_numbers + of_texts else []
    )
    aged = {name: data.draw(st.integers(0, views - 1)) for name in stored} if views else {}
    layout = InputLayout((*of_numbers,), (*of_texts,), views, aged)
    values = [[data.draw(numbers) for _ in of_numbers] for _ in range(rows)]
    texts = [[data.draw(st.text(max_size=5)) for _ in of_texts] for _ in range(rows)]
    seconds = [[data.draw(ages) for _ in range(views)] for _ in range(rows)]
    encoded = layout.encode(
        np.array(values, dtype=np.float32).reshape(rows, len(of_numbers)),
        np.array(texts, dtype=object).reshape(rows, len(of_texts)),
        np.array(seconds).reshape(rows, views),
    )
    for n, packed in enumerate(encoded):
        features, decoded = layout.decode(packed)
        expected: list[Any] = [or_none(float(np.float32(value))) for value in values[n]]
        expected += [text or None for text in texts[n]]
        assert list(features.items()) == list(zip([*of_numbers, *of_texts], expected, strict=True))
        assert decoded == {name: or_none(seconds[n][view]) for name, view in aged.items()}


def batch(**changes: Any) -> Batch:
    numbers = np.array([[1.5, math.nan, 0.25], [2.5, 3.0, 0.5]], dtype=np.float32)
    texts = np.array([["south"], [""]], dtype=object)
    seconds = np.array([[60.0, math.nan], [math.nan, 3600.5]])
    rows = Batch(
        plan=3,
        share=0.25,
        at=AT,
        ids=["b", "a"],
        entities=["pump 1", "pump 2"],
        blocks=["2024-03-01"] * 2,
        closes_at=[1_709_334_000_000_000] * 2,
        requests=['{"pump": "1"}', '{"pump": "2"}'],
        layout=LAYOUT.digest,
        inputs=LAYOUT.encode(numbers, texts, seconds),
        served=["1", "2"],
        score=[0.25, 0.75],
        scores={"1": [0.25, None], "2": [0.5, 0.75]},
        milliseconds={"1": 0.5, "2": 0.75},
        errors={1: {"1": "no output"}},
        decisions=[False, True],
        lacks=[None, Lack.STALE],
    )
    return replace(rows, **changes)


@pytest.fixture
def records(records_uri: str) -> Records:
    return Records(records_uri)


@pytest.fixture(params=[False, True], ids=["", "direct"])
def log(request: pytest.FixtureRequest, records: Records) -> PredictionLog:
    """The log, also through the direct connection of the event loop where there is one."""
    direct = records.quick_predictions("pumps") if request.param else None
    return direct or records.predictions("pumps")


def test_a_batch_is_read_as_single_predictions(records: Records, log: PredictionLog) -> None:
    log.keep_layout(LAYOUT)
    log.keep_layout(LAYOUT)
    assert log.append_batch(batch()) is None
    for reader in (log, Records(str(records.engine.url.render_as_string(hide_password=False))).predictions("pumps")):
        first, second = (reader.get([identity])[0] for identity in ("b", "a"))
        assert (first.features, first.ages) == (
            {"heat": 1.5, "age": None, "load": 0.25, "plant": "south"},
            {"heat": 60.0, "age": None, "plant": 60.0},
        )
        assert (second.features["plant"], second.ages["age"], second.lacks) == (None, 3600.5, Lack.STALE)
        assert (first.scores, second.scores) == ({"1": 0.25, "2": 0.5}, {"1": None, "2": 0.75})
        assert (first.milliseconds, second.milliseconds) == ({"1": 0.5, "2": 0.75}, {})
        assert (first.errors, second.errors) == ({}, {"1": "no output"})
        assert (first.decision, second.decision) == (False, True) and first.request == {"pump": "1"}
        assert first.predicted_at == second.predicted_at == AT and first.closes_at > AT
    again = replace(first, prediction_id="c")
    assert log.append([again]) == [again], "a row in the older form"
    assert {row.prediction_id for row in log.all()} == {"a", "b", "c"}


def test_further_outputs_of_the_answering_version_are_logged_where_it_has_any(log: PredictionLog) -> None:
    log.append_batch(batch(layout=None, inputs=[None, None], further=[{"worn": 0.125}, None]))
    log.append_batch(batch(ids=["c", "d"], layout=None, inputs=[None, None]))
    rows = {row.prediction_id: row.further for row in log.all()}
    assert rows == {"a": None, "b": {"worn": 0.125}, "c": None, "d": None}


def test_a_logged_id_keeps_its_first_answer_and_no_row_is_duplicated(records: Records) -> None:
    log = records.predictions("pumps")
    log.keep_layout(LAYOUT)
    assert log.append_batch(batch()) is None
    logged = log.append_batch(batch(ids=["a", "new"], score=[0.1, 0.2]))
    assert logged is not None
    assert [(row.prediction_id, row.score) for row in logged] == [("a", 0.75), ("new", 0.2)]
    twice = log.append_batch(batch(ids=["x", "x"], score=[0.3, 0.4]))
    assert twice is not None and [row.score for row in twice] == [0.3, 0.3], "the first one of the batch is kept"
    assert len(log.all()) == 4


def test_the_direct_log_writes_nothing_where_an_id_is_already_logged_and_follows_its_engine(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    log, direct = records.predictions("pumps"), records.quick_predictions("pumps")
    log.keep_layout(LAYOUT)
    assert direct is not None and direct.append_batch(batch()) is None
    for ids in (["a", "new"], ["x", "x"]):
        with pytest.raises(Repeated):
            direct.append_batch(batch(ids=ids))
    assert sorted(row.prediction_id for row in log.all()) == ["a", "b"]
    for engine in records.engines:
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("pragma query_only = on"))
        engine.dispose()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        direct.append_batch(batch(ids=["c", "d"]))


def test_nothing_of_a_failed_batch_is_kept(log: PredictionLog) -> None:
    with pytest.raises((sqlite3.Error, sa.exc.SQLAlchemyError)):
        log.append_batch(batch(entities=["pump 1", None]))
    assert log.all() == []
    assert log.append_batch(batch(layout=None, inputs=[None, None])) is None


def test_inputs_cannot_be_read_without_their_layout(log: PredictionLog) -> None:
    log.append_batch(batch(layout=None, inputs=[None, None]))
    assert all(row.features == row.ages == {} for row in log.all())


def test_the_digest_of_a_layout_covers_all_of_it() -> None:
    others = [
        replace(LAYOUT, numbers=("age", "heat", "load")),
        replace(LAYOUT, views=3),
        replace(LAYOUT, aged={"heat": 1, "age": 1, "plant": 0}),
    ]
    assert len({LAYOUT.digest, *(other.digest for other in others)}) == 4
    assert replace(LAYOUT).digest == LAYOUT.digest and len(LAYOUT.digest) == 16
