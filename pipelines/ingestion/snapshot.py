"""Give the raw data a DVC version, and push it to the DVC remote."""

from __future__ import annotations

from pydantic import Field

from pipelines.context import Context
from pipelines.steps import StepModel


class Inputs(StepModel):
    keep: bool = Field(
        default=True, description="false: only compute the version (at the desk DVC itself keeps the data)"
    )


class Outputs(StepModel):
    data_version: str
    files: int
    kept: bool


def run(inputs: Inputs, context: Context) -> Outputs:
    """The version is the hash of the raw folder: the same data have the same version wherever they lie.

    Raises:
        MissingData: if nothing was ingested.
    """
    from pathlib import Path

    from pipelines.ingestion.versions import keep_version, version_of

    raw = Path(context.data.uri("raw"))
    if inputs.keep:
        version, files = keep_version(raw, Path(context.data.store.root), context.settings.versions_remote)
    else:
        version, files = version_of(raw)
    return Outputs(data_version=version, files=files, kept=inputs.keep)
