"""Data versions are brought back bit for bit."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.ingestion import repository
from pipelines.ingestion.versions import version_of
from tests.conftest import tree_hashes
from tests.data_versions import cache, drop_cache, flightdeck, objects, raw, refusal, restore, toy_at, write
from tests.steps.data_versions.versions import Capsys, register, snapshot, three


def test_a_version_is_restored_bit_for_bit_from_the_cache_and_from_the_remote(home: Path, tmp_path: Path) -> None:
    context = toy_at(home)
    write(context, "makers", "all", 0)
    write(context, "readings", "2024-03-01", 1)
    first, before = snapshot(context), tree_hashes(raw(context))
    write(context, "readings", "2024-03-01", 2)
    snapshot(context)
    (tmp_path / "empty").mkdir()
    assert restore(home, first, tmp_path / "empty") == before
    drop_cache(home)
    assert restore(home, first, tmp_path / "from" / "remote") == before
    assert os.access(next((tmp_path / "empty").rglob("*.parquet")), os.W_OK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "from", "home"]


def test_existing_files_are_not_overwritten(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    version = three(home)[0]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for place in ("full", "full/mine"):
        line = refusal(home, capsys, "data", "restore", version, "--to", str(tmp_path / place))
        assert "is not empty" in line and (tmp_path / "full" / "mine").read_text() == "mine"
    for words in ([], [version, "--model", "1"]):
        assert "one of the two" in refusal(home, capsys, "data", "restore", "--to", str(tmp_path / "x"), *words)


def test_an_altered_object_is_never_restored(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    version = three(home)[0]
    for path in objects(cache(home)):
        if path.suffix != ".dir":
            path.chmod(0o644)
            path.write_bytes(b"other")
            path.chmod(0o444)
    line = refusal(home, capsys, "data", "restore", version, "--to", str(tmp_path / "back"))
    assert "was altered; delete it" in line
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    drop_cache(home)
    restore(home, version, tmp_path / "back")
    drop_cache(home)
    for path in objects(home / "dvc-remote"):
        path.chmod(0o644)
        path.write_bytes(b"[]")
        path.chmod(0o444)
    line = refusal(home, capsys, "data", "restore", version, "--to", str(tmp_path / "again"))
    assert "neither in the cache nor, unaltered, at the DVC remote" in line and not (tmp_path / "again").exists()


def test_the_data_of_a_model_can_be_restored(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    first, *_ = three(home)
    context = toy_at(home)
    register(context, "1", first)
    register(context, "2", "d1")
    words = ["data", "restore", "--to", str(tmp_path / "back"), "--model"]
    assert "registered are 1, 2" in refusal(home, capsys, *words, "3")
    assert "data_version is 'd1'" in refusal(home, capsys, *words, "2")
    repository.pointer_of(first, home / "data").unlink()  # the lineage suffices
    assert flightdeck(home, *words, "1") == 0
    assert version_of(tmp_path / "back")[0] == first
