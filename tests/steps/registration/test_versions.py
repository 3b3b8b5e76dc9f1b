"""What a registered version carries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import FILES, PICTURES
from pipelines.artifacts.provenance import Provenance, environment
from pipelines.artifacts.run_files import ENVIRONMENT, PARAMS
from pipelines.context import Context
from pipelines.errors import CorruptData, MissingData
from pipelines.registration import lineage
from pipelines.steps import execute
from pipelines.tracking.integrity import registered_digests
from tests.postgres_fixtures import on_both
from tests.steps.registration.versions import FAMILY, TAUGHT, register

pytestmark = on_both


def test_a_version_carries_all_that_explains_it(desk: Context) -> None:
    outputs = register(desk)
    version = desk.models.resolve(version=outputs["version"])
    assert version is not None
    wanted = {"data_version", "feature_service", "registry_hash", "git_commit", "params_hash", "environment_hash",
              "python", "decision_id", "sha256", "artifacts_sha256"}  # fmt: skip
    assert wanted <= set(version.tags)
    digests = registered_digests(version, desk.tracker)
    assert max(map(len, version.tags.values())) < 200, "long values have files of their own"
    assert set(digests["model"]) == {"model.onnx", "model.json", "trials.json", "provenance.json"}
    assert len(digests["training_set"]) == 5
    client, store = desk.tracker.client, desk.data.store
    run = client.get_run(outputs["run_id"])
    pins = desk.tracker.read_attachment(outputs["run_id"], "", ENVIRONMENT)
    assert pins is not None and pins.decode().splitlines() == list(environment())
    assert version.tags["environment_hash"] == hashlib.sha256(pins).hexdigest()
    files = {file.path for file in client.list_artifacts(outputs["run_id"])}
    assert {*FILES} <= files and {*PICTURES} == {name for name in files if name.endswith(".png")}
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    folder = Path(model.artifact_location.removeprefix("file://"))
    example = json.loads((folder / "input_example.json").read_text())
    first = store.read_table(f"{version.evaluation_uri}/scored.parquet").to_pylist()[0]
    assert str(first["site"]) in json.dumps(example), "one of the scored rows"
    assert "onnxruntime==" in (folder / "requirements.txt").read_text()
    second = register(desk, "r2")
    again = desk.models.resolve(version=second["version"])
    assert again is not None and again.tags["parent_version"] == "1"
    assert again.tags["params_hash"] == version.tags["params_hash"] != again.tags["sha256"]


@pytest.mark.parametrize(
    "changed",
    [
        {"costs": {"miss": 9.0}},
        {"splits": {"embargo_days": 9}},
        {"cleaning": {"impute": "none"}},
        {"training": {"calibration": "none"}},
        {"training": {"refit": None}},
        {"training": {"compression": {FAMILY: {"quantize": True}}}},
    ],
)
def test_all_params_that_determine_a_model_are_in_their_hash(desk: Context, changed: dict[str, Any]) -> None:
    card = ModelCard.read(desk.data.store, desk.data.uri("models", "r1", FAMILY))
    params = desk.params.model_dump(mode="json")
    other = {**params, **{section: {**params[section], **values} for section, values in changed.items()}}
    unread = {**params, "monitoring": {}, "training": {**params["training"], "mlp": {}}}
    hashes = [lineage.digest(lineage.science(science, card)) for science in (params, other, unread)]
    assert hashes[0] != hashes[1] and hashes[0] == hashes[2]


def test_the_teacher_of_a_network_is_in_the_hash_of_its_params(desk: Context) -> None:
    card = ModelCard.read(desk.data.store, desk.data.uri("models", "r1", FAMILY))
    params = desk.params.model_dump(mode="json")

    def digest_of(teacher: dict[str, Any], compression: dict[str, Any]) -> str:
        training = {**params["training"], "mlp": {**params["training"]["mlp"], **teacher}, "compression": compression}
        return lineage.digest(lineage.science({**params, "training": training}, card))

    plain = digest_of({}, TAUGHT)
    assert digest_of({"search": {}}, TAUGHT) == plain, "a teacher is not part of the search"
    assert digest_of({"dropout": 0.9}, TAUGHT) != plain != digest_of({}, {**TAUGHT, "mlp": {"prune": 0.5}})
    assert digest_of({"dropout": 0.9}, {}) == digest_of({}, {}) != plain


def test_a_version_records_the_commit_of_training_and_not_of_logging(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIGHTDECK_COMMIT", "deployed-since")
    raw = desk.params.model_dump(mode="json")
    since = replace(desk, params=type(desk.params).model_validate(raw | {"costs": {"miss": 9.0}}))
    assert since.params.costs != desk.params.costs
    outputs = register(since)
    version = since.models.resolve(version=outputs["version"])
    kept = since.tracker.read_attachment(outputs["run_id"], "", PARAMS)
    assert version is not None and version.tags["git_commit"] == "c0ffee"
    assert kept is not None and json.loads(kept) == raw


def test_the_same_model_trained_again_leaves_its_version_as_it_is(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = desk.models.resolve(version=register(desk)["version"])
    assert version is not None
    inputs = {"family": FAMILY, "training_set_uri": version.training_set_uri, "run": "r1"}
    monkeypatch.setenv("FLIGHTDECK_COMMIT", "deployed-since")
    execute("train", inputs, desk)
    execute("resolve_model", {"version": version.version}, desk)
    execute("train", {**inputs, "seed": 99}, desk)  # another model, since the seed of the card differs
    assert Provenance.read(desk.data.store, version.model_uri).code == {"git_commit": "deployed-since"}
    with pytest.raises(CorruptData, match="registered is"):
        execute("resolve_model", {"version": version.version}, desk)


def test_a_model_without_its_provenance_is_not_logged(desk: Context) -> None:
    place = Path(desk.data.uri("models", "r1", FAMILY), "provenance.json")
    place.write_text(place.read_text().replace("c0ffee", "c0ffff"))
    with pytest.raises(CorruptData, match=r"provenance\.json was altered.*train the model again"):
        register(desk)
    place.unlink()
    with pytest.raises(MissingData, match=r"provenance\.json"):
        register(desk)
    assert desk.models.versions() == []


def test_the_description_is_a_short_list_rewritten_within_text_of_users(desk: Context) -> None:
    outputs, client = register(desk), desk.tracker.client

    def text() -> str:
        return str(client.get_model_version("pumps", outputs["version"]).description)

    def lines() -> list[str]:
        return [item for line in text().splitlines() if (item := line.partition("<!--")[0])]

    assert lines()[0].startswith(f"`{FAMILY}`, on what") and all(line.startswith("- ") for line in lines()[1:])
    assert f"`{desk.models.require('1').tags['decision_id']}`" in text() and max(map(len, lines())) < 160
    assert f"`roc_auc` {desk.tracker.run_metrics(outputs['run_id'])['roc_auc']:.4f}" in text()
    client.update_model_version("pumps", "1", f"Mine above.\n\n{text()}\n\n* mine below\n")
    reason = "a long reason. " * 100
    tags = {"rollout.verdict": "promote", "rollout.name": "v1-x", "rollout.reason": reason}
    desk.models.annotate("1", tags)
    once = text()
    desk.models.annotate("1", tags)
    assert text() == once and once.startswith("Mine above.\n\n`") and once.endswith("-->\n\n* mine below\n")
    assert "- Rollout: `v1-x` ended with `promote`; see the tag `rollout.reason`" in lines()
    assert "a long reason" not in once and desk.models.require("1").tags["rollout.reason"] == reason
    desk.models.annotate("1", {**tags, "rollout.verdict": "rollback"})
    assert "`rollback`" in text() and "`promote`" not in text() and text().count("- Rollout") == 1
