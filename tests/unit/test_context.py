"""The context builds a client on first use, and uses a given client instead."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.clock import Clock
from pipelines.context import Context, build_context
from tests.conftest import TOY

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


class Stopped:
    def now(self) -> datetime:
        return NOON


def test_a_client_is_built_when_it_is_first_used_and_kept(toy: Context) -> None:
    assert not (toy.settings.root / "records.db").exists()
    assert toy.plans.current() is None and toy.plans is toy.plans
    assert (toy.settings.root / "records.db").exists()


def test_a_given_client_replaces_the_one_that_would_be_built(toy: Context) -> None:
    clock: Clock = Stopped()
    given = toy.replaced(clock=clock)
    assert given.clock is clock and toy.clock is not clock
    records = toy.records
    both = given.replaced(records=records)
    assert both.clock is clock and both.records is records and both.ledger.engine is records.engine
    assert both == toy, "its settings, params and use case are the same"


def test_an_unknown_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"no client watch; it has .*rollouts.*clock"):
        build_context(TOY, tmp_path).replaced(watch=Stopped())
