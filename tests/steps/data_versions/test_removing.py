"""Data versions are removed when nothing needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.artifacts.manifest import Manifest
from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.ingestion import repository
from pipelines.records import Decision, DecisionKind
from pipelines.steps import execute
from pipelines.store import alone, at_work
from tests.artifacts import manifest
from tests.commands import fork
from tests.conftest import ROOT, TOY, tree_hashes
from tests.data_versions import cache, data_output, drop_cache, objects, raw, refusal, restore, toy_at, write
from tests.services import thorough
from tests.steps.data_versions.versions import Capsys, register, snapshot


def training_set(context: Context, run: str, data_version: str) -> None:
    manifest(data_version=data_version).write(context.data.store, context.data.uri("training_sets", run))


def gate(context: Context, run: str, data_version: str, verdict: str) -> str:
    subject, evidence = {"run": run}, {"data_versions": [data_version]}
    decision = Decision("pumps", DecisionKind.GATE, datetime(2024, 4, 1, tzinfo=UTC), verdict, (), subject, evidence)
    return context.decisions.record(decision)


@dataclass
class Many:
    """A home with six data versions; tests decide which ones are needed."""

    home: Path
    context: Context
    versions: list[str]
    content: dict[str, dict[str, str]]

    def left(self) -> list[int]:
        have = repository.versions_in(self.home / "data")
        return [n for n, version in enumerate(self.versions) if version in have]


@pytest.fixture
def many(home: Path) -> Many:
    context, versions, content = toy_at(home), [], {}
    write(context, "makers", "all", 99)
    for number in range(6):
        write(context, "readings", "2024-03-01", number)
        versions.append(snapshot(context, run=f"run{number}"))
        content[versions[-1]] = tree_hashes(raw(context))
    return Many(home, context, versions, content)


def test_needed_versions_are_kept_and_others_removed(many: Many, tmp_path: Path, capsys: Capsys) -> None:
    register(many.context, "1", many.versions[0])
    training_set(many.context, "waiting", many.versions[1])
    training_set(many.context, "rejected", many.versions[2])
    gate(many.context, "rejected", many.versions[2], "REJECT")
    places = {"cache": cache(many.home), "remote": many.home / "dvc-remote"}
    before = {path: path.stat().st_size for folder in places.values() for path in objects(folder)}

    planned = data_output(many.home, capsys, "gc", "--keep", "2", "--dry-run", "--remote")
    assert planned["dry_run"] and len(many.left()) == 6
    assert all(path.exists() for path in before)
    done = data_output(many.home, capsys, "gc", "--keep", "2", "--remote")
    assert {**planned, "dry_run": False} == done
    assert done["removed"] == [many.versions[n] for n in (2, 3)] and many.left() == [0, 1, 4, 5]
    needs = [["model 1"], ["training set waiting"], ["recent snapshot"], ["recent snapshot"]]
    assert [done["kept"][many.versions[n]] for n in (0, 1, 4, 5)] == needs
    for place, folder in places.items():
        gone = [size for path, size in before.items() if folder in path.parents and not path.exists()]
        assert done["freed"][place] == {"files": len(gone), "bytes": sum(gone)} and len(gone) == 4
    for n in (0, 1, 4, 5):
        version = many.versions[n]
        assert restore(many.home, version, tmp_path / f"cached{n}") == many.content[version]
    drop_cache(many.home)
    for n in (0, 1, 4, 5):
        version = many.versions[n]
        assert restore(many.home, version, tmp_path / f"pulled{n}") == many.content[version]
    again = data_output(many.home, capsys, "gc", "--keep", "2", "--remote")
    assert not again["removed"] and all(freed["files"] == 0 for freed in again["freed"].values())


def test_a_training_set_needs_its_version_until_its_model_is_rejected_or_registered(many: Many, capsys: Capsys) -> None:
    for n in (0, 1, 2):
        training_set(many.context, f"set{n}", many.versions[n])
    passed = gate(many.context, "set1", many.versions[1], "PASS")
    gate(many.context, "set2", many.versions[3], "REJECT")  # with the same run name, but other data
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [0, 1, 2, 5]
    gate(many.context, "set0", many.versions[0], "HOLD")
    register(many.context, "1", many.versions[2], passed)
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [2, 5]


def test_versions_are_removed_from_the_remote_only_on_request(many: Many, tmp_path: Path, capsys: Capsys) -> None:
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]
    assert len(objects(cache(many.home))) == 3 and len(objects(many.home / "dvc-remote")) == 13
    write(many.context, "readings", "2024-03-01", 0)  # data that are ingested again get the same version
    assert snapshot(many.context) == many.versions[0]
    drop_cache(many.home)
    restore(many.home, many.versions[0], tmp_path / "back")
    freed = data_output(many.home, capsys, "gc", "--keep", "1", "--remote")["freed"]
    assert freed["remote"]["files"] == 10 and many.left() == [0]
    write(many.context, "readings", "2024-03-01", 3)
    assert snapshot(many.context) == many.versions[3]
    drop_cache(many.home)
    assert restore(many.home, many.versions[3], tmp_path / "sent again") == many.content[many.versions[3]]


def die_before(left: int, words: list[str]) -> int:
    """Run a command that is killed after it has removed `left` files."""
    from dvc_objects.fs.local import LocalFileSystem

    removals, remove = iter(range(left)), LocalFileSystem.remove

    def remove_or_die(files: Any, path: Any) -> None:
        if next(removals, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        remove(files, path)

    LocalFileSystem.remove = remove_or_die
    return main(words)


@thorough
@pytest.mark.parametrize("place", ["cache", "remote"])
def test_a_killed_removal_can_be_completed(many: Many, tmp_path: Path, capsys: Capsys, place: str) -> None:
    """Killed before its n-th file: the data may be ingested again, or the removal repeated."""
    options = ["--keep", "5", *(["--remote"] if place == "remote" else [])]
    words = ["data", "gc", "--params", str(TOY), "--home", str(many.home), *options]
    for files, comes_back in ((0, True), (1, False)) if place == "cache" else ((1, True), (2, False)):
        assert fork(partial(die_before, files, words)).wait().returncode == -signal.SIGKILL
        assert many.left() == [1, 2, 3, 4, 5]
        if comes_back:
            write(many.context, "readings", "2024-03-01", 0)
            assert snapshot(many.context) == many.versions[0]
            if place == "remote":
                drop_cache(many.home)
            assert restore(many.home, many.versions[0], tmp_path / "back") == many.content[many.versions[0]]
            for n in range(1, 6):
                write(many.context, "readings", "2024-03-01", n)
                snapshot(many.context, run=f"run{n}")
    data_output(many.home, capsys, "gc", *options)
    kept = {value for version in many.versions[1:] for value in pieces(many, version)}
    for folder in [cache(many.home), *([many.home / "dvc-remote"] if place == "remote" else [])]:
        assert {path.parent.name + path.name for path in objects(folder)} == kept


def pieces(many: Many, version: str) -> set[str]:
    with repository.open_repository(many.context) as opened:
        return {version, *opened.tree(version).values()}


def test_nothing_is_removed_while_a_step_runs(many: Many, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Busy(type(many.context.usecase)):  # type: ignore[misc]
        def read(self, *arguments: Any) -> Any:
            tried.append(refusal(many.home, capsys, "data", "gc", "--keep", "1"))
            return super().read(*arguments)

    busy = toy_at(many.home)
    object.__setattr__(busy, "usecase", Busy())
    execute("ingest", {"start": "2024-03-01", "end": "2024-03-02"}, busy)
    assert len(tried) == 2 and f"a step is running on {many.home / 'data'}" in tried[0]
    assert len(many.left()) == 6
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]


def test_a_killed_step_is_not_live(many: Many, capsys: Capsys) -> None:
    script = f"""
