"""Data versions with DVC itself: kept, listed, compared, brought back bit for bit, removed when nobody needs them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.artifacts.manifest import Manifest
from pipelines.context import Context
from pipelines.errors import FlightdeckError, InvalidInput, MissingData
from pipelines.ingestion import repository
from pipelines.ingestion.versions import version_of
from pipelines.records import Decision, DecisionKind
from pipelines.steps import execute
from pipelines.store import alone, at_work
from tests.artifacts import manifest
from tests.conftest import ROOT, TOY, tree_hashes
from tests.data_versions import (
    cache,
    drop_cache,
    flightdeck,
    objects,
    raw,
    refused,
    restored,
    sound,
    told,
    toy_at,
    write,
)

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, which takes seconds to make."""
    made = tmp_path_factory.mktemp("registry")
    assert toy_at(made).models.versions() == []
    return made / "mlflow" / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, registry: Path) -> Path:
    (tmp_path / "home" / "mlflow").mkdir(parents=True)
    shutil.copy(registry, tmp_path / "home" / "mlflow")
    return tmp_path / "home"


def snapshot(context: Context, **inputs: Any) -> str:
    return str(execute("snapshot", inputs, context)["data_version"])


def three(home: Path) -> list[str]:
    """Three versions: a day more each time, and in the last one a day restated with another column."""
    context, found = toy_at(home), []
    write(context, "makers", "all", 0)
    for day in (1, 2, 3):
        write(context, "readings", f"2024-03-0{day}", day)
        if day == 3:
            write(context, "readings", "2024-03-01", 9, rows=5, heat=pa.array([1.5] * 5, "float32"))
        window = {"start": f"2024-03-0{day}", "end": f"2024-03-0{day + 1}"}
        found.append(snapshot(context, **window, run=f"run{day}"))
    return found


# ---- keeping


def test_a_snapshot_is_recorded_once_with_its_window_and_run(toy: Context) -> None:
    write(toy, "makers", "all", 1)
    asked = {"start": "2024-03-01", "end": "2024-03-03", "run": "r1"}
    first = snapshot(toy, **asked)
    assert snapshot(toy, **asked) == first
    (taken,) = toy.snapshots.taken()
    assert (taken.version, taken.files, taken.rows) == (first, 1, 3)
    assert (taken.start, taken.end, taken.run) == (date(2024, 3, 1), date(2024, 3, 3), "r1")
    snapshot(toy)
    assert [one.run for one in toy.snapshots.taken()] == ["r1", None]
    execute("snapshot", {"keep": False, "run": "desk"}, toy)
    assert len(toy.snapshots.taken()) == 2
    with pytest.raises(InvalidInput, match="start is 2024-03-01, end is None; give both"):
        snapshot(toy, start="2024-03-01")


