"""Choose the version to roll out: by the newest change of alias `challenger`, by number, or by the alias as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.errors import CheckFailed
from pipelines.steps import StepModel

if TYPE_CHECKING:
    from pipelines.context import Context


class AliasChange(StepModel):
    """A change of the alias, as registration or a watcher reports it."""

    version: str | None = Field(description="version that the alias names")
    change: int | None = Field(description="number of the alias change; none where the alias was not set")
    actor: str = Field(min_length=1, max_length=64, description="who or what changed it")


class Inputs(StepModel):
    changes: list[AliasChange] = Field([], description="changes that started the caller; empty where none did")
    version: str | None = Field(None, description="version to roll out where no change came; by default the alias's")
    actor: str = Field("form", min_length=1, max_length=64, description="who or what asks where no change came")


class Outputs(StepModel):
    version: str | None = Field(description="none where the alias was not changed")
    change: int | None = Field(description="number of the alias change; none where no change came")
    actor: str
    why: str


def run(inputs: Inputs, context: Context) -> Outputs:
    if inputs.changes:
        return _newest(inputs.changes)
    version = inputs.version or _challenger(context)
    return Outputs(version=version, change=None, actor=inputs.actor, why=f"version {version} was chosen")


def _challenger(context: Context) -> str:
    """The version that has the alias, after a check that its files are those that were registered."""
    from pipelines.records import CHALLENGER
    from pipelines.tracking.integrity import require_intact

    number = context.models.aliases().get(CHALLENGER)
    if number is None:
        raise CheckFailed(f"no version has the alias {CHALLENGER}; give a version in the form")
    version = context.models.require(number)
    require_intact(context.data.store, context.tracker, version)
    return version.version


def _newest(news: list[AliasChange]) -> Outputs:
    """The last change counts: several may have waited while a rollout was under way."""
    changes = [(one.change, one) for one in news if one.change is not None]
    if not changes:
        last = news[-1]
        why = f"no change of the alias came with version {last.version} from {last.actor}: nothing to roll out"
        return Outputs(version=None, change=None, actor=last.actor, why=why)
    number, newest = max(changes, key=lambda pair: pair[0])
    why = f"alias challenger, change {number}"
    return Outputs(version=newest.version, change=number, actor=newest.actor, why=why)
