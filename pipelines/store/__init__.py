"""Locations, partitions and atomic writes. A leaf: imports no step."""

from pipelines.store.files import Store
from pipelines.store.layout import Layout
from pipelines.store.live import alone, at_work

__all__ = ["Layout", "Store", "alone", "at_work"]
