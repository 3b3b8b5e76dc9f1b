"""The flights' declared features equal the former handmade ones byte for byte; and their code is tracked."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import handmade
from pipelines.declare.code import ENGINE, own_code
from pipelines.declare.tables import feature_rows
from pipelines.windows import Window
from tests.flights.sources import USECASE, tables

TABLES = {table.name: table for table in USECASE.feature_tables}


@pytest.mark.parametrize("name", handmade.VIEWS)
def test_a_declared_view_equals_the_handmade_one_byte_for_byte(name: str) -> None:
    source, window = (
        tables(date(2013, 1, 1), date(2013, 1, 21)),
        Window(date(2013, 1, 5), date(2013, 1, 21), USECASE.timezone),
    )
    declared = feature_rows(USECASE, TABLES[name], source, window)
    by_hand = handmade.VIEWS[name](source, window)
    assert declared.num_rows > 100 and declared.schema.equals(by_hand.schema, check_metadata=True)
    assert declared.combine_chunks().equals(by_hand.combine_chunks())


def test_a_builder_depends_on_its_own_modules_alone() -> None:
    """A change of the request features, or of a model's inputs, makes no feature table out of date."""
    package = "pipelines.usecases.flights"
    assert set(own_code(f"{package}.rotation")) == {
        f"{package}.{name}" for name in ("rotation", "departures", "columns")
    }


def test_the_engine_gives_the_recorded_rows(tmp_path: Path) -> None:
    """If declarations now give other rows, raise ENGINE in the same commit, so that older features are out of date."""
    source, window = (
        tables(date(2013, 1, 1), date(2013, 1, 8)),
        Window(date(2013, 1, 5), date(2013, 1, 8), USECASE.timezone),
    )
    digest = hashlib.sha256()
    for name in ("route_stats", "hub_state", "weather_observed", "aircraft_profile"):
        rows = feature_rows(USECASE, TABLES[name], source, window).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        digest.update(sink.getvalue())
    assert (ENGINE, digest.hexdigest()[:16]) == (1, "056d056b569394f8")
