"""What costs seconds each time and is the same each time: MLflow's empty database, and the pictures of an evaluation.

Within this process, MLflow makes a database once, and other homes get a copy of it; the steps draw no pictures but tell
which there would be. `tests/unit/test_plots.py`, and the commands and servers that tests start, do both for real.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.tracking.runs import Tracker


@pytest.fixture(scope="session", autouse=True)
def _shortcuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from pipelines.tracking.runs import Tracker
    from pipelines.training import evaluate

    template = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patched:
        copying = cached_property(_copying(vars(Tracker)["client"].func, template))
        copying.__set_name__(Tracker, "client")
        patched.setattr(Tracker, "client", copying)
        patched.setattr(evaluate, "write", _undrawn(evaluate.write))
        yield


def _copying(opened: Any, template: Path) -> Any:
    """The client of a tracker as `opened` gives it, over a copy of the template where there is no database yet."""

    def client(tracker: Tracker) -> Any:
        database = _missing_database(tracker.uri)
        if database and template.exists():
            database.parent.mkdir(parents=True, exist_ok=True)
            with template.open("rb") as empty, tempfile.NamedTemporaryFile(dir=database.parent, delete=False) as copied:
                shutil.copyfileobj(empty, copied)
            os.replace(copied.name, database)
        made = opened(tracker)
        if database and not template.exists():
            shutil.copy(database, template)
        return made

    return client


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
    """A picture of one pixel; others have other bytes."""
    from PIL import Image, PngImagePlugin

    title = PngImagePlugin.PngInfo()
    title.add_itxt("Title", str(figure.get_suptitle()))
    sink = io.BytesIO()
    Image.new("1", (1, 1)).save(sink, "png", pnginfo=title)
    return sink.getvalue()
