"""Give the raw data a DVC version, and push it to the DVC remote."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.context import Context
from pipelines.errors import InvalidInput, MissingData
from pipelines.periods import PeriodField
from pipelines.steps import RunName, StepModel

if TYPE_CHECKING:
    from pipelines.ingestion.repository import DataRepository
    from pipelines.records import Snapshot


class Inputs(StepModel):
    start: PeriodField | None = Field(
        None, description="first local day or period that this run ingested, for the records"
    )
    end: PeriodField | None = Field(None, description="the one after the last, exclusive")
    run: RunName | None = Field(None, description="the caller's name for this run, for the records")
    keep: bool = Field(
        default=True, description="false: only compute the version (at the desk DVC itself keeps the data)"
    )


class Outputs(StepModel):
    data_version: str
    files: int
    kept: bool


def run(inputs: Inputs, context: Context) -> Outputs:
    """Keep the raw folder under a version, which is its hash: the same data have the same version everywhere.

    Raises:
        MissingData: if nothing was ingested.
        InvalidInput: if the store is no local folder.
    """
    from pathlib import Path

    from pipelines.ingestion.repository import local_root, open_repository
    from pipelines.ingestion.versions import version_of
    from pipelines.records import Snapshot

    if (inputs.start is None) != (inputs.end is None):
        raise InvalidInput(f"start is {inputs.start}, end is {inputs.end}; give both, or neither")
    local_root(context)
    raw = Path(context.data.uri("raw"))
    if not inputs.keep:
        version, files = version_of(raw)
        return Outputs(data_version=version, files=files, kept=False)
    snapshots = context.snapshots
    with open_repository(context) as repository:
        earlier = snapshots.taken()
        last = earlier[-1] if earlier else None
        version, files = repository.keep(raw, before=last.version if last else None)
        rows = _rows(version, repository, last)
        snapshots.append(Snapshot(version, files, rows, inputs.start, inputs.end, inputs.run))
    return Outputs(data_version=version, files=files, kept=True)


def _rows(version: str, repository: DataRepository, last: Snapshot | None) -> int:
    """The rows of a version, counted by the difference from the last snapshot where that still exists."""
    from pipelines.ingestion.versions import count_rows

    tree = repository.tree(version)
    if last:
        with suppress(MissingData):
            return count_rows(tree, repository.fetch, repository.tree(last.version), last.rows)
    return count_rows(tree, repository.fetch, {}, 0)
