"""DuckDB reads names and files literally."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InvalidInput
from pipelines.quoting import literal, parquet, quoted, twins

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="/\\")
NAMES = st.one_of(
    st.sampled_from(
        ["day=1", "x[1]", "a*", "?", "{a,b}", "**", "100%20", "it's", 'a"b', "[!a]", "select", "a.b", " a "]
    ),
    st.text(CHARACTERS, min_size=1, max_size=8).filter(lambda name: name not in (".", "..")),
)


@given(folder=NAMES, name=NAMES, other=NAMES)
def test_only_the_file_that_is_named_is_read(tmp_path: Path, folder: str, name: str, other: str) -> None:
    places = {f"{tmp_path}/{folder}/{one}.parquet": one for one in (name, other, "x1", "a", "ab")}
    for place, value in places.items():
        Path(place).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"value": [value]}), place)
    wanted = f"{tmp_path}/{folder}/{name}.parquet"
    with duckdb.connect() as connection:
        relation = connection.sql(f"select * from {parquet([wanted])}")
        assert relation.columns == ["value"]
        assert relation.fetchall() == [(places[wanted],)]


@given(st.text(CHARACTERS, min_size=1, max_size=12), st.text(max_size=12).filter(lambda text: "\x00" not in text))
def test_a_name_and_a_text_come_back_as_they_were(name: str, text: str) -> None:
    with duckdb.connect() as connection:
        relation = connection.sql(f"select {literal(text)} as {quoted(name)}")
        assert relation.columns == [name] and relation.fetchall() == [(text,)]


def test_a_path_that_duckdb_cannot_express_is_refused() -> None:
    assert "back" in parquet(["/x/back\\slash/a.parquet"])
    with pytest.raises(InvalidInput, match="backslash"):
        parquet(["/x[1]/back\\slash/a.parquet"])


def test_names_that_differ_in_case_only_are_found() -> None:
    assert twins(["a", "b", "A"]) == ("a", "A")
    assert twins(["a", "a", "ab"]) is None
