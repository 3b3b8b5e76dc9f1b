"""A model scores a row before it answers any; one that cannot does not serve, and its requests say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.artifacts.scorer import Scorer
from pipelines.serving.routing import Router
from tests.serving.conftest import App, reading, registered

Arrays = tuple[Any, Any]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Arrays]]:
    """What each model has scored, by its folder."""
    calls: list[tuple[str, Arrays]] = []
    score = Scorer.score_arrays

    def noting(scorer: Scorer, *arrays: Any) -> Any:
        calls.append((scorer.uri, arrays))
        return score(scorer, *arrays)

    monkeypatch.setattr(Scorer, "score_arrays", noting)
    return calls


def test_each_model_has_scored_a_row_of_missing_values_before_it_answers(
    serve: Callable[..., App], scored: list[tuple[str, Arrays]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = serve()
    plan = app.plan(challenger=None, challenger_uri=None, challenger_sha256=None, share=0.0)
    router = Router(app.context)
    router.follow(3600)
    scored.clear()
    challenger = registered(app.model_home.models["2"])
    assert app.plans.replace(
        replace(plan, version=2, challenger="2", challenger_uri=challenger[0], challenger_sha256=challenger[1])
    )
    served: list[int] = []
    read = Router._read

    def noting(of: Router, model: Any) -> Any:
        loaded = read(of, model)
        served.append(router.route().plan.version)
        return loaded

    monkeypatch.setattr(Router, "_read", noting)
    router._look()
    router.close()
    assert served == [1] and router.route().plan.version == 2, "the route before serves meanwhile"
    ((uri, (numbers, texts)),) = scored
    assert uri == challenger[0] and numbers.shape[0] == texts.shape[0] == 1 and numbers.shape[1] > 0
    assert np.isnan(numbers).all() and (texts == "").all()


def test_a_challenger_that_cannot_score_is_logged_and_evidence_of_its_version(
    serve: Callable[..., App], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = serve()
    score, broken = Scorer.score_arrays, app.model_home.models["2"]

    def breaking(scorer: Scorer, *arrays: Any) -> Any:
        if scorer.uri == broken and np.isnan(arrays[0]).all():  # as nothing but the row of missing values is
            raise RuntimeError("no such operator")
        return score(scorer, *arrays)

    monkeypatch.setattr(Scorer, "score_arrays", breaking)
    app.plan(share=1.0)
    (answer,) = app.ask(reading(id="a"))
    (row,) = app.log.get(["a"])
    assert answer["version"] == row.served == "1" and row.scores["2"] is None
    assert row.errors == {"2": "not loaded: RuntimeError; the server's log says more"}
    assert any(broken in one.message and "no such operator" in one.message for one in caplog.records)
    assert app.metric("version_errors_total", version="2") == 1
    assert app.http.get("/readyz").json()["loaded"] == {"1": True, "2": False}
