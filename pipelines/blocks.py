"""The dependence blocks of examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.usecase import BLOCK, DAY, EXAMPLE_ID

if TYPE_CHECKING:
    import pandas as pd


def blocks_of(examples: pd.DataFrame) -> pd.Series[str]:
    """The dependence block of each example, in their order: whatever resamples or groups by dependence uses these.

    Args:
        examples: with BLOCK and EXAMPLE_ID (where BLOCK is null, the row is a block of its own), or with DAY.
    """
    if BLOCK not in examples:
        return examples[DAY].astype(str)
    return examples[BLOCK].where(examples[BLOCK].notna(), examples[EXAMPLE_ID]).astype(str)
