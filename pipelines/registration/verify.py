"""Whether a registered version can be made again: rebuilt from its records, it must score the same rows alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.clock import instant_of
from pipelines.errors import CheckFailed, InvalidInput
from pipelines.manifest import read_manifest
from pipelines.provenance import CODE, environment_hash, read_provenance
from pipelines.records import Action, Entry, Records
from pipelines.registration import lineage
from pipelines.registration.evaluation import read_evaluation, read_scored
from pipelines.registration.keeping import read_card, write_card
from pipelines.registration.rebuild import Bench, Recipe, Restore, rebuild, worktree
from pipelines.scorer import load_scorer
from pipelines.store import Layout, Store
from pipelines.tracking.artifacts import folders_of, require_intact
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.tracking import ModelVersion

TOLERANCE = 1e-5


def verify(
    number: str,
    context: Context,
    restore: Restore,
    actor: str,
    repository: Path | None = None,
    allow_dirty: bool = False,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Rebuild a version and compare; the result is on its page, on its card and in the ledger.

    Args:
        restore: brings a data version into a folder.
        repository: a clone that has the recorded commit; by default the one that this code is in.
        allow_dirty: also where files differed from the commit, which is then only close to what was run.
        tolerance: largest difference of a score.

    Returns:
        verdict (PASS, REJECT, or HOLD where it could not be built), why, max_difference, rows, identical_graph,
        identical_training_set, identical_environment, libraries (those that decide the fit and have another version
        now), device (where it is another one), commit, data_version.

    Raises:
        MissingData: if there is no such version.
        CorruptData: if its files were altered.
        InvalidInput: if it was trained from a dirty tree, or recorded too little.
    """
    found = context.models.require(number)
    require_intact(context.data.store, context.tracker, found, tuple(folders_of(found)))
    recipe = recipe_of(found, context, allow_dirty)
    place = context.settings.root / "verify" / f"{context.usecase.name}-{number}"
    shutil.rmtree(place, ignore_errors=True)
    try:
        with worktree((repository or CODE).absolute(), recipe.commit, place / "code") as code:
            report = _compare(found, recipe, code, place / "home", context, restore, tolerance)
    except CheckFailed as error:
        report = {"verdict": Verdict.HOLD.value, "why": f"it could not be built again: {error}"}
    finally:
        shutil.rmtree(place, ignore_errors=True)
    report = {**report, "commit": recipe.commit, "data_version": recipe.data_version}
    if (dirty := found.tags.get("git_dirty")) != "false":
        report["commit"] += " (files differed from it)" if dirty else " (whether files differed from it is not known)"
    _keep(found, report, actor, context)
    return report


def recipe_of(found: ModelVersion, context: Context, allow_dirty: bool) -> Recipe:
    """What a version recorded of its making.

    Raises:
        InvalidInput: if it is too little, contradicts itself, or the tree was dirty.
    """
    name = f"version {found.version}"
    if "git_commit" not in found.tags:
        raise InvalidInput(f"{name} names no git commit; register models from a git checkout, or set FLIGHTDECK_COMMIT")
    if found.tags.get("git_dirty") == "true" and not allow_dirty:
        raise InvalidInput(
            f"{name} was trained from commit {found.tags['git_commit'][:12]} with files that differ from it, so its "
            "code is not recorded; give --allow-dirty to compare with the commit all the same"
        )
    made = read_provenance(context.data.store, found.model_uri)
    card = read_evaluation(context.data.store, found.evaluation_uri)[1].card
    if lineage.digest(lineage.science(made["params"], card)) != found.tags.get("params_hash"):
        raise InvalidInput(f"{name}: the parameters in {found.model_uri} are not what its params_hash says")
    return Recipe(found.tags["git_commit"], found.tags["data_version"], made["params"], card, made["machine"])


def _compare(
    found: ModelVersion,
    recipe: Recipe,
    code: Path,
    home: Path,
    context: Context,
    restore: Restore,
    tolerance: float,
) -> dict[str, Any]:
    store, usecase = context.data.store, context.usecase
    scratch = Layout(Store(str(home / "data")), usecase.name)
    raw = Path(scratch.uri("raw"))
    restore(recipe.data_version, raw)
    manifest = read_manifest(store, found.training_set_uri)
    if manifest.get("releases"):  # rows that people had let through
        released = context.releases.all()
        Records(f"sqlite:///{home / 'records.db'}").releases(usecase.name).add(released)
    bench = Bench(code, home, recipe.science(), int(recipe.machine["threads"]))
    made, model_uri = rebuild(recipe, bench, usecase, raw, found.training_set_uri.rstrip("/").rsplit("/", 1)[-1])
    again = read_manifest(scratch.store, made["training_set_uri"])

    evaluation, model = read_evaluation(store, found.evaluation_uri)
    scored = read_scored(store, found.evaluation_uri, evaluation)
    rebuilt = load_scorer(scratch.store, model_uri)
    apart = np.abs(rebuilt.score(scored) - scored["score"].to_numpy(dtype=np.float64))
    largest = float(apart.max()) if len(apart) else float("nan")
    verdict = Verdict.PASS if largest <= tolerance else Verdict.REJECT  # NaN is no agreement
    here = read_provenance(scratch.store, model_uri)
    devices = [str(machine["device"]) for machine in (recipe.machine, here["machine"])]
    return {
        "verdict": verdict.value,
        "why": f"of {len(scored)} scores the largest difference is {largest:.3g}, allowed is {tolerance:g}",
        "max_difference": largest if np.isfinite(largest) else None,
        "rows": len(scored),
        "identical_graph": rebuilt.model.sha256 == model.sha256,
        "identical_training_set": again["sha256"] == manifest["sha256"],
        "identical_environment": environment_hash(here["environment"]) == found.tags["environment_hash"],
        "device": f"{devices[0]}, now {devices[1]}" if devices[0] != devices[1] else None,
        "libraries": _differing(recipe.card.get("environment", {})),
    }


def _differing(trained: Mapping[str, str]) -> dict[str, str]:
    """Libraries that have another version now than when the model was trained."""
    seen = {}
    for name, known in trained.items():
        try:
            now = version(name)
        except PackageNotFoundError:
            continue  # python, which is no package
        if now != known:
            seen[name] = f"{known}, now {now}"
    return seen


def _keep(found: ModelVersion, report: Mapping[str, Any], actor: str, context: Context) -> None:
    made = [(entry.action, entry.version) for entry in context.ledger.entries()]
    before = made.count((Action.VERIFY, found.version))
    card = read_card(found, context)
    at = instant_of(context.clock, datetime.fromisoformat(found.tags["as_of"]))
    if card is not None:
        write_card(found, {**card, "verification": {**report, "by": actor, "at": at.isoformat()}}, context)
    tags = {f"verify.{key}": str(report[key]) for key in ("verdict", "why") if key in report}
    context.models.annotate(found.version, tags)
    context.ledger.enter(
        Entry(
            key=f"verify:{found.version}:{before + 1}",
            at=at,
            actor=actor,
            action=Action.VERIFY,
            version=found.version,
            previous=None,
            share=0.0,
            reason=f"{report['verdict']}: {report['why']}",
            evidence=dict(report),
        )
    )
