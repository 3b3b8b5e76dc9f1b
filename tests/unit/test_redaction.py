"""Secrets of the environment appear in no message and no log line."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import redaction
from pipelines.errors import CheckFailed, FlightdeckError, InvalidInput, Unavailable
from pipelines.redaction import redact, redact_logs

CANARY = "n0t/f@r:l%gs"
PLACES = {
    "FLIGHTDECK_RECORDS_URI": "postgresql+psycopg2://ann:{}@127.0.0.1:1/x",
    "FLIGHTDECK_FEAST_ONLINE": "redis://:{}@127.0.0.1:1/0",
    "WAREHOUSE_URL": "mysql://ann@host/db?password={}",
    "EXAMPLE_TOKEN": "{}",
    "AWS_SECRET_ACCESS_KEY": "{}",
    "MLFLOW_TRACKING_PASSWORD": "{}",
}


@pytest.mark.parametrize("variable", PLACES)
def test_a_secret_is_hidden_in_its_encoded_and_its_decoded_form(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = quote(CANARY, safe="") if "://" in PLACES[variable] else CANARY
    value = PLACES[variable].format(written)
    monkeypatch.setenv(variable, value)
    text = redact(f"cannot use {value}: {CANARY!r} ({written}) was refused")
    assert CANARY not in text and written not in text and text.startswith("cannot use ")
    for kind in (FlightdeckError, InvalidInput, Unavailable, CheckFailed):
        assert CANARY not in str(kind(f"no {CANARY}"))


@given(st.text(min_size=5, max_size=20), st.text(max_size=30))
def test_no_secret_survives_in_any_text(secret: str, around: str) -> None:
    redaction.hide(secret)
    assert secret not in redact(f"{around}{secret}{around}{secret}")
    redaction._more.clear()


def test_words_that_are_no_secrets_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PWD": "/work/here", "PASSWORDS_FILE": "/x/passwords.json", "TOKENIZERS": "true"}.items():
        monkeypatch.setenv(name, value)
    for text in ("/work/here/params.yaml: ends", "see /x/passwords.json", "redis://[[USER:]PASSWORD@]HOST", "ann@host"):
        assert redact(text) == text


def test_user_and_password_of_any_uri_are_hidden() -> None:
    assert redact("at https://ann:word@host/x and s3://key:word@bucket") == "at https://***@host/x and s3://***@bucket"


def test_neither_a_log_record_nor_its_traceback_holds_a_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", CANARY)
    before = logging.getLogRecordFactory()
    try:
        redact_logs()
        redact_logs()
        log = logging.getLogger("of a library")
        log.warning("asking %s", f"http://host/?t={CANARY}")
        try:
            raise ValueError(CANARY)
        except ValueError:
            log.exception("failed with %r", CANARY)
    finally:
        logging.setLogRecordFactory(before)
    assert CANARY not in caplog.text and "ValueError" in caplog.text and "asking http://host/?t=***" in caplog.text
