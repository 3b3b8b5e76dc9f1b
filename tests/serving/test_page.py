"""The API's page in a browser that can reach no other host than the server; skipped where no Chromium is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.services import missing, thorough
from tests.serving.conftest import App, listening

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ALONE = ["--headless=new", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@thorough
def test_the_page_shows_the_operations_without_any_other_host(app: App, tmp_path: Path) -> None:
    if not CHROMIUM:
        missing("Chromium", "chromium")
    with listening(app) as url:
        own = ["--virtual-time-budget=20000", f"--user-data-dir={tmp_path}", "--dump-dom", f"{url}/docs"]
        page = subprocess.run([CHROMIUM, *ALONE, *own], capture_output=True, text=True, check=True).stdout
    shown = set(re.findall(r'data-path="([^"]+)"', page))
    assert shown == {
        "/v1/predictions",
        "/v1/predictions/{identity}",
        "/v1/outcomes",
        "/v1/rollout",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_the_page_loads_everything_from_the_server(app: App) -> None:
    page = app.http.get("/docs").text
    loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*['"]([^'"]+)['"]""", page)
    assert len(loaded) >= 4 and all(re.match("/[^/]", address) for address in loaded)
    assert [app.http.get(address).status_code for address in loaded] == [200] * len(loaded)
    assert app.http.get("/redoc").status_code == 404
