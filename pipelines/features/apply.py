"""Register the use case's Feast declarations: all in one registry, and those without functions in the served one."""

from __future__ import annotations

from pipelines.context import Context
from pipelines.steps import StepModel


class Inputs(StepModel):
    pass


class Outputs(StepModel):
    project: str
    registry_hash: str
    views: list[str]
    services: list[str]


def run(inputs: Inputs, context: Context) -> Outputs:
    from pipelines.offline.repository import apply, declarations_of, registry_hash

    apply(context.settings, context.feast, declarations_of(context.usecase))
    return Outputs(
        project=context.feast.project,
        registry_hash=registry_hash(context.feast),
        views=sorted(view.name for view in context.feast.list_feature_views()),
        services=sorted(service.name for service in context.feast.list_feature_services()),
    )
