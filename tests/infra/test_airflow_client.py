"""The client waits for DAGs and does not give up because of other use cases' import errors."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from infra.airflow_client import AirflowClient, AirflowError

TRACE = """Traceback (most recent call last):
  File "/clone/dags/broken_use_cases.py", line 16, in <module>
    raise InvalidInput(
    ^^^^^^^^^^^^^^^^^^^
pipelines.errors.InvalidInput: these use cases have no DAGs:
  /params/a.yaml: trails: unknown key
  /params/b.yaml does not exist
"""


def client(answers: list[list[str]], errors: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AirflowClient:
    """A client of an API that lists these DAGs, one list per call and then the last one; time passes only during looks.

    Each look takes a minute of the monotonic clock.
    """
    clock = iter(range(0, 100_000, 60))
    monkeypatch.setattr("infra.airflow_client.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("infra.airflow_client.time.sleep", lambda _: None)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/importErrors"):
            return page("import_errors", [{"filename": file, "stack_trace": trace} for file, trace in errors.items()])
        return page("dags", [{"dag_id": dag} for dag in (answers.pop(0) if len(answers) > 1 else answers[0])])

    client = AirflowClient("http://127.0.0.1:1", "admin", "x")
    client.http = httpx.Client(
        base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answer), headers={"Authorization": "Bearer x"}
    )
    return client


def page(key: str, entries: list[dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, json={key: entries, "total_entries": len(entries)})


def test_the_client_waits_for_its_dags_despite_import_errors_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    client([[], ["b_data"], ["a_data", "b_data"]], {"broken_use_cases.py": TRACE}, monkeypatch).wait_for_dags(
        ["a_data"], timeout=600
    )


def test_missing_dags_are_named_together_with_all_import_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    other = '  File "x.py", line 1\n    def (\n        ^\nSyntaxError: bad'
    errors = {"broken_use_cases.py": TRACE, "other.py": other}
    with pytest.raises(AirflowError, match=r"DAGs \['a_data'\] were not read within 120 s") as error:
        client([["b_data"]], errors, monkeypatch).wait_for_dags(["a_data", "b_data"], timeout=120)
    message = str(error.value)
    assert "\n" not in message and "see dag-processor.log" in message and "raise InvalidInput" not in message
    assert "/params/a.yaml: trails: unknown key /params/b.yaml does not exist" in message
    assert "other.py: SyntaxError: bad" in message
