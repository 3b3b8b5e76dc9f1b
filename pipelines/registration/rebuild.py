"""Rebuild a version from its records: its data, its code in a git worktree, its parameters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines import chains
from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.provenance import Machine
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from pipelines.instants import local_day
from pipelines.json_text import JsonObject
from pipelines.store.layout import periods_of
from pipelines.usecase import UseCase, calendar_of
from pipelines.walk import walk

Restore = Callable[[str, Path], None]  # brings a data version into a folder that is not there


@dataclass(frozen=True)
class Recipe:
    """What is recorded about the training of a version.

    Attributes:
        params: params.yaml as it was.
        machine: threads, device and processes of the fit.
    """

    commit: str
    data_version: str
    params: Mapping[str, Any]
    card: ModelCard
    machine: Machine

    def science(self) -> JsonObject:
        """The recorded params, with the settings that the search chose in place of the search."""
        training = dict(self.params["training"])
        family = self.card.family
        training[family] = {**training[family], **self.card.params}
        training.update(trials=1, seed=self.card.seed, tuning={})
        features = {**self.params["features"], "service": self.card.training_set.feature_service}
        return {**self.params, "training": training, "features": features, "clock": "replay"}


@contextmanager
def worktree(repository: Path, commit: str, place: Path) -> Iterator[Path]:
    """The code of a commit, checked out in a folder for the time of the context; leftovers of a kill are removed first.

    Raises:
        MissingData: if the repository does not have the commit.
    """
    _remove(repository, place)
    place.parent.mkdir(parents=True, exist_ok=True)
    checkout = _git(repository, "worktree", "add", "--detach", str(place), commit)
    if checkout.returncode != 0:
        raise MissingData(
            f"commit {commit} cannot be checked out of {repository} ({checkout.stderr.strip().splitlines()[-1:]}); "
            "fetch it, or name a clone that has it with --repository"
        )
    try:
        yield place
    finally:
        _remove(repository, place)


def _remove(repository: Path, place: Path) -> None:
    _git(repository, "worktree", "remove", "--force", str(place))
    shutil.rmtree(place, ignore_errors=True)  # leftovers of a killed call, of which git does not know


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True)
    except OSError as error:
        raise InvalidInput(f"git cannot be run ({error}); install it to rebuild a version") from None


class Bench:
    """A scratch home in which the steps of another commit run, each in one or more processes of its own.

    Args:
        threads: of the libraries.
    """

    def __init__(self, code: Path, home: Path, params: Mapping[str, Any], threads: int) -> None:
        self.code, self.home, self.threads, self.params = code, home, threads, home / "params.yaml"
        home.mkdir(parents=True, exist_ok=True)
        self.params.write_text(yaml.safe_dump(dict(params), sort_keys=False))

    def run(self, step: str, **inputs: str) -> JsonObject:
        """Run a step, and give its outputs.

        Raises:
            CheckFailed: if the step fails, with its last line.
        """
        return self._run(step, ["-m", "pipelines", step], inputs)

    def train(self, processes: int, run: str, **inputs: str) -> JsonObject:
        """Run `train` for one trial in so many processes, and give its outputs."""
        if processes == 1:
            return self.run("train", **inputs, run=run, trials="1")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        return self._run("train", [*launcher, "-m", "pipelines.training.distributed"], {**inputs, "run_name": run})

    def _run(self, step: str, command: Sequence[str], inputs: Mapping[str, str]) -> JsonObject:
        out = self.home / f"{step}.json"
        values = {"params": str(self.params), "home": str(self.home), "out": str(out), **inputs}
        options = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FLIGHTDECK_", "MLFLOW_"))}
        process = subprocess.run(
            [sys.executable, *command, *options],
            cwd=self.code,
            env={**environment, "PYTHONPATH": str(self.code), "OMP_NUM_THREADS": str(self.threads)},
            capture_output=True,
            text=True,
        )
        if process.returncode != 0:
            lines = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
            raise CheckFailed(f"step {step} of the recorded commit failed: {lines[-1]}")
        answer: JsonObject = json.loads(out.read_text())
        return answer


def rebuild(recipe: Recipe, bench: Bench, usecase: UseCase, raw: Path, run: str) -> tuple[JsonObject, str]:
    """Run the chain from the raw data to the model: the outputs of `build_training_set`, and the model's folder.

    Args:
        raw: the restored raw data, in the bench's home.
        run: name of the training run.
    """
    as_of = recipe.card.training_set.as_of
    calendar = calendar_of(usecase)
    end = calendar.first_of(local_day(as_of, usecase.timezone))
    names = {file.stem for table in usecase.tables if table.daily for file in (raw / table.name).glob("*.parquet")}
    periods = [period for period in periods_of(sorted(names)) if period < end]
    if not periods:
        raise MissingData(f"data version {recipe.data_version} has no {calendar.noun} before {end}")
    window = {"start": periods[0].isoformat(), "end": calendar.after(periods[-1]).isoformat()}

    def execute(step: str, inputs: Mapping[str, str]) -> JsonObject:
        return bench.train(recipe.machine.processes, **inputs) if step == "train" else bench.run(step, **inputs)

    chain_inputs: JsonObject = {**window, "as_of": as_of.isoformat(), "run": run}
    chain_inputs |= {"families": [recipe.card.family], "seed": str(recipe.card.seed)}
    chain_inputs |= {"feature_service": None, "trials": None}  # those of the recipe's params
    ingestion = {"validate_since": None, "build_since": window["start"], "build_until": window["end"]}
    walk(chains.data, chain_inputs, execute, only=chains.FEATURES, previous={"ingest": ingestion})
    snapshot = {"data_version": recipe.data_version}
    outputs = walk(
        chains.training, chain_inputs, execute, only=("build_training_set", "train"), previous={"snapshot": snapshot}
    )
    return outputs["build_training_set"], str(outputs["train"][0]["model_uri"])
