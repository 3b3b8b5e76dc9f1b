"""What a use case declares of its features besides its functions. Light to import, as use cases are."""

from pipelines.declare.derived import (
    Bins,
    Cross,
    Cyclical,
    Derived,
    Difference,
    Each,
    Function,
    Log,
    Ratio,
    derived_of,
)

__all__ = [
    "Bins",
    "Cross",
    "Cyclical",
    "Derived",
    "Difference",
    "Each",
    "Function",
    "Log",
    "Ratio",
    "derived_of",
]