def test_what_did_not_change_is_neither_hashed_nor_sent_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_partition_that_is_replaced_while_it_is_read_does_not_spoil_the_cache(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between hash and copy: the version is of what was copied, and the cache holds nothing under a wrong name."""
    from dvc_data.hashfile.build import build

    context, numbers = toy_at(home), itertools.count(100)
    write(context, "makers", "all", 0)
    write(context, "readings", "2024-03-01", 1)

    def build_and_replace(*arguments: Any) -> Any:
        made = build(*arguments)
        if next(numbers) < 103:
            write(context, "readings", "2024-03-01", next(numbers))
        return made

    monkeypatch.setattr(repository, "build", build_and_replace)
    version = snapshot(context)
    assert version == version_of(raw(context))[0] and sound(home)
    assert restored(home, version, tmp_path / "back") == tree_hashes(raw(context))

    def always(*arguments: Any) -> Any:
        made = build(*arguments)
        write(context, "readings", "2024-03-01", next(numbers))
        return made

    monkeypatch.setattr(repository, "build", always)
    write(context, "readings", "2024-03-01", 2)
    with pytest.raises(FlightdeckError, match="changed 10 times while it was read"):
        snapshot(context)
    assert sound(home) and set(repository.versions_in(home / "data")) == {version}


def test_another_remote_gets_the_version_too(
    home: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = three(home)
    monkeypatch.setenv("FLIGHTDECK_DVC_REMOTE", str(tmp_path / "elsewhere"))
    assert snapshot(toy_at(home)) == versions[-1]
    drop_cache(home)
    shutil.rmtree(home / "dvc-remote")
    restored(home, versions[-1], tmp_path / "back")
    line = refused(home, capsys, "data", "restore", versions[0], "--to", str(tmp_path / "gone"))
    assert "neither in the cache nor, unaltered, at the DVC remote" in line and not (tmp_path / "gone").exists()


def test_a_remote_that_cannot_be_used_is_named_without_its_uri(
    toy: Context, home: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(toy, "makers", "all", 1)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLIGHTDECK_DVC_REMOTE", str(tmp_path / "file" / "remote"))
    assert "the DVC remote (FLIGHTDECK_DVC_REMOTE) cannot be used" in refused(home, capsys, "snapshot")
    assert not repository.versions_in(home / "data") and not toy.snapshots.taken()


def test_a_store_that_is_no_folder_is_refused(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_STORE_URI", "memory://store")
    for command in (["snapshot"], ["snapshot", "--keep", "false"], ["data", "versions"], ["data", "gc"]):
        line = refused(tmp_path, capsys, *command)
        assert "FLIGHTDECK_STORE_URI=memory://store" in line and "FLIGHTDECK_DVC_REMOTE" in line


@pytest.fixture
def users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that a user has set for all of their DVC repositories, with another project's copy under way in it."""
    shared, settings = tmp_path / "shared", tmp_path / "settings" / "dvc"
    (shared / "files" / "md5" / "ab").mkdir(parents=True)
    (shared / "files" / "md5" / "ab" / "Zx81begun.tmp").write_text("half a copy")
    settings.mkdir(parents=True)
    (settings / "config").write_text(f"[cache]\n    dir = {shared}\n[core]\n    autostage = true\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(settings.parent))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(settings.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    return shared


def test_a_cache_of_the_users_keeps_nothing_of_ours_and_loses_nothing(
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
    assert len(before) > 1 and "config.local" in refused(home, capsys, "data", "gc", "--keep", "1")
    assert tree_hashes(users_cache) == before and len(repository.versions_in(home / "data")) == 3


# ---- listing and comparing


def test_versions_are_listed_in_their_order(home: Path, capsys: Capsys) -> None:
    first, second, third = three(home)
    context = toy_at(home)
    write(context, "readings", "2024-03-01", 1)
    (raw(context) / "readings" / "2024-03-03.parquet").unlink()
    assert snapshot(context, run="again") == second  # data that came back
    register(context, "1", third)
    training_set(context, "set", first)
    listed = told(home, capsys, "versions")
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
    found = told(home, capsys, "diff", first[:8], third)
    assert found["versions"] == [first, third]
    same: dict[str, Any] = {"added": {}, "removed": {}, "retyped": {}}
    assert found["tables"] == {
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
    tables = told(home, capsys, "diff", second, snapshot(context))["tables"]
    columns = {name: one["columns"] for name, one in tables.items()}
    assert columns["readings"] == {**same, "retyped": {"number": ["int64", "int64 or string"]}}
    assert columns["makers"] == {**same, "added": {"other": "string"}}


def test_a_version_has_a_short_name(home: Path, capsys: Capsys) -> None:
    versions = three(home)
    for text, problem in (("0" * 32, "is no version"), ("", "is no version"), ("x", "is no version")):
        line = refused(home, capsys, "data", "diff", text, versions[0])
        assert problem in line and all(version[:12] in line for version in versions)
    repository.pointer_of(versions[0][:31] + "f.dir", home / "data")
    twin = versions[0][:20] + "0" * 12
    shutil.copytree(home / "data" / "versions" / versions[0][:32], home / "data" / "versions" / twin)
    pointer = repository.pointer_of(twin, home / "data")
    pointer.write_text(pointer.read_text().replace(versions[0], f"{twin}.dir"))
    line = refused(home, capsys, "data", "restore", versions[0][:5], "--to", str(home / "back"))
    assert "beginning of several" in line and versions[1][:12] not in line
    restored(home, versions[0], home / "back")


# ---- bringing back


def test_a_version_is_restored_bit_for_bit_from_the_cache_and_from_the_remote(home: Path, tmp_path: Path) -> None:
    context = toy_at(home)
    write(context, "makers", "all", 0)
    write(context, "readings", "2024-03-01", 1)
    first, before = snapshot(context), tree_hashes(raw(context))
    write(context, "readings", "2024-03-01", 2)
    snapshot(context)
    (tmp_path / "empty").mkdir()
    assert restored(home, first, tmp_path / "empty") == before
    drop_cache(home)
    assert restored(home, first, tmp_path / "from" / "remote") == before
    assert os.access(next((tmp_path / "empty").rglob("*.parquet")), os.W_OK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "from", "home"]


def test_what_is_there_is_not_overwritten(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    version = three(home)[0]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for place in ("full", "full/mine"):
        line = refused(home, capsys, "data", "restore", version, "--to", str(tmp_path / place))
        assert "is not empty" in line and (tmp_path / "full" / "mine").read_text() == "mine"
    for words in ([], [version, "--model", "1"]):
        assert "one of the two" in refused(home, capsys, "data", "restore", "--to", str(tmp_path / "x"), *words)


def test_an_altered_object_is_never_restored(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    version = three(home)[0]
    for path in objects(cache(home)):
        if path.suffix != ".dir":
            path.chmod(0o644)
            path.write_bytes(b"other")
            path.chmod(0o444)
    line = refused(home, capsys, "data", "restore", version, "--to", str(tmp_path / "back"))
    assert "was altered; delete it" in line
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    drop_cache(home)
    restored(home, version, tmp_path / "back")
    drop_cache(home)
    for path in objects(home / "dvc-remote"):
        path.chmod(0o644)
        path.write_bytes(b"[]")
        path.chmod(0o444)
    line = refused(home, capsys, "data", "restore", version, "--to", str(tmp_path / "again"))
    assert "neither in the cache nor, unaltered, at the DVC remote" in line and not (tmp_path / "again").exists()


def test_a_model_brings_its_data_back(home: Path, tmp_path: Path, capsys: Capsys) -> None:
    first, *_ = three(home)
    context = toy_at(home)
    register(context, "1", first)
    register(context, "2", "d1")
    asked = ["data", "restore", "--to", str(tmp_path / "back"), "--model"]
    assert "registered are 1, 2" in refused(home, capsys, *asked, "3")
    assert "data_version is 'd1'" in refused(home, capsys, *asked, "2")
    repository.pointer_of(first, home / "data").unlink()  # the lineage is enough
    assert flightdeck(home, *asked, "1") == 0
    assert version_of(tmp_path / "back")[0] == first


# ---- removing


def register(context: Context, number: str, data_version: str, decision_id: str = "") -> None:
    """A registered version with the tags that the chain gives it."""
    client, name = context.tracker.client, context.models.name
    if number == "1":
        client.create_registered_model(name)
    tags = {"sha256": number, "model_uri": number, "data_version": data_version, "decision_id": decision_id}
    assert str(client.create_model_version(name, source=str(context.settings.root), tags=tags).version) == number
    context.aliases.note("challenger", number, "training", datetime.now(UTC))


def training_set(context: Context, run: str, data_version: str) -> None:
    manifest(data_version=data_version).write(context.data.store, context.data.uri("training_sets", run))


def gate(context: Context, run: str, data_version: str, verdict: str) -> str:
    subject, evidence = {"run": run}, {"data_versions": [data_version]}
    decision = Decision("pumps", DecisionKind.GATE, datetime(2024, 4, 1, tzinfo=UTC), verdict, (), subject, evidence)
    return context.decisions.record(decision)


@dataclass
class Many:
    """A home with six versions; what is needed of each is up to the test."""

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


def test_what_anyone_needs_is_kept_and_the_rest_goes(many: Many, tmp_path: Path, capsys: Capsys) -> None:
    register(many.context, "1", many.versions[0])
    training_set(many.context, "waiting", many.versions[1])
    training_set(many.context, "rejected", many.versions[2])
    gate(many.context, "rejected", many.versions[2], "REJECT")
    places = {"cache": cache(many.home), "remote": many.home / "dvc-remote"}
    before = {path: path.stat().st_size for folder in places.values() for path in objects(folder)}

    planned = told(many.home, capsys, "gc", "--keep", "2", "--dry-run", "--remote")
    assert planned["dry_run"] and len(many.left()) == 6
    assert all(path.exists() for path in before)
    done = told(many.home, capsys, "gc", "--keep", "2", "--remote")
    assert {**planned, "dry_run": False} == done
    assert done["removed"] == [many.versions[n] for n in (2, 3)] and many.left() == [0, 1, 4, 5]
    needs = [["model 1"], ["training set waiting"], ["recent snapshot"], ["recent snapshot"]]
    assert [done["kept"][many.versions[n]] for n in (0, 1, 4, 5)] == needs
    for place, folder in places.items():
        gone = [size for path, size in before.items() if folder in path.parents and not path.exists()]
        assert done["freed"][place] == {"files": len(gone), "bytes": sum(gone)} and len(gone) == 4
    for n in (0, 1, 4, 5):
        version = many.versions[n]
        assert restored(many.home, version, tmp_path / f"cached{n}") == many.content[version]
    drop_cache(many.home)
    for n in (0, 1, 4, 5):
        version = many.versions[n]
        assert restored(many.home, version, tmp_path / f"pulled{n}") == many.content[version]
    again = told(many.home, capsys, "gc", "--keep", "2", "--remote")
    assert not again["removed"] and all(freed["files"] == 0 for freed in again["freed"].values())


def test_a_set_is_needed_until_its_model_is_rejected_or_registered(many: Many, capsys: Capsys) -> None:
    for n in (0, 1, 2):
        training_set(many.context, f"set{n}", many.versions[n])
    passed = gate(many.context, "set1", many.versions[1], "PASS")
    gate(many.context, "set2", many.versions[3], "REJECT")  # of the run's name, but of other data
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [0, 1, 2, 5]
    gate(many.context, "set0", many.versions[0], "HOLD")
    register(many.context, "1", many.versions[2], passed)
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [2, 5]


def test_the_cache_alone_is_emptied_unless_the_remote_is_asked_too(many: Many, tmp_path: Path, capsys: Capsys) -> None:
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]
    assert len(objects(cache(many.home))) == 3 and len(objects(many.home / "dvc-remote")) == 13
    write(many.context, "readings", "2024-03-01", 0)  # data that come back have their version back
    assert snapshot(many.context) == many.versions[0]
    drop_cache(many.home)
    restored(many.home, many.versions[0], tmp_path / "back")
    freed = told(many.home, capsys, "gc", "--keep", "1", "--remote")["freed"]
    assert freed["remote"]["files"] == 10 and many.left() == [0]
    write(many.context, "readings", "2024-03-01", 3)
    assert snapshot(many.context) == many.versions[3]
    drop_cache(many.home)
    assert restored(many.home, many.versions[3], tmp_path / "sent again") == many.content[many.versions[3]]


@pytest.mark.parametrize("place", ["cache", "remote"])
def test_a_removal_that_was_killed_is_taken_up_again(many: Many, tmp_path: Path, capsys: Capsys, place: str) -> None:
    """Killed before its n-th file: the data may come back, or the removal is run again."""
    script = """
import os, signal, sys
from pipelines.__main__ import main
from dvc_objects.fs.local import LocalFileSystem
left, remove = int(sys.argv[1]), LocalFileSystem.remove
def remove_and_die(self, path):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    remove(self, path)
LocalFileSystem.remove = remove_and_die
main(sys.argv[2:])
"""
    asked = ["--keep", "5", *(["--remote"] if place == "remote" else [])]
    words = ["data", "gc", "--params", str(TOY), "--home", str(many.home), *asked]
    for files, comes_back in ((0, True), (1, False)) if place == "cache" else ((1, True), (2, False)):
        died = subprocess.run([sys.executable, "-c", script, str(files), *words], cwd=ROOT, capture_output=True)
        assert died.returncode == -9
        assert many.left() == [1, 2, 3, 4, 5]
        if comes_back:
            write(many.context, "readings", "2024-03-01", 0)
            assert snapshot(many.context) == many.versions[0]
            if place == "remote":
                drop_cache(many.home)
            assert restored(many.home, many.versions[0], tmp_path / "back") == many.content[many.versions[0]]
            for n in range(1, 6):
                write(many.context, "readings", "2024-03-01", n)
                snapshot(many.context, run=f"run{n}")
    told(many.home, capsys, "gc", *asked)
    kept = {value for version in many.versions[1:] for value in pieces(many, version)}
    for folder in [cache(many.home), *([many.home / "dvc-remote"] if place == "remote" else [])]:
        assert {path.parent.name + path.name for path in objects(folder)} == kept


def pieces(many: Many, version: str) -> set[str]:
    with repository.open_repository(many.context) as opened:
        return {version, *opened.tree(version).values()}


def test_nothing_goes_while_a_step_runs(many: Many, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Busy(type(many.context.usecase)):  # type: ignore[misc]
        def read(self, *arguments: Any) -> Any:
            tried.append(refused(many.home, capsys, "data", "gc", "--keep", "1"))
            return super().read(*arguments)

    busy = toy_at(many.home)
    object.__setattr__(busy, "usecase", Busy())
    execute("ingest", {"start": "2024-03-01", "end": "2024-03-02"}, busy)
    assert len(tried) == 2 and f"a step is running on {many.home / 'data'}" in tried[0]
    assert len(many.left()) == 6
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]


def test_a_killed_step_is_not_live(many: Many, capsys: Capsys) -> None:
    script = f"""
import time
from pipelines.store import Store, at_work
with at_work(Store({str(many.home / "data")!r})):
    print("at work", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "at work\n"
    assert "a step is running" in refused(many.home, capsys, "data", "gc", "--keep", "1")
    process.kill()
    process.wait()
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [5]


def test_steps_share_a_store_and_one_who_removes_has_it_alone(toy: Context) -> None:
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
    many: Many,
    registry: Path,
    tmp_path: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    message: str,
) -> None:
    register(many.context, "1", many.versions[0])
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(registry.read_bytes() if failing == "empty" else b"no database" * 500)
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", f"sqlite:///{wrong}")
    assert message in refused(many.home, capsys, "data", "gc", "--keep", "1")
    monkeypatch.delenv("FLIGHTDECK_MLFLOW_URI")
    assert len(many.left()) == 6
    told(many.home, capsys, "gc", "--keep", "1")
    assert many.left() == [0, 5]


def test_what_cannot_be_told_apart_stays(many: Many, capsys: Capsys) -> None:
    """Versions without a record, of another use case, in a manifest that is broken, or whose tree is lost."""
    others = many.context.records.snapshots("boilers")
    others.append(many.context.snapshots.taken()[0])
    unknown = toy_at(many.home)
    write(unknown, "readings", "2024-03-01", 99)
    with repository.open_repository(unknown) as opened:
        version, _ = opened.keep(raw(unknown))
    done = told(many.home, capsys, "gc", "--keep", "5")
    assert done["kept"][version] == ["not in the records"]
    assert done["kept"][many.versions[0]] == ["another use case"] and not done["removed"]
    assert version in [one["version"] for one in told(many.home, capsys, "versions")]

    store, place = many.context.data.store, Manifest.place(many.context.data.uri("training_sets", "broken"))
    store.write_json(place, {})
    assert "manifest.json lacks as_of, data_version," in refused(many.home, capsys, "data", "gc", "--keep", "1")
    store.delete(place)
    assert "--keep 0" in refused(many.home, capsys, "data", "gc", "--keep", "0")
    for folder in (cache(many.home), many.home / "dvc-remote"):
        (tree,) = folder.glob(f"files/md5/{version[:2]}/{version[2:]}")
        tree.unlink()
    assert "neither in the cache" in refused(many.home, capsys, "data", "gc", "--keep", "1")
    assert len(many.left()) == 6


def test_a_missing_raw_folder_is_named(toy: Context) -> None:
    with pytest.raises(MissingData, match="ingest a window first"):
        snapshot(toy)
