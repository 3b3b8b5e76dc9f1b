"""What a registered version carries, and what becomes of it when a byte, an alias or the registry goes wrong."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines import console
from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import FILES, PICTURES, Evaluation
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.provenance import Provenance, environment
from pipelines.artifacts.run_files import ENVIRONMENT, PARAMS
from pipelines.artifacts.scorer import load_scorer
from pipelines.artifacts.version_card import Declared, VersionCard
from pipelines.clock import require_driven
from pipelines.console import models
from pipelines.context import Context
from pipelines.deployment.aliases import differing
from pipelines.deployment.override import require_loads
from pipelines.errors import CheckFailed, CorruptData, FlightdeckError, MissingData
from pipelines.records import Entry, Plan
from pipelines.registration import lineage
from pipelines.registration.rendering import markdown, page
from pipelines.registration.version_cards import read_card
from pipelines.steps import execute
from pipelines.tracking import ModelVersion
from pipelines.tracking.integrity import registered_digests
from pipelines.training.frames import read_frame
from tests.conftest import put_back
from tests.postgres_fixtures import on_both
from tests.synthetic import AS_OF, context_over, write_training_set

FAMILY = "logistic_regression"
TAUGHT = {FAMILY: {"distil": {"teacher": "mlp", "temperature": 2.0, "alpha": 0.5}}}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("versions") / "home"
    context = context_over(home)
    for run, seed in (("r1", 1), ("r2", 7)):
        shared = {"training_set_uri": write_training_set(context, run, seed), "run": run}
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("FLIGHTDECK_COMMIT", "c0ffee")
            made = execute("train", {**shared, "family": FAMILY}, context)
        execute("evaluate", {**shared, "model_uri": made["model_uri"]}, context)
    assert context.models.versions() == []
    return home


@pytest.fixture
def desk(template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records_place: str) -> Iterator[Context]:
    """The template's home, put back afterwards: paths inside it are absolute, so it cannot move."""
    shutil.copytree(template, tmp_path / "kept")
    monkeypatch.setattr("pipelines.deployment.aliases.GRACE", 0.0)
    database = shutil.copy(template / "mlflow" / "mlflow.db", tmp_path)
    yield context_over(template, mlflow_uri=f"sqlite:///{database}", records_uri=records_place)
    put_back(template, tmp_path / "kept")


def passed(context: Context, run: str = "r1") -> dict[str, Any]:
    """What `register` is given of a candidate that was logged and has passed the gate."""
    evaluation = context.data.uri("evaluations", run, FAMILY)
    runs = execute("log_candidates", {"evaluation_uris": [evaluation]}, context)["runs"]
    asked = {"evaluation_uris": [evaluation], "champion_uri": None, "as_of": AS_OF.isoformat(), "run": run}
    gated = execute("gate", asked, context)
    given = {k: gated[k] for k in ("verdict", "decision_id", "model_uri", "evaluation_uri", "training_set_uri")}
    return {**given, "runs": runs}


def register(context: Context, run: str = "r1") -> dict[str, Any]:
    return execute("register", passed(context, run), context)


def ledger(context: Context) -> list[Entry]:
    return context.ledger.entries(aliases=True)


def test_a_version_carries_all_that_explains_it(desk: Context) -> None:
    made = register(desk)
    version = desk.models.resolve(version=made["version"])
    assert version is not None
    wanted = {"data_version", "feature_service", "registry_hash", "git_commit", "params_hash", "environment_hash",
              "python", "decision_id", "sha256", "artifacts_sha256"}  # fmt: skip
    assert wanted <= set(version.tags)
    digests = registered_digests(version, desk.tracker)
    assert max(map(len, version.tags.values())) < 200, "what is long has a file of its own"
    assert set(digests["model"]) == {"model.onnx", "model.json", "trials.json", "provenance.json"}
    assert len(digests["training_set"]) == 5
    client, store = desk.tracker.client, desk.data.store
    run = client.get_run(made["run_id"])
    pins = desk.tracker.read_attachment(made["run_id"], "", ENVIRONMENT)
    assert pins is not None and pins.decode().splitlines() == list(environment())
    assert version.tags["environment_hash"] == hashlib.sha256(pins).hexdigest()
    files = {file.path for file in client.list_artifacts(made["run_id"])}
    assert {*FILES} <= files and {*PICTURES} == {name for name in files if name.endswith(".png")}
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    folder = Path(model.artifact_location.removeprefix("file://"))
    example = json.loads((folder / "input_example.json").read_text())
    first = store.read_table(f"{version.evaluation_uri}/scored.parquet").to_pylist()[0]
    assert str(first["site"]) in json.dumps(example), "a row that was scored"
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
def test_whatever_decides_a_model_is_in_the_hash_of_its_parameters(desk: Context, changed: dict[str, Any]) -> None:
    card = ModelCard.read(desk.data.store, desk.data.uri("models", "r1", FAMILY))
    params = desk.params.model_dump(mode="json")
    other = {**params, **{section: {**params[section], **values} for section, values in changed.items()}}
    unread = {**params, "monitoring": {}, "training": {**params["training"], "mlp": {}}}
    told = [lineage.digest(lineage.science(said, card)) for said in (params, other, unread)]
    assert told[0] != told[1] and told[0] == told[2]


