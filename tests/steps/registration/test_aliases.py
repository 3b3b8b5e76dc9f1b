"""Every registration and every alias is a line of the ledger, whoever set it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.clock import require_driven
from pipelines.console import models
from pipelines.context import Context
from pipelines.deployment.aliases import differing
from pipelines.errors import CheckFailed, MissingData
from pipelines.steps import execute
from tests.postgres_fixtures import on_both
from tests.steps.registration.versions import FAMILY, ledger, register
from tests.synthetic import AS_OF

pytestmark = on_both


def test_a_champion_that_the_chain_did_not_register_is_not_treated_as_missing(desk: Context) -> None:
    register(desk)
    client = desk.tracker.client
    foreign = client.create_model_version("pumps", source=desk.data.uri("models", "r1", FAMILY))
    desk.models.set_alias("champion", foreign.version)
    with pytest.raises(MissingData, match="which is not of the chain"):
        execute("resolve_model", {"alias": "champion"}, desk)


def test_every_registration_and_alias_is_one_line_of_the_ledger(desk: Context) -> None:
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
    """Set or remove an alias, as on MLflow's page."""
    if version:
        context.models.set_alias(alias, version)
    else:
        context.tracker.client.delete_registered_model_alias("pumps", alias)


def reconcile(context: Context) -> dict[str, Any]:
    return execute("reconcile_aliases", {}, context)


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
        assert running.models.aliases().get(alias, "") == version, "an alias set by a person is kept"
        lines.append((version, before or None))
        before = version
    entries = [e for e in ledger(running) if (e.title, e.actor) == (f"alias {alias}", "out-of-band")]
    assert [(e.version, e.previous) for e in entries] == lines


def test_aliases_changed_together_are_all_recorded_even_where_the_champion_is_refused(
    running: Context,
) -> None:
    known = len(ledger(running))
    changes = {"challenger": "1", "champion": "2", "ours": "2"}
    for alias, version in changes.items():
        by_hand(running, alias, version)
    resolved = running.models.resolve(version="2")
    assert resolved is not None
    Path(resolved.model_uri, "model.onnx").unlink()
    for _ in range(2):
        with pytest.raises(CheckFailed, match="version 1 stays in force"):
            reconcile(running)
        assert differing(running) == {}
    assert {e.actor for e in ledger(running)[known:]} == {"out-of-band"}
    assert [e.title for e in ledger(running)[known:]] == [*(f"alias {alias}" for alias in changes), "refused"]


def test_an_alias_set_by_hand_before_any_plan_is_recorded(desk: Context) -> None:
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


def test_an_alias_that_the_chain_sets_before_recording_it_does_not_count_as_set_by_hand(
    running: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_: float) -> None:
        running.aliases.note("previous", "2", "deployment", AS_OF)
        running.models.set_alias("ours", "1")  # and a person sets another version

    for alias in ("previous", "ours", "mine"):
        running.models.set_alias(alias, "2")
    monkeypatch.setattr("pipelines.deployment.aliases.sleep", meanwhile)
    assert reconcile(running)["noted"] == {"mine": "2"}
    assert [e.actor for e in ledger(running) if e.title == "alias previous"] == ["deployment"]
    assert reconcile(running)["noted"] == {"ours": "1"}


def test_an_alias_set_by_hand_is_shown_until_it_is_recorded(
    running: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown() -> str:
        listing, show = models.versions(running)
        assert [one["traffic"] for one in listing] == [1.0, 0.0]
        assert [one["by_hand"] for one in listing] == [
            [],
            [alias for alias in differing(running) if alias != "champion"],
        ]
        show()
        return capsys.readouterr().out

    by_hand(running, "previous", "2")
    assert "alias previous names version 2 by hand; `flightdeck reconcile_aliases`" in shown()
    reconcile(running)
    assert "by hand" not in shown()


def test_a_champion_removed_by_hand_is_shown_while_it_is_missing(
    running: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown() -> str:
        listing, show = models.versions(running)
        assert listing[0]["traffic"] == 1.0
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
