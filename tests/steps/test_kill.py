"""Ingest, validation and features, killed at random moments and repeated, give the same files as a clean run."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from pipelines.context import build_context
from pipelines.steps import execute
from tests.commands import start
from tests.conftest import ROOT, tree_hashes
from tests.examples import seeds
from tests.services import thorough

WINDOW = {"start": "2013-01-01", "end": "2013-01-09"}
ZONES = {"ingest": "raw", "validate": "validated", "build_features": "features"}
SOURCES = {"validate": "raw", "build_features": "validated"}


def command(step: str, home: Path) -> list[str]:
    window = [word for name, value in WINDOW.items() for word in (f"--{name}", value)]
    return [step, "--params", "params.yaml", "--home", str(home), *window]


def run(step: str, home: Path) -> None:
    execute(step, WINDOW, build_context(ROOT / "params.yaml", home))


def run_and_kill(step: str, home: Path, after_files: int) -> int:
    """Start a step, kill it once it has written a number of files, and give the number that it left."""
    zone = home / "data" / "flights" / ZONES[step]
    process = start(command(step, home))
    while not process.ended() and len(list(zone.rglob("*.parquet"))) < after_files:
        time.sleep(0.002)
    assert process.kill() in (-signal.SIGKILL, 0)
    return len(list(zone.rglob("*.parquet")))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clean")
    run("ingest", home)
    run("validate", home)
    run("build_features", home)
    return home


@thorough
@pytest.mark.parametrize("step", ZONES)
@pytest.mark.parametrize("seed", seeds(1, 20))
def test_a_killed_step_run_again_leaves_the_same_bytes(clean: Path, tmp_path: Path, step: str, seed: int) -> None:
    zone = ZONES[step]
    whole = tree_hashes(clean / "data" / "flights" / zone)
    if step in SOURCES:
        (tmp_path / "data" / "flights").mkdir(parents=True)
        os.symlink(clean / "data" / "flights" / SOURCES[step], tmp_path / "data" / "flights" / SOURCES[step])
    left = run_and_kill(step, tmp_path, random.Random(f"{step}{seed}").randrange(1, len(whole)))
    partial = tree_hashes(tmp_path / "data" / "flights" / zone)
    assert partial.items() <= whole.items(), (
        f"of {left} files that the killed run left, some are not what they should be"
    )
    run(step, tmp_path)
    assert tree_hashes(tmp_path / "data" / "flights" / zone) == whole
