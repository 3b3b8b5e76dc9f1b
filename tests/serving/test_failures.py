"""No answer and no log line holds a secret, whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.errors import Unavailable
from pipelines.records import Plans
from pipelines.redaction import redact
from tests.serving.conftest import App, reading

CANARY = "c4n@ry/s3cr3t"
URL = f"postgresql://deck:{CANARY}@db.example:5432/records"
RAISED: dict[str, Callable[[], Exception]] = {
    "ours": lambda: Unavailable(f"the records at {URL} do not answer; start them"),
    "a driver's": lambda: sa.exc.OperationalError(f"connect {URL}", {"password": CANARY}, Exception(f"no {URL}")),
    "a library's": lambda: RuntimeError(f"cannot connect to {URL} (password={CANARY})"),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_error_message_holds_no_secret(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def failing(*_: Any) -> Any:
        failure = RAISED[name]()
        raise failure

    monkeypatch.setattr(Plans, "current", failing)
    monkeypatch.setattr(type(app.log), "record_outcomes", failing)
    with caplog.at_level(logging.DEBUG):
        answers = [
            app.http.post("/v1/predictions", json=reading()),
            app.http.post("/v1/outcomes", json={"id": "a", "label": 1}),
            app.http.get("/v1/rollout"),
            app.http.get("/readyz"),
        ]
    for answer in answers:
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "s3cr3t" not in answer.text and "c4n" not in answer.text
    assert "s3cr3t" not in caplog.text and "c4n" not in caplog.text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("redis://:se=cr3t:@@127.0.0.1:6379/0 is down", "redis://***@127.0.0.1:6379/0 is down"),
        ("'mysql://u:p@h/d' and s3://bucket/a@b", "'mysql://***@h/d' and s3://***@b"),
        ("PGPASSWORD=abc, {'token': 'xyz'}", "PGPASSWORD=***, {'token': '***'}"),
        ("http://127.0.0.1:5000 did not answer", "http://127.0.0.1:5000 did not answer"),
    ],
)
def test_users_passwords_and_named_secrets_are_left_out(text: str, plain: str) -> None:
    assert redact(text) == plain
