"""A version is checked against its digests, wherever files are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import Context
from pipelines.deployment.override import require_loads
from pipelines.errors import CheckFailed, CorruptData
from pipelines.steps import execute
from pipelines.tracking import ModelVersion
from pipelines.tracking.integrity import registered_digests
from pipelines.training.frames import read_frame
from tests.postgres_fixtures import on_both
from tests.steps.registration.versions import register, register_inputs

pytestmark = on_both


def test_one_flipped_byte_in_any_artifact_is_refused(desk: Context) -> None:
    version = desk.models.resolve(version=register(desk)["version"])
    assert version is not None
    folders = {"model": version.model_uri, "evaluation": version.evaluation_uri}
    for folder, files in registered_digests(version, desk.tracker).items():
        for file in files:
            path = Path(folders.get(folder, version.training_set_uri)) / file
            content = path.read_bytes()
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            if folder in folders:
                with pytest.raises(CorruptData, match=file):
                    execute("resolve_model", {"version": version.version}, desk)
            if file in ("model.onnx", "model.json"):
                with pytest.raises(CorruptData):
                    load_scorer(desk.data.store, version.model)
            elif file.endswith(".parquet") and folder == "training_set":
                with pytest.raises(CorruptData):
                    manifest = Manifest.read(desk.data.store, version.training_set_uri)
                    read_frame(desk.data.store, version.training_set_uri, path.stem, manifest)
            path.write_bytes(content)
    assert execute("resolve_model", {"version": version.version}, desk)["version"] == "1"
    Path(version.model_uri, "model.json").unlink()
    with pytest.raises(CorruptData, match=r"model\.json is gone"):
        execute("resolve_model", {"version": version.version}, desk)


def digests_of(version: ModelVersion, desk: Context) -> Path:
    """The file of a version's digests."""
    folder = desk.tracker.client.get_run(version.run_id).info.artifact_uri.removeprefix("file://")
    return Path(folder) / "registration" / "artifacts.json"


def test_missing_or_altered_digests_are_refused_wherever_files_are_checked(desk: Context) -> None:
    version = desk.models.require(register(desk)["version"])
    file = digests_of(version, desk)
    content = file.read_bytes()
    inputs_by_step: dict[str, dict[str, Any]] = {
        "resolve_model": {"version": "1"}, "preflight": {"version": "1", "rollout": "x"},
    }  # fmt: skip

    def refused(problem: str) -> None:
        for step, inputs in inputs_by_step.items():
            with pytest.raises((CorruptData, CheckFailed), match=rf"registration/artifacts\.json.* {problem}"):
                execute(step, inputs, desk)
        with pytest.raises(CheckFailed, match=problem):
            require_loads(desk, "1")

    first = json.loads(content)
    first["model"]["model.json"] = "0" * 64
    for other in (content + b" ", b"", b"{}", b"{", json.dumps(first).encode()):
        file.write_bytes(other)
        refused("has sha256")
    file.unlink()
    refused("is gone")
    file.write_bytes(content)
    assert execute("resolve_model", {"version": "1"}, desk)["version"] == "1"
    desk.tracker.client.set_model_version_tag("pumps", "1", "artifacts_sha256", "0" * 64)
    refused("has sha256")


def test_a_version_whose_run_was_deleted_for_good_is_refused(desk: Context) -> None:
    version = desk.models.require(register(desk)["version"])
    desk.tracker.client._tracking_client.store._hard_delete_run(version.run_id)  # as `mlflow gc` does
    with pytest.raises(CorruptData, match="is gone"):
        execute("resolve_model", {"version": "1"}, desk)
    desk.models.annotate("1", {"verify.verdict": "HOLD"})
    assert "`HOLD`" in desk.tracker.client.get_model_version("pumps", "1").description


def test_registering_once_more_leaves_the_digests_as_they_are(desk: Context) -> None:
    inputs = register_inputs(desk)
    version = desk.models.require(execute("register", inputs, desk)["version"])
    before = digests_of(version, desk).read_bytes()
    Path(version.evaluation_uri, "slices.png").write_bytes(b"another")
    execute("register", inputs, desk)
    assert digests_of(version, desk).read_bytes() == before
    with pytest.raises(CorruptData, match=r"slices\.png has sha256"):
        execute("resolve_model", {"version": "1"}, desk)


def test_a_version_with_its_digests_in_a_tag_is_checked_against_them(desk: Context) -> None:
    """Like versions that were registered before digests had a file of their own."""
    version = desk.models.require(register(desk)["version"])
    client, digests = desk.tracker.client, registered_digests(version, desk.tracker)
    client.set_model_version_tag("pumps", "1", "artifacts", json.dumps(digests))
    client.delete_model_version_tag("pumps", "1", "artifacts_sha256")
    digests_of(version, desk).unlink()
    assert execute("resolve_model", {"version": "1"}, desk)["version"] == "1"
    assert registered_digests(desk.models.require("1"), desk.tracker) == digests
    Path(version.model_uri, "trials.json").write_text("[]")
    with pytest.raises(CorruptData, match=r"trials\.json has sha256"):
        execute("resolve_model", {"version": "1"}, desk)
    client.set_model_version_tag("pumps", "1", "artifacts", json.dumps(digests)[:100])
    with pytest.raises(CorruptData, match="its tag artifacts was altered"):
        execute("resolve_model", {"version": "1"}, desk)


def test_a_version_without_digests_is_checked_against_the_sha256_of_its_graph(desk: Context) -> None:
    version = desk.models.require(register(desk)["version"])
    Path(version.model_uri, "trials.json").write_text("[]")
    desk.tracker.client.delete_model_version_tag("pumps", "1", "artifacts_sha256")
    with pytest.raises(CorruptData, match="has no tag artifacts_sha256"):
        execute("resolve_model", {"version": "1"}, desk)
    digests_of(version, desk).unlink()
    assert execute("resolve_model", {"version": "1"}, desk)["version"] == "1"
