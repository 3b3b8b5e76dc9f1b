"""The pure parts of data versions: names, rows, differences, references."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import CorruptData, InvalidInput
from pipelines.ingestion.comparison import compare
from pipelines.ingestion.retention import undecided_training_sets
from pipelines.ingestion.versions import count_rows, footer, is_version, resolve

PATHS = st.sampled_from([f"{table}/{day}.parquet" for table in ("a", "b") for day in ("1", "2", "3")])
KINDS = {"x": (pa.int32(), pa.int64()), "y": (pa.string(), pa.float32())}
FILES = st.tuples(st.integers(0, 3), st.sampled_from([("x", 0), ("x", 1), ("y", 0), ("y", 1)]))
TREES = st.dictionaries(PATHS, FILES)


def test_a_version_can_be_named_by_a_prefix() -> None:
    known = ["ab" + "0" * 30 + ".dir", "ac" + "0" * 30 + ".dir"]
    for text in ("ab", known[0], known[0].removesuffix(".dir"), "AB0", " ab "):
        assert resolve(text, known) == known[0]
    for text in ("a", "", "b", ".dir", "ab1"):
        with pytest.raises(InvalidInput, match=r"ab0000000000, ac0000000000"):
            resolve(text, known)
    with pytest.raises(InvalidInput, match="none; run the snapshot step first"):
        resolve("ab", [])
    many = [f"{number:032x}.dir" for number in range(30)]
    with pytest.raises(InvalidInput, match="30 versions that there are"):
        resolve("f", many)
    assert is_version(known[0]) and not any(map(is_version, ("d1", "", known[0][:-4], known[0].upper())))


class Cache:
    """Objects by hash; it records which are fetched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched = folder, set[str]()

    def tree(self, content: dict[str, Any]) -> dict[str, str]:
        listing = {}
        for path, (rows, (column, kind)) in content.items():
            name = hashlib.md5(repr((rows, column, kind)).encode()).hexdigest()
            pq.write_table(pa.table({column: pa.array([None] * rows, KINDS[column][kind])}), self.folder / name)
            listing[path] = name
        return listing

    def fetch(self, objects: Any) -> dict[str, Path]:
        self.fetched.update(objects)
        return {value: self.folder / value for value in objects}


@given(TREES, TREES)
def test_rows_are_counted_from_the_files_that_differ(before: dict[str, Any], after: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        old, new = cache.tree(before), cache.tree(after)
        rows = count_rows(new, cache.fetch, old, sum(rows for rows, _ in before.values()))
        assert rows == sum(rows for rows, _ in after.values())
        if sorted(old.values()) == sorted(new.values()):
            assert not cache.fetched


@given(TREES, TREES)
def test_a_comparison_equals_the_difference_of_two_listings(before: dict[str, Any], after: dict[str, Any]) -> None:
    def of(content: dict[str, Any], table: str) -> dict[str, Any]:
        return {path[2:-8]: file for path, file in content.items() if path.startswith(table)}

    def columns(files: dict[str, Any]) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        for _, (column, kind) in files.values():
            names.setdefault(column, set()).add(str(KINDS[column][kind]))
        return names

    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        old, new = cache.tree(before), cache.tree(after)
        comparison = compare(old, new, cache.fetch({*old.values(), *new.values()}))
    assert set(comparison) == {path[0] for path in {*before, *after}}
    for table, seen in comparison.items():
        left, right = of(before, table), of(after, table)
        assert seen["added"] == sorted(right.keys() - left.keys())
        assert seen["removed"] == sorted(left.keys() - right.keys())
        assert seen["changed"] == sorted(day for day in left.keys() & right.keys() if left[day] != right[day])
        assert seen["rows"] == [sum(rows for rows, _ in side.values()) for side in (left, right)]
        was, now = columns(left), columns(right)
        assert seen["columns"]["added"].keys() == now.keys() - was.keys()
        assert seen["columns"]["removed"].keys() == was.keys() - now.keys()
        assert seen["columns"]["retyped"].keys() == {name for name in was.keys() & now.keys() if was[name] != now[name]}


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(b"no")
    with pytest.raises(CorruptData, match=r"readings/1\.parquet is not a whole Parquet file"):
        footer(tmp_path / "object", "readings/1.parquet")


def test_only_a_verdict_on_the_same_data_releases_a_training_set() -> None:
    def gate(identity: str, run: str, verdict: str, *versions: str) -> dict[str, Any]:
        return {"id": identity, "verdict": verdict, "evidence": {"subject": {"run": run}, "data_versions": [*versions]}}

    sets = dict.fromkeys(("none", "rejected", "held", "passed", "registered", "other data", "old record"), "v1")
    gates = [
        gate("1", "rejected", "REJECT", "v1"),
        gate("2", "held", "HOLD", "v0", "v1"),
        gate("3", "passed", "PASS", "v1"),
        gate("4", "registered", "PASS", "v1"),
        gate("5", "other data", "REJECT", "v2"),
        {"id": "6", "verdict": "REJECT", "evidence": {"subject": {"run": "old record"}}},
    ]
    assert set(undecided_training_sets(sets, gates, {"4"})) == {"none", "passed", "other data", "old record"}
