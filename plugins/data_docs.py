"""The Data Docs of a validation: a button on its task, and the pages behind it.

The pages are in the store, which a browser cannot reach, so the API server serves them to users who may read the DAG.
Since the pages quote the data, the browser is told to run no script and to load nothing for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/flightdeck/data-docs"
PERIOD = r"\d{4}-\d{2}-\d{2}(?:T\d{6}Z)?"  # as `pipelines.periods.NAME`, which is not imported while DAGs are parsed
WINDOW = re.compile(f"{PERIOD}_{PERIOD}")
PAGE = re.compile(r"[^/\\\x00-\x1f\x7f]+\.html")  # named after a table; never a path
HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-top-navigation",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class DataDocsLink(BaseOperatorLink):
    """A link from a validate task to the pages of its window, whatever its outcome."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The link; Airflow calls this in the task's process when the task ends, and stores the result."""
        from urllib.parse import urlsplit

        from airflow.sdk.configuration import conf

        from pipelines.periods import name_of, period_of

        inputs = operator.op_kwargs
        start, end, since = (period_of(inputs.get(name) or inputs["start"]) for name in ("start", "end", "since"))
        window = f"{name_of(min(since, start))}_{name_of(end)}"
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return f"{root}{PREFIX}/{ti_key.dag_id}/{window}/index.html"


def build_app() -> FastAPI:
    """The application that serves the pages."""
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import HTMLResponse

    app = FastAPI(title="Data Docs", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/{dag_id}/{window}/{name}", dependencies=[Depends(requires_access_dag("GET"))])
    def page(dag_id: str, window: str, name: str) -> HTMLResponse:
        if not WINDOW.fullmatch(window) or not PAGE.fullmatch(name):
            raise HTTPException(404, "no such page")
        content = read_page(dag_id, window, name)
        if content is None:
            raise HTTPException(404, f"{dag_id} has no Data Docs of {window}; run its validate task")
        return HTMLResponse(content, headers=HARMLESS)

    return app


def read_page(dag_id: str, window: str, name: str) -> bytes | None:
    """A page from the store of the use case whose data DAG this is; None where there is none."""
    from pipelines.errors import MissingData
    from pipelines.roster import read_roster

    for context in read_roster().usable.values():
        if dag_id == f"{context.usecase.name}_data":
            try:
                return context.data.store.read_bytes(context.data.uri("reports", "validation", window, name))
            except MissingData:
                return None
    return None


class DataDocsPlugin(AirflowPlugin):
    name = "data_docs"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Built on access, which only the API server needs, since importing FastAPI is slow."""
        return [{"app": build_app(), "url_prefix": PREFIX, "name": "Data Docs"}]
