"""Data versions are listed, compared and named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.ingestion import repository
from tests.data_versions import data_output, drop_cache, flightdeck, raw, refusal, restore, toy_at, write
from tests.steps.data_versions.test_removing import training_set
from tests.steps.data_versions.versions import Capsys, register, snapshot, three


def test_versions_are_listed_in_order(home: Path, capsys: Capsys) -> None:
    first, second, third = three(home)
    context = toy_at(home)
    write(context, "readings", "2024-03-01", 1)
    (raw(context) / "readings" / "2024-03-03.parquet").unlink()
    assert snapshot(context, run="again") == second  # data that came back
    register(context, "1", third)
    training_set(context, "set", first)
    listed = data_output(home, capsys, "versions")
    assert [one["version"] for one in listed] == [first, third, second]
    assert [(one["files"], one["rows"]) for one in listed] == [(2, 6), (4, 14), (3, 9)]
    assert (listed[0]["start"], listed[0]["end"]) == ("2024-03-01", "2024-03-02")
    assert [one["runs"] for one in listed] == [["run1", "set"], ["run3"], ["run2", "again"]]
    assert [one["models"] for one in listed] == [[], ["1"], []]
    assert flightdeck(home, "data", "versions") == 0
    shown = capsys.readouterr().out
    assert shown.index(first[:12]) < shown.index(third[:12]) < shown.index(second[:12])
    assert "2024-03-01  2024-03-02  2      6             run1, set" in shown


def test_two_versions_are_compared(home: Path, capsys: Capsys) -> None:
    first, second, third = three(home)
    drop_cache(home)
    difference = data_output(home, capsys, "diff", first[:8], third)
    assert difference["versions"] == [first, third]
    same: dict[str, Any] = {"added": {}, "removed": {}, "retyped": {}}
    assert difference["tables"] == {
        "makers": {"added": [], "removed": [], "changed": [], "rows": [3, 3], "columns": same},
        "readings": {
            "added": ["2024-03-02", "2024-03-03"],
            "removed": [],
            "changed": ["2024-03-01"],
            "rows": [3, 11],
            "columns": {**same, "added": {"heat": "float"}},
        },
    }
    assert flightdeck(home, "data", "diff", third, second) == 0
    assert "- heat float" in (shown := capsys.readouterr().out) and "11 → 6" in shown
    context = toy_at(home)
    write(context, "makers", "all", 0, other=["text"] * 3)
    odd = context.data.uri("raw", "readings", "2024-03-01.parquet")
    context.data.store.write_table(odd, pa.table({"number": ["a"]}))
    tables = data_output(home, capsys, "diff", second, snapshot(context))["tables"]
    columns = {name: one["columns"] for name, one in tables.items()}
    assert columns["readings"] == {**same, "retyped": {"number": ["int64", "int64 or string"]}}
    assert columns["makers"] == {**same, "added": {"other": "string"}}


def test_a_version_has_a_short_name(home: Path, capsys: Capsys) -> None:
    versions = three(home)
    for text, problem in (("0" * 32, "is no version"), ("", "is no version"), ("x", "is no version")):
        line = refusal(home, capsys, "data", "diff", text, versions[0])
        assert problem in line and all(version[:12] in line for version in versions)
    repository.pointer_of(versions[0][:31] + "f.dir", home / "data")
    twin = versions[0][:20] + "0" * 12
    shutil.copytree(home / "data" / "versions" / versions[0][:32], home / "data" / "versions" / twin)
    pointer = repository.pointer_of(twin, home / "data")
    pointer.write_text(pointer.read_text().replace(versions[0], f"{twin}.dir"))
    line = refusal(home, capsys, "data", "restore", versions[0][:5], "--to", str(home / "back"))
    assert "beginning of several" in line and versions[1][:12] not in line
    restore(home, versions[0], home / "back")
