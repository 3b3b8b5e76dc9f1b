"""Data versions with DVC itself: what a snapshot stores, and where."""

from __future__ import annotations

import itertools
import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import FlightdeckError, InvalidInput, MissingData
from pipelines.ingestion import repository
from pipelines.ingestion.versions import version_of
from pipelines.steps import execute
from tests.conftest import tree_hashes
from tests.data_versions import cache, drop_cache, flightdeck, objects, raw, refusal, restore, sound, toy_at, write
from tests.steps.data_versions.versions import Capsys, snapshot, three


def test_a_snapshot_is_recorded_once_with_its_window_and_run(toy: Context) -> None:
    write(toy, "makers", "all", 1)
    inputs = {"start": "2024-03-01", "end": "2024-03-03", "run": "r1"}
    first = snapshot(toy, **inputs)
    assert snapshot(toy, **inputs) == first
    (taken,) = toy.snapshots.taken()
    assert (taken.version, taken.files, taken.rows) == (first, 1, 3)
    assert (taken.start, taken.end, taken.run) == (date(2024, 3, 1), date(2024, 3, 3), "r1")
    snapshot(toy)
    assert [one.run for one in toy.snapshots.taken()] == ["r1", None]
    execute("snapshot", {"keep": False, "run": "desk"}, toy)
    assert len(toy.snapshots.taken()) == 2
    with pytest.raises(InvalidInput, match="start is 2024-03-01, end is None; give both"):
        snapshot(toy, start="2024-03-01")


def test_unchanged_files_are_neither_hashed_nor_pushed_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc_data.hashfile import build

    three(home)
    context, sent = toy_at(home), set(objects(home / "dvc-remote"))
    hashed: list[str] = []
    times = {path: path.stat().st_mtime_ns for path in sent}
    hash_file = build.hash_file

    def noted(path: str, *arguments: Any, **options: Any) -> Any:
        hashed.append(path)
        return hash_file(path, *arguments, **options)

    monkeypatch.setattr(build, "hash_file", noted)
    write(context, "readings", "2024-03-02", 77)
    version = snapshot(context)
    assert hashed == [str(raw(context) / "readings" / "2024-03-02.parquet")]
    new = set(objects(home / "dvc-remote")) - sent
    assert {path.stem for path in new if path.suffix} == {version[2:].removesuffix(".dir")} and len(new) == 2
    assert {path: path.stat().st_mtime_ns for path in sent} == times
    assert snapshot(context) == version and len(hashed) == 1


def test_a_partition_replaced_while_it_is_read_does_not_corrupt_the_cache(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced between hash and copy: the version describes the copied bytes, and no object has a wrong name."""
    from dvc_data.hashfile.build import build

    context, numbers = toy_at(home), itertools.count(100)
    write(context, "makers", "all", 0)
    write(context, "readings", "2024-03-01", 1)

    def build_and_replace(*arguments: Any) -> Any:
        version = build(*arguments)
        if next(numbers) < 103:
            write(context, "readings", "2024-03-01", next(numbers))
        return version

    monkeypatch.setattr(repository, "build", build_and_replace)
    version = snapshot(context)
    assert version == version_of(raw(context))[0] and sound(home)
    assert restore(home, version, tmp_path / "back") == tree_hashes(raw(context))

    def always(*arguments: Any) -> Any:
        version = build(*arguments)
        write(context, "readings", "2024-03-01", next(numbers))
        return version

    monkeypatch.setattr(repository, "build", always)
    write(context, "readings", "2024-03-01", 2)
    with pytest.raises(FlightdeckError, match="changed 10 times while it was read"):
        snapshot(context)
    assert sound(home) and set(repository.versions_in(home / "data")) == {version}


def test_a_second_remote_gets_the_version_too(
    home: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = three(home)
    monkeypatch.setenv("FLIGHTDECK_DVC_REMOTE", str(tmp_path / "elsewhere"))
    assert snapshot(toy_at(home)) == versions[-1]
    drop_cache(home)
    shutil.rmtree(home / "dvc-remote")
    restore(home, versions[-1], tmp_path / "back")
    line = refusal(home, capsys, "data", "restore", versions[0], "--to", str(tmp_path / "gone"))
    assert "neither in the cache nor, unaltered, at the DVC remote" in line and not (tmp_path / "gone").exists()


def test_an_unusable_remote_is_named_without_its_uri(
    toy: Context, home: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(toy, "makers", "all", 1)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLIGHTDECK_DVC_REMOTE", str(tmp_path / "file" / "remote"))
    assert "the DVC remote (FLIGHTDECK_DVC_REMOTE) cannot be used" in refusal(home, capsys, "snapshot")
    assert not repository.versions_in(home / "data") and not toy.snapshots.taken()


def test_a_store_that_is_no_folder_is_refused(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_STORE_URI", "memory://store")
    for command in (["snapshot"], ["snapshot", "--keep", "false"], ["data", "versions"], ["data", "gc"]):
        line = refusal(tmp_path, capsys, *command)
        assert "FLIGHTDECK_STORE_URI=memory://store" in line and "FLIGHTDECK_DVC_REMOTE" in line


@pytest.fixture
def users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that the user configured for all DVC repositories, with an unfinished copy of another project."""
    shared, settings = tmp_path / "shared", tmp_path / "settings" / "dvc"
    (shared / "files" / "md5" / "ab").mkdir(parents=True)
    (shared / "files" / "md5" / "ab" / "Zx81begun.tmp").write_text("half a copy")
    settings.mkdir(parents=True)
    (settings / "config").write_text(f"[cache]\n    dir = {shared}\n[core]\n    autostage = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(settings.parent))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(settings.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    return shared


def test_a_cache_of_the_user_gains_nothing_of_ours_and_loses_nothing(
    home: Path, users_cache: Path, capsys: Capsys
) -> None:
    before, toy = tree_hashes(users_cache), toy_at(home)
    for number in range(3):
        write(toy, "readings", "2024-03-01", number)
        snapshot(toy, run=f"run{number}")
    assert flightdeck(home, "data", "gc", "--keep", "1") == 0
    assert tree_hashes(users_cache) == before and objects(cache(home))
    assert "DVC_GLOBAL_CONFIG_DIR" not in os.environ


def test_nothing_is_removed_from_a_cache_outside_of_the_store(home: Path, users_cache: Path, capsys: Capsys) -> None:
    toy = toy_at(home)
    for number in range(3):
        write(toy, "readings", "2024-03-01", number)
        (home / "data" / ".dvc").mkdir(parents=True, exist_ok=True)
        (home / "data" / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {users_cache}\n")
        snapshot(toy, run=f"run{number}")
    before = tree_hashes(users_cache)
    assert len(before) > 1 and "config.local" in refusal(home, capsys, "data", "gc", "--keep", "1")
    assert tree_hashes(users_cache) == before and len(repository.versions_in(home / "data")) == 3


def test_a_missing_raw_folder_is_named(toy: Context) -> None:
    with pytest.raises(MissingData, match="ingest a window first"):
        snapshot(toy)
