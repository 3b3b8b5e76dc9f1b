"""The API's document matches the server: what fits it is accepted, other requests are refused, all is declared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.request_columns import computed, from_requests, kinds_of
from pipelines.serving.schemas import Envelope, Refusal, outcome_envelope, prediction_envelope
from pipelines.usecase import UseCase
from pipelines.usecases.flights import USECASE as FLIGHTS
from tests.services import thorough
from tests.serving.conftest import App, listening
from tests.toy import USECASE as PUMPS

JSON_LIKE: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
JSON_LIKE |= st.text(max_size=5) | st.sampled_from(["", "EWR\n", 0, 1.0, 24 * 60, [], {}, "2013-02-29T00:00Z", -0.0])
RUN = "from schemathesis.cli import schemathesis; schemathesis()"
STATUSES = {
    "/v1/predictions": {"200", "400", "409", "413", "422", "429", "503"},
    "/v1/predictions/{identity}": {"200", "404", "503"},
    "/v1/outcomes": {"200", "400", "404", "409", "413", "422", "503"},
    "/v1/rollout": {"200", "503"},
    "/healthz": {"200"},
    "/readyz": {"200", "503"},
    "/metrics": {"200"},
}


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit the schema of a field."""
    if "anyOf" in schema:
        return st.one_of([values(choice) for choice in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "null":
            return st.none()
        case "string":
            text = st.from_regex(schema["pattern"], fullmatch=True)
            longest = schema.get("maxLength", 10_000)
            return text.filter(lambda written: schema.get("minLength", 0) <= len(written) <= longest)
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"]).map(lambda n: n if n % 2 else float(n))
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema["maximum"]
    return st.floats(low, high, exclude_min="exclusiveMinimum" in schema)


def items(envelope: Envelope[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Items that fit the schema of the envelope's item."""
    schema = envelope.schema()[1][envelope.item.__name__]
    fields = {name: values(field) for name, field in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema["required"]}
    return st.fixed_dictionaries(required, optional=fields)


def fits(envelope: Envelope[Any], body: Any) -> bool:
    schema, named = envelope.schema()
    return bool(jsonschema_rs.validator_for({**schema, "components": {"schemas": named}}).is_valid(body))


def parses(envelope: Envelope[Any], body: Any) -> bool:
    try:
        return bool(envelope.parse(json.dumps(body).encode()))
    except Refusal as refused:
        assert refused.status == 422
        return False


@pytest.mark.hypothesis
@pytest.mark.parametrize("usecase", [PUMPS, FLIGHTS], ids=lambda usecase: usecase.name)
def test_a_request_that_fits_the_schema_is_accepted_and_gives_features(usecase: UseCase) -> None:
    envelope = prediction_envelope(usecase, 3)

    @given(st.lists(items(envelope), min_size=1, max_size=3))
    def understood(requests: list[dict[str, Any]]) -> None:
        body = {"requests": requests}
        assert fits(envelope, body)
        parsed = [item.model_dump(exclude={"id"}) for item in envelope.parse(json.dumps(body).encode())]
        columns = from_requests(kinds_of(usecase), parsed, datetime(2013, 1, 1, tzinfo=UTC))
        assert computed(usecase, columns, len(requests))
        for request in parsed:
            assert 0 < len(usecase.split_key(request)) <= 128 and usecase.split_key(request).isprintable()
            assert usecase.block(request, datetime(2013, 1, 1, tzinfo=UTC))

    understood()


ENVELOPES = {
    "pumps": prediction_envelope(PUMPS, 3),
    "flights": prediction_envelope(FLIGHTS, 3),
    "outcomes": outcome_envelope(3),
}


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ENVELOPES)
def test_a_body_is_accepted_if_and_only_if_it_fits_the_schema(name: str) -> None:
    envelope = ENVELOPES[name]
    keys = [*envelope.item.model_fields, envelope.key, "x"]

    @given(items(envelope), st.sampled_from(keys), JSON_LIKE, st.sampled_from(["set", "drop", "many", "beside"]))
    def same(item: dict[str, Any], key: str, value: Any, how: str) -> None:
        changed = {**item, key: value} if how != "drop" else {k: v for k, v in item.items() if k != key}
        bodies: dict[str, Any] = {"many": {envelope.key: [changed]}, "beside": {envelope.key: [item], key: value}}
        body = bodies.get(how, changed)
        assert parses(envelope, body) == fits(envelope, body), body

    same()


def test_every_answer_of_every_operation_is_declared(app: App) -> None:
    document = app.http.get("/openapi.json").json()
    operations = {path: next(iter(methods.values())) for path, methods in document["paths"].items()}
    assert {path: set(operation["responses"]) for path, operation in operations.items()} == STATUSES
    for operation in operations.values():
        for response in operation["responses"].values():
            assert all(declared["schema"] for declared in response["content"].values())
        failures = [of["content"] for status, of in operation["responses"].items() if int(status) >= 400]
        assert all(content.keys() == {"application/problem+json"} for content in failures)
    assert operations["/metrics"]["responses"]["200"]["content"].keys() == {"text/plain"}
    assert "retry-after" in operations["/readyz"]["responses"]["503"]["headers"]
    text = json.dumps(document)
    named = document["components"]["schemas"]
    assert "$defs" not in text and all(f'"#/components/schemas/{name}"' in text for name in named)
    assert named["Request"]["properties"]["plant"]["enum"] == ["north", "south"]


@thorough
def test_schemathesis_finds_nothing(app: App, tmp_path: Path) -> None:
    options = ["--checks", "all", "--seed", "1", "--max-examples", "60", "--no-color", "--warnings", "off"]
    options += ["--suppress-health-check", "too_slow", "--request-timeout", "60"]  # a busy machine is no finding
    with listening(app) as url:
        done = subprocess.run(
            [sys.executable, "-c", RUN, "run", f"{url}/openapi.json", *options],
            cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0 and "Selected: 7/7" in done.stdout, done.stdout + done.stderr
