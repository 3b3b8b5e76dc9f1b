"""Sources over HTTP: busy, down, refusing, or of an unexpected shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import CorruptData, InvalidInput, Unavailable
from pipelines.steps import execute
from tests.sources import Api, as_json, context_over, rows
from tests.steps.ingestion.visits import WINDOW, Record, raw


def http(api: Api, **changes: Any) -> Record:
    return {"kind": "http", "url": api.url, "per_second": 1000, "attempts": 4} | changes


def test_a_busy_server_is_retried_after_the_pause_that_it_names(reference: Context, tmp_path: Path) -> None:
    busy = {2: (429, {"Retry-After": "0"}), 5: (503, {"Retry-After": "0"}), 6: (500, {"Retry-After": "0"})}
    with Api(as_json(rows()), fail=lambda request, page: busy.get(request)).serving() as api:
        context = context_over(tmp_path / "other", http(api))
        execute("ingest", WINDOW, context)
    assert raw(context) == raw(reference) and len(api.queries) == 13


@pytest.mark.parametrize("cursors", [False, True])
def test_a_failed_read_resumes_at_the_page_that_it_reached(reference: Context, tmp_path: Path, cursors: bool) -> None:
    down = [True]

    def fail(request: int, page: int) -> tuple[int, dict[str, str]] | None:
        return (503, {"Retry-After": "0"}) if page == 4 and down[0] else None

    keys = {"records": "data.items", "next": "meta.next"} if cursors else {}
    with Api(as_json(rows()), cursors=cursors, fail=fail).serving() as api:
        context = context_over(tmp_path / "other", http(api, stable_pages=not cursors, **keys))
        with pytest.raises(Unavailable, match="no answer in 4 attempts"):
            execute("ingest", WINDOW, context)
        assert not Path(context.data.uri()).exists()
        down[0] = False
        api.queries.clear()
        execute("ingest", WINDOW, context)
        assert api.queries[0]["page"] in ("4", "c4")
    assert raw(context) == raw(reference)
    assert not list((context.settings.root / "staging").rglob("*.parquet"))


def test_a_token_is_read_from_the_environment_and_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Api(as_json(rows()), fail=lambda request, page: (401, {}) if request > 3 else None).serving() as api:
        context = context_over(tmp_path / "home", http(api, token_env="VISITS_TOKEN"))
        with pytest.raises(InvalidInput, match="VISITS_TOKEN is not set"):
            execute("ingest", WINDOW, context)
        monkeypatch.setenv("VISITS_TOKEN", "sesame")
        with caplog.at_level("DEBUG"), pytest.raises(InvalidInput, match="refuses us \\(401\\)") as raised:
            execute("ingest", WINDOW, context)
        assert api.headers[0]["Authorization"] == "Bearer sesame"
    assert "sesame" not in caplog.text + str(raised.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"items": []}, "holds no list of records"),
        ([1, 2], "holds no list of records"),
        ([{"id": 1, "at": 3}, {"id": "x"}], "values of several types"),
    ],
)
def test_an_answer_of_an_unexpected_shape_is_named(tmp_path: Path, answer: Any, message: str) -> None:
    with Api([]).serving() as api:
        api.answer = lambda query: (200, {}, answer)  # type: ignore[method-assign]
        with pytest.raises(CorruptData, match=message):
            execute("ingest", WINDOW, context_over(tmp_path / "home", http(api)))


def test_a_next_page_on_another_host_or_the_same_again_is_refused(tmp_path: Path) -> None:
    for body, message in (
        ({"rows": [], "next": "http://localhost:1/x"}, "another host"),
        ({"rows": [], "next": "c1"}, "names page 'c1' as next for a second time"),
    ):
        with Api([]).serving() as api:
            api.answer = lambda query, body=body: (200, {}, body)  # type: ignore[misc, method-assign]
            context = context_over(tmp_path / "home", http(api, records="rows", next="next"))
            with pytest.raises(CorruptData, match=message):
                execute("ingest", WINDOW, context)
