"""Snapshots by several processes at once, while partitions are replaced, and by processes that are killed."""

from __future__ import annotations

import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.ingestion.repository import open_repository, versions_in
from pipelines.ingestion.versions import version_of
from pipelines.steps import execute
from tests import commands
from tests.conftest import TOY, tree_hashes
from tests.data_versions import cache, drop_cache, objects, raw, restore, sound, toy_at, write
from tests.examples import seeds
from tests.services import thorough

pytestmark = thorough

DAYS = 40


def snapshots(home: Path, name: str) -> int:
    for number in range(4):
        print(execute("snapshot", {"run": f"{name}-{number}"}, toy_at(home))["data_version"], flush=True)
    return 0


def test_concurrent_snapshots_keep_every_version_while_partitions_are_replaced(tmp_path: Path) -> None:
    home, draw = tmp_path / "home", random.Random(1)
    context = toy_at(home)
    for day in range(DAYS):
        write(context, "readings", f"{day:02}", day)
    processes = [commands.fork(partial(snapshots, home, name)) for name in ("a", "b", "c")]
    number = DAYS
    while not all(process.ended() for process in processes):
        write(context, "readings", f"{draw.randrange(DAYS):02}", number, rows=1 + number % 7)
        number += 1
        time.sleep(0.005)
    results = [process.wait() for process in processes]
    assert [one.returncode for one in results] == [0, 0, 0], results
    versions = {line for one in results for line in one.stdout.split()}
    assert len(versions) > 3 and versions == set(versions_in(home / "data"))
    assert {one.version for one in context.snapshots.taken()} == versions
    assert sound(home)

    drop_cache(home)
    for snapshot in context.snapshots.taken():
        back = tmp_path / snapshot.key.replace("/", "-")
        restore(home, snapshot.version, back)
        tables = [pq.read_table(path)["number"] for path in back.rglob("*.parquet")]
        assert len(tables) == snapshot.files == DAYS
        assert sum(map(len, tables)) == snapshot.rows
        assert all(len(set(table.to_pylist())) == 1 for table in tables)
    assert sound(home)


@pytest.mark.parametrize("place", ["cache", "remote"])
@pytest.mark.parametrize("seed", seeds(1, 10))
def test_a_repeated_snapshot_after_a_kill_gives_the_same_version(tmp_path: Path, place: str, seed: int) -> None:
    """Killed twice, once cache or remote hold a number of files, whole or not; then run to its end."""
    home, draw = tmp_path / "home", random.Random(f"{place}{seed}")
    context = toy_at(home)
    for day in range(DAYS):
        write(context, "readings", f"{day:02}", day, rows=2000)
    folder = {"cache": cache(home), "remote": home / "dvc-remote"}[place]
    for files in sorted(draw.sample(range(1, DAYS), 2)):
        enough = max(files, len(objects(folder)) + 1)  # so each has written something when it is killed
        process = commands.start(["snapshot", "--params", TOY, "--home", home, "--run", "r"])
        while not process.ended() and len(objects(folder)) < enough:
            time.sleep(0.001)
        assert process.kill() in (-signal.SIGKILL, 0)
    outputs = execute("snapshot", {"run": "r"}, context)
    assert (outputs["data_version"], outputs["files"]) == version_of(raw(context)) and sound(home)
    (taken,) = context.snapshots.taken()
    assert (taken.version, taken.rows) == (outputs["data_version"], DAYS * 2000)
    with open_repository(context) as repository:
        collected = repository.remove([], remote=False, dry_run=False)
    assert collected["files"] <= 2 and len(objects(cache(home))) == DAYS + 1
    drop_cache(home)
    assert restore(home, outputs["data_version"], tmp_path / "back") == tree_hashes(raw(context))


def test_a_killed_restore_leaves_nothing_half_written(tmp_path: Path) -> None:
    home, to = tmp_path / "home", tmp_path / "back"
    context = toy_at(home)
    for day in range(DAYS):
        write(context, "readings", f"{day:02}", day, rows=2000)
    version = execute("snapshot", {}, context)["data_version"]
    command = ["data", "restore", version, "--to", to, "--params", TOY, "--home", home]
    whole = tree_hashes(raw(context))
    for files in (1, DAYS // 2, DAYS + 1):  # the last one: when the folder exists
        process = commands.start(command)
        while not process.ended() and not to.exists() and len(list(tmp_path.glob(".back.partial/*/*"))) < files:
            time.sleep(0.0005)
        process.kill()
        if to.exists():
            assert tree_hashes(to) == whole
            shutil.rmtree(to)
    assert restore(home, version, to) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "home"]
