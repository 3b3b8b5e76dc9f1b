"""The Data Docs button of the validate task, and who gets the pages behind it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.context import build_context
from pipelines.periods import NAME
from pipelines.steps import execute
from pipelines.validation.data_docs import index
from tests.conftest import TOY

CONF = {"start": "2024-03-01", "end": "2024-03-04"}
URL = "/flightdeck/data-docs/pumps_data/2024-03-01_2024-03-04/"


@pytest.fixture(scope="module")
def app(airflow: None) -> Any:
    """The API server, which takes seconds to build; our plugin reads the settings on every request."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    return create_app(apps="core")


@pytest.fixture
def client(app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], Any]:
    """Clients of its pages, for a user of a role or for no user."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    monkeypatch.setenv("FLIGHTDECK_PARAMS", str(TOY))
    monkeypatch.setenv("FLIGHTDECK_HOME", str(tmp_path / "home"))

    def as_role(role: str | None) -> Any:
        client = TestClient(app, base_url="http://testserver")
        if role:
            user = SimpleAuthManagerUser(username=role, role=role)
            token = app.state.auth_manager.generate_jwt(user)
            client.cookies.set("_token", token)
        return client

    return as_role


def test_the_validate_task_links_to_its_pages(
    load: Callable[..., Any], client: Callable[[str | None], Any], tmp_path: Path
) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    dag = load(TOY, home=tmp_path / "home").dags["pumps_data"]
    (link,) = dag.get_task("validate").operator_extra_links
    assert not dag.get_task("ingest").operator_extra_links
    assert dag.test(run_conf=CONF).state == "success"
    with create_session() as session:
        links = session.query(XComModel).filter_by(task_id="validate", key=link.xcom_key, dag_id="pumps_data").all()
    assert URL + "index.html" in {XComModel.deserialize_value(one) for one in links}

    seen = client("viewer").get(URL + "index.html")
    assert seen.status_code == 200 and 'href="readings.html"' in seen.text
    assert "sandbox" in seen.headers["Content-Security-Policy"]
    assert "bad_load" in client("viewer").get(URL + "readings.html").text


def test_pages_cover_all_days_that_were_validated_again(
    load: Callable[..., Any], client: Callable[[str | None], Any], tmp_path: Path
) -> None:
    """The button links to where the step wrote, also where that window began earlier than the run's."""
    validate = load(TOY, home=tmp_path / "home").dags["pumps_data"].get_task("validate")
    (link,) = validate.operator_extra_links
    context = build_context(TOY, tmp_path / "home")
    days = {"start": "2024-03-03", "end": "2024-03-05"}
    execute("ingest", {**days, "start": "2024-03-01"}, context)
    for since in (None, "2024-03-01", "2024-03-03", "2024-03-04"):
        wrote = execute("validate", {**days, "since": since}, context)["data_docs_uri"]
        operator = SimpleNamespace(op_kwargs={**days, "since": since})
        url = link.get_link(operator, ti_key=SimpleNamespace(dag_id="pumps_data"))
        assert wrote.endswith(url.removeprefix("/flightdeck/data-docs/pumps_data"))
        assert client("viewer").get(url).status_code == 200


@given(st.text("ab1.é %?#&:;=+@<>'\"~$_-", min_size=1, max_size=30))
@example("sales.orders")
@example("a b")
@example("100%25 ?#&\"'<é>:")
def test_the_index_links_a_table_of_any_name_to_its_page(name: str) -> None:
    assessment = SimpleNamespace(rows=1, quarantined={}, results=[])
    link = re.search(r'href="([^"]*)"', index("title", {name: assessment}, []))  # type: ignore[dict-item]
    assert link is not None
    target = urlsplit(urljoin("http://host/flightdeck/data-docs/x_data/w/index.html", html.unescape(link[1])))
    from data_docs import PAGE  # imports Airflow

    assert unquote(target.path) == f"/flightdeck/data-docs/x_data/w/{name}.html" and target.netloc == "host"
    assert not (target.query or target.fragment) and PAGE.fullmatch(f"{name}.html")


@pytest.mark.parametrize("name", ["../x.html", "a/b.html", "a\\b.html", ".html", "a.htm", "a.html\n", "a\0.html", "x"])
def test_a_path_is_not_accepted_as_a_page(name: str) -> None:
    from data_docs import PAGE

    assert not PAGE.fullmatch(name)


def test_a_page_is_served_whatever_the_table_is_called(client: Callable[[str | None], Any], tmp_path: Path) -> None:
    data = build_context(TOY, tmp_path / "home").data
    for name in ("sales.orders", "a b", "50% off?"):
        uri = data.uri("reports", "validation", "2024-03-01_2024-03-04", f"{name}.html")
        data.store.write_bytes(uri, name.encode())
        assert client("viewer").get(URL + quote(name) + ".html").text == name


def test_only_users_who_may_read_the_dag_get_pages(client: Callable[[str | None], Any], tmp_path: Path) -> None:
    data = build_context(TOY, tmp_path / "home").data
    data.store.write_bytes(data.uri("reports", "validation", "2024-03-01_2024-03-04", "index.html"), b"secret")
    data.store.write_bytes(data.uri("raw", "index.html"), b"elsewhere")
    assert client("viewer").get(URL + "index.html").text == "secret"
    assert client(None).get(URL + "index.html").status_code == 401
    for other in (
        URL + "none.html",
        URL + "..%2f..%2f..%2fraw%2findex.html",
        URL.replace("pumps_data", "other_data") + "index.html",
        URL.replace("2024-03-01_2024-03-04", "..") + "index.html",
    ):
        assert client("viewer").get(other).status_code == 404, other


def test_the_link_to_a_window_of_hours_can_be_opened() -> None:
    from data_docs import PERIOD, WINDOW, DataDocsLink

    inputs = {"start": "2024-03-30T23:00:00+00:00", "end": "2024-03-31T01:00:00+00:00", "since": None}
    operator, key = SimpleNamespace(op_kwargs=inputs), SimpleNamespace(dag_id="pumps_hours_data")
    window = "2024-03-30T230000Z_2024-03-31T010000Z"
    assert DataDocsLink().get_link(operator, ti_key=key).endswith(f"/pumps_hours_data/{window}/index.html")
    assert NAME.pattern == PERIOD
    assert WINDOW.fullmatch(window) and not WINDOW.fullmatch("2024-03-30T23_2024-03-31")
