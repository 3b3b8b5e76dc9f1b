"""Verify that a registered version can be reproduced: rebuilt from its records, it must give the same scores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.artifacts.evaluation import further_column, read_scored
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.provenance import CODE, Provenance
from pipelines.artifacts.scorer import load_scorer
from pipelines.artifacts.version_card import Verification
from pipelines.clock import instant_of
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.records import Action, Entry, Records
from pipelines.registration import lineage
from pipelines.registration.evaluation import read_evaluated_model
from pipelines.registration.rebuild import Bench, Recipe, Restore, rebuild, worktree
from pipelines.registration.version_cards import read_card, write_card
from pipelines.store import Store
from pipelines.tracking.integrity import folders_of, require_intact
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking import ModelVersion

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Rebuilding:
    """How to rebuild a version.

    Attributes:
        restore: brings a data version into a folder.
        repository: a clone that has the recorded commit; by default the one that holds this code.
        allow_dirty: rebuild from the commit even if files differed from it, so that its code is only close to the
            code that was run.
        tolerance: largest difference of a score.
    """

    restore: Restore
    repository: Path | None = None
    allow_dirty: bool = False
    tolerance: float = TOLERANCE


def verify(number: str, context: Context, rebuilding: Rebuilding, actor: str) -> Verification:
    """Rebuild a version and compare its scores; the result is kept on its page, on its card and in the ledger.

    Raises:
        MissingData: if there is no such version.
        CorruptData: if its files were altered.
        InvalidInput: if it was trained from a dirty tree, or its records do not suffice.
    """
    version = context.models.require(number)
    require_intact(context.data.store, context.tracker, version, tuple(folders_of(version)))
    recipe = recipe_of(version, context, rebuilding.allow_dirty)
    place = context.settings.root / "verify" / f"{context.usecase.name}-{number}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with worktree((rebuilding.repository or CODE).absolute(), recipe.commit, place / "code") as code:
            bench = Bench(code, place / "home", recipe.science(), recipe.machine.threads)
            outcome = _compare(version, recipe, bench, context, rebuilding)
    except CheckFailed as error:
        outcome = Verification(verdict=Verdict.HOLD, why=f"it could not be rebuilt: {error}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    commit = recipe.commit
    if (dirty := version.tags.get("git_dirty")) != "false":
        commit += " (files differed from it)" if dirty else " (whether files differed from it is not known)"
    outcome = outcome.model_copy(update={"commit": commit, "data_version": recipe.data_version})
    _keep(version, outcome, actor, context)
    return outcome


def recipe_of(version: ModelVersion, context: Context, allow_dirty: bool) -> Recipe:
    """What is recorded about the training of a version.

    Raises:
        InvalidInput: if the records do not suffice or contradict each other, or the tree was dirty.
    """
    name = f"version {version.version}"
    if "git_commit" not in version.tags:
        raise InvalidInput(f"{name} names no git commit; register models from a git checkout, or set FLIGHTDECK_COMMIT")
    if version.tags.get("git_dirty") == "true" and not allow_dirty:
        raise InvalidInput(
            f"{name} was trained from commit {version.tags['git_commit'][:12]} with files that differ from it, so its "
            "code is not recorded; give --allow-dirty to compare with the commit anyway"
        )
    provenance = Provenance.read(context.data.store, version.model_uri)
    card = read_evaluated_model(context.data.store, version.evaluation_uri).model.card
    if lineage.digest(lineage.science(provenance.params, card)) != version.tags.get("params_hash"):
        raise InvalidInput(
            f"{name}: the parameters in {version.model_uri} do not match its params_hash; restore its files"
        )
    return Recipe(version.tags["git_commit"], version.tags["data_version"], provenance.params, card, provenance.machine)


def _compare(
    version: ModelVersion, recipe: Recipe, bench: Bench, context: Context, rebuilding: Rebuilding
) -> Verification:
    store, usecase = context.data.store, context.usecase
    scratch = replace(context.data, store=Store(str(bench.home / "data")))
    raw = Path(scratch.uri("raw"))
    rebuilding.restore(recipe.data_version, raw)
    manifest = Manifest.read(store, version.training_set_uri)
    if manifest.releases:  # rows released from quarantine
        releases = context.releases.all()
        Records(f"sqlite:///{bench.home / 'records.db'}").releases(usecase.name).add(releases)
    training_set, model_uri = rebuild(
        recipe, bench, usecase, raw, version.training_set_uri.rstrip("/").rsplit("/", 1)[-1]
    )
    again = Manifest.read(scratch.store, training_set["training_set_uri"])

    evaluated = read_evaluated_model(store, version.evaluation_uri)
    scored = read_scored(store, version.evaluation_uri, evaluated.evaluation)
    rebuilt = load_scorer(scratch.store, ModelRef(model_uri))
    if rebuilt.further != evaluated.model.card.further:
        raise CheckFailed(f"its further outputs are {rebuilt.further}, and were {evaluated.model.card.further}")
    outputs = ["score", *map(further_column, rebuilt.further)]
    differences = np.abs(np.column_stack(rebuilt.score_all(scored)) - scored[outputs].to_numpy(dtype=np.float64))
    largest, tolerance = float(differences.max()) if len(differences) else float("nan"), rebuilding.tolerance
    here = Provenance.read(scratch.store, model_uri)
    devices = (recipe.machine.device, here.machine.device)
    return Verification(
        verdict=Verdict.PASS if largest <= tolerance else Verdict.REJECT,  # NaN is no agreement
        why=f"the largest difference of {len(scored)} scores is {largest:.3g}, allowed is {tolerance:g}",
        max_difference=largest if np.isfinite(largest) else None,
        rows=len(scored),
        identical_graph=rebuilt.model.sha256 == evaluated.model.sha256,
        identical_training_set=again.files == manifest.files,
        identical_environment=here.environment_hash == version.tags["environment_hash"],
        device=f"{devices[0]}, now {devices[1]}" if devices[0] != devices[1] else None,
        libraries=_differing(recipe.card.environment),
    )


def _differing(environment: Mapping[str, str]) -> dict[str, str]:
    """Libraries whose version has changed since the model was trained."""
    differences = {}
    for name, recorded in environment.items():
        try:
            now = version(name)
        except PackageNotFoundError:
            continue  # python, which is not a package
        if now != recorded:
            differences[name] = f"{recorded}, now {now}"
    return differences


def _keep(version: ModelVersion, outcome: Verification, actor: str, context: Context) -> None:
    entries = [(entry.action, entry.version) for entry in context.ledger.entries()]
    before = entries.count((Action.VERIFY, version.version))
    card = read_card(version, context)
    at = instant_of(context.clock, datetime.fromisoformat(version.tags["as_of"]))
    if card is not None:
        verification = outcome.model_copy(update={"by": actor, "at": at})
        write_card(version, card.model_copy(update={"verification": verification}), context)
    context.models.annotate(version.version, {"verify.verdict": outcome.verdict.value, "verify.why": outcome.why})
    context.ledger.enter(
        Entry(
            key=f"verify:{version.version}:{before + 1}",
            at=at,
            actor=actor,
            action=Action.VERIFY,
            version=version.version,
            previous=None,
            share=0.0,
            reason=f"{outcome.verdict.value}: {outcome.why}",
            evidence=outcome.as_json(),
        )
    )
