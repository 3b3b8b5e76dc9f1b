"""The online feature client: reads, freshness, ages. A leaf: imports no step."""

from pipelines.online.client import OnlineFeatures, read_online

__all__ = ["OnlineFeatures", "read_online"]
