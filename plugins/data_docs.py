"""The Data Docs of a validation: a button on its task, and the pages behind it.

The pages lie in the store, which a browser does not reach, so the API server hands them out to those who may read the
DAG. It tells the browser to run nothing and to load nothing for them: they quote the data.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/flightdeck/data-docs"
WINDOW = re.compile(r"\d{4}-\d{2}-\d{2}_\d{4}-\d{2}-\d{2}")
PAGE = re.compile(r"[^/\\\x00-\x1f\x7f]+\.html")  # named after a table; never a path
HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-top-navigation",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class DataDocsLink(BaseOperatorLink):
    """Leads from a validate task to the pages of the window that it was given, whatever became of it."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Airflow asks in the task's process when the task is over, and keeps the answer."""
        from urllib.parse import urlsplit

        from airflow.sdk.configuration import conf

        given = operator.op_kwargs
        window = f"{min(given.get('since') or given['start'], given['start'])}_{given['end']}"
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return f"{root}{PREFIX}/{ti_key.dag_id}/{window}/index.html"


def build_app() -> FastAPI:
    """The application that hands out the pages."""
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

    for about in read_roster().usable.values():
        if dag_id == f"{about.usecase.name}_data":
            try:
                return about.data.store.read_bytes(about.data.uri("reports", "validation", window, name))
            except MissingData:
                return None
    return None


class DataDocsPlugin(AirflowPlugin):
    name = "data_docs"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Made when asked for, which only the API server does: FastAPI is not light."""
        return [{"app": build_app(), "url_prefix": PREFIX, "name": "Data Docs"}]
