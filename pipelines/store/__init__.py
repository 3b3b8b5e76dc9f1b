"""Locations, partitions and atomic writes. A leaf: imports no step."""

from pipelines.store.files import Store
from pipelines.store.layout import Layout

__all__ = ["Layout", "Store"]