import time
from pipelines.store import Store, at_work
with at_work(Store({str(many.home / "data")!r})):
    print("at work", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "at work\n"
        assert "a step is running" in refusal(many.home, capsys, "data", "gc", "--keep", "1")
        process.kill()
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]


def test_steps_share_a_store_and_a_removal_locks_it(toy: Context) -> None:
    store = toy.data.store
    with at_work(store), alone(store):
        assert not store.exists(store.root)  # no step has written yet, and a step that is refused writes nothing
    write(toy, "makers", "all", 1)
    with at_work(store), at_work(store), pytest.raises(InvalidInput, match="a step is running"), alone(store):
        pass
    with alone(store), pytest.raises(InvalidInput, match="a step is running"), alone(store):
        pass
    with alone(store):
        pass


@pytest.mark.parametrize(
    ("failing", "message"),
    [("broken", "does not answer"), ("empty", "has no version of pumps, but version 1 was registered")],
)
def test_a_registry_that_fails_stops_the_removal(
    many: Many, registry: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, failing: str, message: str
) -> None:
    register(many.context, "1", many.versions[0])
    wrong = many.home / "wrong.db"
    wrong.write_bytes(registry.read_bytes() if failing == "empty" else b"no database" * 500)
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", f"sqlite:///{wrong}")
    assert message in refusal(many.home, capsys, "data", "gc", "--keep", "1")
    monkeypatch.delenv("FLIGHTDECK_MLFLOW_URI")
    assert len(many.left()) == 6
    data_output(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [0, 5]


def test_versions_that_may_be_needed_are_kept(many: Many, capsys: Capsys) -> None:
    """Versions without a record, of another use case, in a broken manifest, or without their tree."""
    others = many.context.records.snapshots("boilers")
    others.append(many.context.snapshots.taken()[0])
    unknown = toy_at(many.home)
    write(unknown, "readings", "2024-03-01", 99)
    with repository.open_repository(unknown) as opened:
        version, _ = opened.keep(raw(unknown))
    done = data_output(many.home, capsys, "gc", "--keep", "5")
    assert done["kept"][version] == ["not in the records"]
    assert done["kept"][many.versions[0]] == ["another use case"] and not done["removed"]
    assert version in [one["version"] for one in data_output(many.home, capsys, "versions")]

    store, place = many.context.data.store, Manifest.place(many.context.data.uri("training_sets", "broken"))
    store.write_json(place, {})
    assert "manifest.json lacks as_of, data_version," in refusal(many.home, capsys, "data", "gc", "--keep", "1")
    store.delete(place)
    assert "--keep 0" in refusal(many.home, capsys, "data", "gc", "--keep", "0")
    for folder in (cache(many.home), many.home / "dvc-remote"):
        (tree,) = folder.glob(f"files/md5/{version[:2]}/{version[2:]}")
        tree.unlink()
    assert "neither in the cache" in refusal(many.home, capsys, "data", "gc", "--keep", "1")
    assert len(many.left()) == 6