def test_what_teaches_a_network_is_in_the_hash_of_its_parameters(desk: Context) -> None:
    card = ModelCard.read(desk.data.store, desk.data.uri("models", "r1", FAMILY))
    params = desk.params.model_dump(mode="json")

    def told(teacher: dict[str, Any], compression: dict[str, Any]) -> str:
        training = {**params["training"], "mlp": {**params["training"]["mlp"], **teacher}, "compression": compression}
        return lineage.digest(lineage.science({**params, "training": training}, card))

    plain = told({}, TAUGHT)
    assert told({"search": {}}, TAUGHT) == plain, "a teacher is not searched for"
    assert told({"dropout": 0.9}, TAUGHT) != plain != told({}, {**TAUGHT, "mlp": {"prune": 0.5}})
    assert told({"dropout": 0.9}, {}) == told({}, {}) != plain


def test_a_version_tells_of_its_training_not_of_its_logging(desk: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_COMMIT", "deployed-since")
    raw = desk.params.model_dump(mode="json")
    since = replace(desk, params=type(desk.params).model_validate(raw | {"costs": {"miss": 9.0}}))
    assert since.params.costs != desk.params.costs
    made = register(since)
    version = since.models.resolve(version=made["version"])
    kept = since.tracker.read_attachment(made["run_id"], "", PARAMS)
    assert version is not None and version.tags["git_commit"] == "c0ffee"
    assert kept is not None and json.loads(kept) == raw


def test_the_same_model_trained_again_leaves_its_version_as_it_is(
    desk: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = desk.models.resolve(version=register(desk)["version"])
    assert version is not None
    asked = {"family": FAMILY, "training_set_uri": version.training_set_uri, "run": "r1"}
    monkeypatch.setenv("FLIGHTDECK_COMMIT", "deployed-since")
    execute("train", asked, desk)
    execute("resolve_model", {"version": version.version}, desk)
    execute("train", {**asked, "seed": 99}, desk)  # another model, by the card's seed
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


def test_digests_that_are_gone_or_altered_are_refused_wherever_files_are_checked(desk: Context) -> None:
    version = desk.models.require(register(desk)["version"])
    file = digests_of(version, desk)
    content = file.read_bytes()
    asked: dict[str, dict[str, Any]] = {
        "resolve_model": {"version": "1"}, "preflight": {"version": "1", "rollout": "x"},
    }  # fmt: skip

    def refused(problem: str) -> None:
        for step, inputs in asked.items():
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
    asked = passed(desk)
    version = desk.models.require(execute("register", asked, desk)["version"])
    before = digests_of(version, desk).read_bytes()
    Path(version.evaluation_uri, "slices.png").write_bytes(b"another")
    execute("register", asked, desk)
    assert digests_of(version, desk).read_bytes() == before
    with pytest.raises(CorruptData, match=r"slices\.png has sha256"):
        execute("resolve_model", {"version": "1"}, desk)


def test_a_version_that_was_registered_with_its_digests_in_a_tag_is_held_against_them(desk: Context) -> None:
    """As the versions were that were registered before the digests had a file."""
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


def test_a_version_without_digests_is_held_against_its_graph_alone(desk: Context) -> None:
    version = desk.models.require(register(desk)["version"])
    Path(version.model_uri, "trials.json").write_text("[]")
    desk.tracker.client.delete_model_version_tag("pumps", "1", "artifacts_sha256")
    with pytest.raises(CorruptData, match="has no tag artifacts_sha256"):
        execute("resolve_model", {"version": "1"}, desk)
    digests_of(version, desk).unlink()
    assert execute("resolve_model", {"version": "1"}, desk)["version"] == "1"


def test_the_description_is_a_short_list_that_is_written_again_amid_peoples_text(desk: Context) -> None:
    made, client = register(desk), desk.tracker.client

    def text() -> str:
        return str(client.get_model_version("pumps", made["version"]).description)

    def lines() -> list[str]:
        return [told for line in text().splitlines() if (told := line.partition("<!--")[0])]

    assert lines()[0].startswith(f"`{FAMILY}`, on what") and all(line.startswith("- ") for line in lines()[1:])
    assert f"`{desk.models.require('1').tags['decision_id']}`" in text() and max(map(len, lines())) < 160
    assert f"`roc_auc` {desk.tracker.run_metrics(made['run_id'])['roc_auc']:.4f}" in text()
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


def test_an_alias_of_a_version_that_is_not_the_chains_is_no_missing_champion(desk: Context) -> None:
    register(desk)
    client = desk.tracker.client
    foreign = client.create_model_version("pumps", source=desk.data.uri("models", "r1", FAMILY))
    desk.models.set_alias("champion", foreign.version)
    with pytest.raises(MissingData, match="which is not of the chain"):
        execute("resolve_model", {"alias": "champion"}, desk)


@on_both
def test_every_registration_and_alias_is_a_line_of_the_ledger_once(desk: Context) -> None:
    for _ in range(2):
        register(desk)
    register(desk, "r2")
    lines = [(e.title, e.version, e.previous, e.actor) for e in ledger(desk)]
    assert lines == [
        ("register", "1", None, "training"),
        ("alias challenger", "1", None, "training"),
        ("alias champion", "1", None, "training"),
        ("register", "2", "1", "training"),
        ("alias challenger", "2", "1", "training"),
    ]
    assert all(e.at == AS_OF and "decision" in e.reason for e in ledger(desk))
    assert desk.decisions.get(ledger(desk)[0].evidence["decision_id"])
    assert len(desk.models.versions()) == 2


@on_both
@pytest.mark.parametrize("statement", ["update promotion_ledger set reason = 'x'", "delete from promotion_ledger"])
def test_the_ledger_cannot_be_changed(desk: Context, statement: str) -> None:
    register(desk)
    before = ledger(desk)
    for engine in (desk.records.engine, Context(desk.settings, desk.params, desk.usecase).records.engine):
        with pytest.raises(sa.exc.DatabaseError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert ledger(desk) == before != []


@pytest.fixture
def running(desk: Context) -> Context:
    """Version 1 is the champion in force, version 2 the challenger."""
    register(desk)
    register(desk, "r2")
    require_driven(desk.clock).start(AS_OF)
    assert execute("reconcile_aliases", {}, desk)["champion"] == "1"
    assert desk.models.aliases() == {"champion": "1", "challenger": "2"} and differing(desk) == {}
    return desk


def by_hand(context: Context, alias: str, version: str) -> None:
    """An alias set, or removed, as in MLflow's page."""
    if version:
        context.models.set_alias(alias, version)
    else:
        context.tracker.client.delete_registered_model_alias("pumps", alias)


def reconcile(context: Context) -> dict[str, Any]:
    return execute("reconcile_aliases", {}, context)


@on_both
@pytest.mark.parametrize(
    ("alias", "before", "changes"),
    [
        ("champion", "1", ["2", "", "2", "1", ""]),
        ("challenger", "2", ["1", "", "2", ""]),
        ("previous", "", ["2", "1", "", "2"]),
        ("ours", "", ["2", "1", "", "2"]),
    ],
)
def test_an_alias_changed_by_hand_is_one_line_of_the_ledger(
    running: Context, alias: str, before: str, changes: list[str]
) -> None:
    lines = []
    for version in changes:
        by_hand(running, alias, version)
        assert differing(running) == {alias: version}
        done, again = reconcile(running), reconcile(running)
        assert done["noted"] == {alias: version} and f"by hand: {alias}" in done["why"]
        assert again["noted"] == {} and not again["changed"] and "by hand" not in again["why"]
        assert differing(running) == {}
        assert running.models.aliases().get(alias, "") == version, "what a person has set stays"
        lines.append((version, before or None))
        before = version
    told = [e for e in ledger(running) if (e.title, e.actor) == (f"alias {alias}", "out-of-band")]
    assert [(e.version, e.previous) for e in told] == lines


@on_both
def test_several_aliases_changed_at_once_are_noted_together_also_where_the_champion_is_refused(
    running: Context,
) -> None:
    known = len(ledger(running))
    changes = {"challenger": "1", "champion": "2", "ours": "2"}
    for alias, version in changes.items():
        by_hand(running, alias, version)
    version = running.models.resolve(version="2")
    assert version is not None
    Path(version.model_uri, "model.onnx").unlink()
    for _ in range(2):
        with pytest.raises(CheckFailed, match="version 1 stays in force"):
            reconcile(running)
        assert differing(running) == {}
    assert {e.actor for e in ledger(running)[known:]} == {"out-of-band"}
    assert [e.title for e in ledger(running)[known:]] == [*(f"alias {alias}" for alias in changes), "refused"]


@on_both
def test_an_alias_set_by_hand_before_anything_is_in_force_is_noted(desk: Context) -> None:
    register(desk)
    register(desk, "r2")
    require_driven(desk.clock).start(AS_OF)
    by_hand(desk, "champion", "2")
    done = reconcile(desk)
    assert (
        done["noted"] == {"champion": "2"}
        and "version 2 is the challenger too" in done["why"]
        and differing(desk) == {}
    )


@on_both
def test_what_the_chain_sets_and_then_notes_was_not_set_by_hand(
    running: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_: float) -> None:
        running.aliases.note("previous", "2", "deployment", AS_OF)
        running.models.set_alias("ours", "1")  # and a person changes his mind

    for alias in ("previous", "ours", "mine"):
        running.models.set_alias(alias, "2")
    monkeypatch.setattr("pipelines.deployment.aliases.sleep", meanwhile)
    assert reconcile(running)["noted"] == {"mine": "2"}
    assert [e.actor for e in ledger(running) if e.title == "alias previous"] == ["deployment"]
    assert reconcile(running)["noted"] == {"ours": "1"}


@on_both
def test_an_alias_set_by_hand_is_shown_until_it_is_noted(running: Context, capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> str:
        found, show = models.versions(running)
        assert [one["traffic"] for one in found] == [1.0, 0.0]
        assert [one["by_hand"] for one in found] == [[], [alias for alias in differing(running) if alias != "champion"]]
        show()
        return capsys.readouterr().out

    by_hand(running, "previous", "2")
    assert "alias previous names version 2 by hand; `flightdeck reconcile_aliases`" in shown()
    reconcile(running)
    assert "by hand" not in shown()


@on_both
def test_a_champion_removed_by_hand_is_shown_as_long_as_it_is_gone(
    running: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown() -> str:
        found, show = models.versions(running)
        assert found[0]["traffic"] == 1.0
        show()
        return capsys.readouterr().out

    gone = "version 1 is in force, and alias champion is gone: set it again"
    assert gone not in shown()
    by_hand(running, "champion", "")
    assert gone in (text := shown()) and "alias champion was removed by hand" in text
    done = reconcile(running)
    assert not done["changed"] and done["champion"] == "1" and "version 1 stays in force" in done["why"]
    assert gone in (text := shown()) and "by hand" not in text
    models.answer({"verb": "ledger", "version": None}, running)[1]()
    assert "1 → none" in capsys.readouterr().out
    by_hand(running, "champion", "1")
    assert not reconcile(running)["changed"] and gone not in shown()


@on_both
def test_who_served_is_told_for_any_instant(desk: Context) -> None:
    plans = desk.plans
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3)]
    plans.replace(Plan.alone(1, "a", "1", "u1", "s1", days[0]))
    plans.replace(Plan(2, "b", "25", "1", "u1", "s1", "2", "u2", "s2", 0.25, days[1]))
    plans.replace(Plan.alone(3, "b", "2", "u2", "s2", days[2]))

    def served(text: str) -> dict[str, float]:
        return models.served_at(text, desk)[0]["versions"]

    assert served("2024-04-30T23:59:59+00:00") == {}
    assert served("2024-05-01") == {"1": 1.0}
    assert served("2024-05-02T12:00:00+02:00") == {"1": 0.75, "2": 0.25}
    assert served("2024-05-03T00:00:00Z") == {"2": 1.0}
    for wrong in ("yesterday", "2024-05-02T12:00:00"):
        with pytest.raises(FlightdeckError, match=wrong):
            served(wrong)


def test_two_versions_are_compared_on_the_same_rows(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    register(desk)
    register(desk, "r2")
    told, show = models.answer({"verb": "compare", "versions": ["1", "2"]}, desk)
    assert told["paired"]["rows_of"] == "2" and told["paired"]["differences"]["log_loss_delta"] is not None
    assert "sha256" in told["differing"] and "params_hash" not in told["differing"] and told["parameters"] == {}
    assert {one["value"] for one in told["slices"]} == {"a", "b", "c", "d", "2024-03"}
    show()
    assert "log_loss" in capsys.readouterr().out


def test_the_card_tells_what_the_version_is(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    made = register(desk)
    facts, show = models.answer({"verb": "show", "version": "1", "card": True, "html": None}, desk)
    show()
    text = capsys.readouterr().out
    for part in ("Purpose", "Limits", "Ethics", "Owner", "Data", "Metrics", "Slices", "Calibration", "Gate", "Lineage"):
        assert part in text, part
    assert facts["metrics"]["roc_auc"][1] < facts["metrics"]["roc_auc"][0] < facts["metrics"]["roc_auc"][2]
    assert facts["lineage"]["git_commit"] == "c0ffee" and facts["gate"]["decision_id"]
    names = {file.path for file in desk.tracker.client.list_artifacts(made["run_id"], "model_card")}
    assert names == {f"model_card/model_card.{end}" for end in ("md", "html", "json")}
    assert facts == card_of(desk).as_json() and "<table>" in page(card_of(desk))


def test_the_card_is_json_for_a_program(desk: Context, capsys: pytest.CaptureFixture[str]) -> None:
    register(desk)
    capsys.readouterr()
    asked = {"step": "models", "verb": "show", "version": "1", "card": True, "html": None, "json": True}
    console.answer(asked, desk)
    assert VersionCard.model_validate_json(capsys.readouterr().out) == card_of(desk)


def card_of(desk: Context, number: str = "1") -> VersionCard:
    card = read_card(desk.models.require(number), desk)
    assert card is not None
    return card


def test_the_card_shows_what_decided_the_model_and_what_was_found(desk: Context) -> None:
    register(desk)
    facts, version, store = card_of(desk), desk.models.require("1"), desk.data.store
    model = ModelCard.read(store, version.model_uri)
    tested = Evaluation.read(store, version.evaluation_uri).behaviour
    decision = desk.decisions.get(facts.gate.decision_id)
    assert decision is not None and model.refit and len(tested) == 3
    latency = decision["evidence"]["measured"][FAMILY]["latency_p95_ms"]
    files = registered_digests(version, desk.tracker)
    wanted = [
        f"Method: {model.calibration.method}, chosen by auto",
        *(f"{name} | {loss:.6g}" for name, loss in model.calibration.held_out_log_loss.items()),
        f"A score of {model.threshold.value:.6g} or more is an alarm",
        *(f"{what.replace('_', ' ')} | {cost:.6g}" for what, cost in model.threshold.costs.items()),
        "Refitted on training and validation rows",
        *(f"{one.name} | {one.kind} | passed | {one.rows} | {one.reason}" for one in tested),
        f"latency_p95_ms | {latency:.6g}",
        *(f"{folder}/{file} | {sha}" for folder in files for file, sha in files[folder].items()),
    ]
    readable = (markdown(facts).replace("\\", ""), html.unescape(re.sub(r"\s*(<[^>]*>\s*)+", " | ", page(facts))))
    assert [value for value in wanted for text in readable if value not in text] == []
    assert len(files["model"]) == 4 and len(files["evaluation"]) > 10


def test_what_people_write_on_a_card_is_no_markup(desk: Context) -> None:
    register(desk)
    evil = "<script>x</script> [a](javascript:x) | # b\n\n# c `d` &lt; **e**"
    declared = Declared(**dict.fromkeys(Declared.model_fields, evil))
    card = card_of(desk).model_copy(update={"declared": declared})
    made, made_too = page(card.model_copy(update={"name": evil})), markdown(card)
    assert "<script>" not in made and "<a " not in made and "<strong>" not in made and "&amp;lt;" in made
    assert made.count("<h1>") == 1 and "\n# c" not in made_too
