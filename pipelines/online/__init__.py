"""The online store: what is read from it, judged by freshness, and what is written to it. A leaf: imports no step."""

from pipelines.online.client import OnlineFeatures, OnlineReader, read_online

__all__ = ["OnlineFeatures", "OnlineReader", "read_online"]
