"""Where tables come from: files, databases, HTTP APIs, or what comes with the use case. A leaf: imports no step."""

from pipelines.sources.conform import conform
from pipelines.sources.opening import is_incremental, open_source, overlap, read_window
from pipelines.sources.source import Delivery, Piece, Source, StaleBookmark

__all__ = [
    "Delivery",
    "Piece",
    "Source",
    "StaleBookmark",
    "conform",
    "is_incremental",
    "open_source",
    "overlap",
    "read_window",
]
