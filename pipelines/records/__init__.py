"""What was decided, in SQL. A leaf: imports no step."""

from pipelines.records.decisions import Decision, Records

__all__ = ["Decision", "Records"]
