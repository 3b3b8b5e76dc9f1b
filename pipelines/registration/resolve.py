"""Find the registered version with an alias or a number, and the URIs of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed, MissingData
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class Inputs(StepModel):
    alias: str = Field("champion", min_length=1, description="alias of the version; not read where a version is given")
    version: str | None = Field(None, description="number of the version")
    required: bool = Field(False, description="fail where no version has the alias")


class Outputs(StepModel):
    version: str | None = Field(description="none where no version has the alias")
    model_uri: str | None
    evaluation_uri: str | None
    training_set_uri: str | None
    sha256: str | None


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.tracking.integrity import require_intact

    models = context.models
    version = models.resolve(alias=inputs.alias) if inputs.version is None else models.require(inputs.version)
    if version is None and (number := models.aliases().get(inputs.alias)) is not None:
        raise MissingData(
            f"alias {inputs.alias} names version {number}, which is not of the chain; set it to one that is"
        )
    if version is None and inputs.required:
        raise CheckFailed(f"there is no {inputs.alias}; train and register a model first")
    if version is None:
        return Outputs(version=None, model_uri=None, evaluation_uri=None, training_set_uri=None, sha256=None)
    require_intact(context.data.store, context.tracker, version)
    return Outputs(
        version=version.version,
        model_uri=version.model_uri,
        evaluation_uri=version.evaluation_uri,
        training_set_uri=version.training_set_uri,
        sha256=version.sha256,
    )
