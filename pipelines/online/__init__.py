"""The online store: reads with enforced freshness, and writes. A leaf: imports no step."""

from pipelines.online.client import OnlineFeatures, OnlineReader, read_online

__all__ = ["OnlineFeatures", "OnlineReader", "read_online"]
