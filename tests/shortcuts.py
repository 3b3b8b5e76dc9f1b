"""Shortcuts for slow and repeated work with constant results: empty databases, and the pictures of an evaluation.

Within this process, MLflow's database and SQLite records are created once and copied for other homes; the steps
draw no pictures but name those that there would be. `tests/unit/test_migrations.py`, `tests/unit/test_plots.py`, and
the commands and servers that tests start, do the real work.
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture(scope="session", autouse=True)
def _shortcuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from pipelines.records.database import open_records
    from pipelines.tracking.runs import Tracker
    from pipelines.training import evaluate

    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patched:
        records = _copying(open_records, str, folder / "records.db")
        patched.setattr("pipelines.records.records.open_records", records)
        copying = cached_property(_copying(vars(Tracker)["client"].func, attrgetter("uri"), folder / "mlflow.db"))
        copying.__set_name__(Tracker, "client")
        patched.setattr(Tracker, "client", copying)
        patched.setattr(evaluate, "write", _undrawn(evaluate.write))
        yield


def _copying(opened: Callable[..., Any], uri_of: Callable[[Any], str], template: Path) -> Callable[..., Any]:
    """Wrap `opened` so that it starts from a copy of the template where there is no database yet."""

    def copied_or_opened(given: Any, *more: Any) -> Any:
        database = _missing_database(uri_of(given))
        if database and template.exists():
            database.parent.mkdir(parents=True, exist_ok=True)
            with template.open("rb") as empty, tempfile.NamedTemporaryFile(dir=database.parent, delete=False) as part:
                shutil.copyfileobj(empty, part)
            os.replace(part.name, database)
        result = opened(given, *more)
        if database and not template.exists():
            _copy(database, template)
        return result

    return copied_or_opened


def _copy(database: Path, template: Path) -> None:
    """Copy an open database, whose last changes may be in a file beside it."""
    part = template.with_suffix(".part")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.rename(template)


def _missing_database(uri: str) -> Path | None:
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database or url.query:
        return None
    return None if Path(url.database).exists() else Path(url.database)


def _undrawn(write: Callable[..., str]) -> Callable[..., str]:
    def written(*given: Any) -> str:
        from pipelines.training import plots  # which imports much

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(plots, "_png", _blank)
            return write(*given)

    return written


def _blank(figure: Figure) -> bytes:
    """A picture of one pixel, with different bytes for each figure."""
    from PIL import Image, PngImagePlugin

    title = PngImagePlugin.PngInfo()
    title.add_itxt("Title", str(figure.get_suptitle()))
    sink = io.BytesIO()
    Image.new("1", (1, 1)).save(sink, "png", pnginfo=title)
    return sink.getvalue()
