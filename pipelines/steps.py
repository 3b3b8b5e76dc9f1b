"""The registry of steps: the one door by which Airflow, DVC, the command line and the tests enter.

A step is a module with `Inputs`, `Outputs` (pydantic models, JSON-able) and `run(inputs, context) -> Outputs`. It
imports nothing heavy at the top, so that listing the steps and parsing the DAGs stay cheap.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)

from pipelines import failure
from pipelines.errors import InvalidInput
from pipelines.instants import midnight
from pipelines.params import first_problem

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.periods import Calendar


class StepModel(BaseModel):
    """Base of every `Inputs` and `Outputs`: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def _day_begins(value: Any, info: ValidationInfo) -> Any:
    """Turn a local day into the instant at which it begins in the use case's zone."""
    calendar: Calendar | None = (info.context or {}).get("calendar")
    if calendar is None or isinstance(value, datetime):
        return value
    try:
        return midnight(value if isinstance(value, date) else date.fromisoformat(value), calendar.timezone)
    except (TypeError, ValueError):
        return value


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{at.isoformat()} is outside the years 1 to 9999 of UTC; correct it") from None


RunName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]  # part of paths
Instant = Annotated[AwareDatetime, BeforeValidator(_day_begins), AfterValidator(_in_utc)]


class StepModule(Protocol):
    Inputs: type[StepModel]
    Outputs: type[StepModel]

    @staticmethod
    def run(inputs: Any, context: Context) -> StepModel: ...


@dataclass(frozen=True)
class Step:
    """A registered step.

    Attributes:
        name: as used on the command line, in dvc.yaml and for Airflow tasks.
        module: name of its module.
        desk: whether it has a stage in dvc.yaml; the others change shared state (online store, registry).
        dag: whether one of our DAGs runs it; the others wait for a team's own feed.
        unchecked: whether it runs even if params and declarations do not fit: a rollout under way must go on and end.
    """

    name: str
    module: str
    desk: bool = True
    dag: bool = True
    unchecked: bool = False

    def load(self) -> StepModule:
        return importlib.import_module(self.module)  # type: ignore[return-value]

    @property
    def summary(self) -> str:
        """First line of the module's docstring."""
        return (importlib.import_module(self.module).__doc__ or "").strip().split("\n")[0]


STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step("ingest", "pipelines.ingestion.ingest"),
        Step("snapshot", "pipelines.ingestion.snapshot"),
        Step("validate", "pipelines.validation.validate"),
        Step("build_features", "pipelines.features.build"),
        Step("check_features", "pipelines.features.check_health"),
        Step("apply_features", "pipelines.features.apply"),
        Step("materialize", "pipelines.features.materialize", desk=False),
        Step("push_features", "pipelines.features.push", desk=False, dag=False),
        Step("check_parity", "pipelines.features.check_parity", desk=False),
        Step("build_training_set", "pipelines.features.training_set"),
        Step("train", "pipelines.training.train"),
        Step("evaluate", "pipelines.training.evaluate"),
        Step("log_candidates", "pipelines.registration.log_candidates", desk=False),
        Step("gate", "pipelines.registration.gate"),
        Step("register", "pipelines.registration.register", desk=False),
        Step("resolve_model", "pipelines.registration.resolve", desk=False),
        Step("score", "pipelines.monitoring.score"),
        Step("join_outcomes", "pipelines.monitoring.join_outcomes"),
        Step("report_drift", "pipelines.monitoring.report_drift"),
        Step("decide_retraining", "pipelines.monitoring.decide"),
        Step("choose_challenger", "pipelines.deployment.choose", desk=False),
        Step("start_rollout", "pipelines.deployment.start", desk=False),
        Step("preflight", "pipelines.deployment.preflight", desk=False),
        Step("set_stage", "pipelines.deployment.stage", desk=False, unchecked=True),
        Step("judge_rollout", "pipelines.deployment.judge", desk=False, unchecked=True),
        Step("finish_rollout", "pipelines.deployment.finish", desk=False, unchecked=True),
        Step("reconcile_aliases", "pipelines.deployment.reconcile", desk=False, unchecked=True),
    )
}


def find(name: str) -> Step:
    try:
        return STEPS[name]
    except KeyError:
        raise InvalidInput(f"step {name!r} is unknown; choose from {', '.join(STEPS)}") from None


def parse_inputs(step: Step, raw: Mapping[str, Any], calendar: Calendar) -> StepModel:
    """Check raw values against the step's `Inputs`; a day in place of an `Instant` begins in the calendar's zone.

    Raises:
        InvalidInput: naming the first value that does not fit.
    """
    try:
        return step.load().Inputs.model_validate(dict(raw), context={"calendar": calendar})
    except ValidationError as error:
        raise InvalidInput(f"{step.name}: {first_problem(error)}") from None


def execute(name: str, raw: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Run a step on JSON-able inputs and give its JSON-able outputs. Meanwhile no process removes files of the store.

    Raises:
        FlightdeckError: the error of the step, explained.
    """
    from pipelines.store import at_work

    step = find(name)
    inputs = parse_inputs(step, raw, context.calendar)
    try:
        with at_work(context.data.store):
            outputs = step.load().run(inputs, context)
    except Exception as error:
        raise failure.translate(error, context.settings.mlflow) from error
    return outputs.model_dump(mode="json")
