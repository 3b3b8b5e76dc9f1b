"""From Airflow to the steps: tasks that run a step, and the window and name of a run. Imports no data library."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain, product
from typing import Any

from airflow.exceptions import AirflowTimetableInvalid
from airflow.sdk import DAG, Asset, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bounded import BoundedCronTimetable
from pipelines import failure
from pipelines.context import Context, build_context
from pipelines.errors import CheckFailed, FlightdeckError, InvalidInput, MissingData
from pipelines.instants import local, midnight
from pipelines.periods import Calendar, Period
from pipelines.roster import read_roster
from pipelines.steps import STEPS, execute
from pipelines.usecase import UseCase, calendar_of
from pipelines.usecase_import import in_one_line
from pipelines.windows import Window

DAY_PARAM: dict[str, Any] = {"type": ["null", "string"], "format": "date"}
INSTANT_PARAM: dict[str, Any] = {"type": ["null", "string"], "format": "date-time"}
Build = Callable[[str, Context], DAG]  # one of a use case's DAGs, from its params file and its context


def build_dags(*builds: Build) -> dict[str, DAG]:
    """The DAGs of every use case, by id. Those that cannot be built are left out; `problems` names them."""
    return _build_all(builds)[0]


def problems(*builds: Build) -> dict[str, str]:
    """Params file -> why it has no DAGs, or not all of them, in one line."""
    return _build_all(builds)[1]


def _build_all(builds: Sequence[Build]) -> tuple[dict[str, DAG], dict[str, str]]:
    """The DAGs and the problems. No error is raised, since it would remove the DAGs of all use cases from Airflow."""
    roster = read_roster()
    dags: dict[str, DAG] = {}
    wrong = {file: [why] for file, why in roster.refused.items()}
    for (file, context), build in product(roster.usable.items(), builds):
        try:
            dag = build(file, context)
            dag.validate()
            dags[dag.dag_id] = dag
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            why = in_one_line(error)
            if why not in wrong.setdefault(file, []):
                wrong[file].append(why)
    return dags, {file: "; ".join(why) for file, why in wrong.items()}


def dag(context: Context, part: str, what: str, schedule: Any, form: Mapping[str, Param], doc: str | None) -> DAG:
    """An empty DAG of a use case, with its name and zone, which starts with its source and does not catch up."""
    usecase = context.usecase
    return DAG(
        dag_id=f"{usecase.name}_{part}",
        description=f"{what} {usecase.name}.",
        schedule=schedule,
        start_date=local(midnight(usecase.start, usecase.timezone), usecase.timezone),
        catchup=False,
        max_active_runs=1,
        params=dict(form),
        tags=[usecase.name],
        doc_md=doc,
        default_args={"owner": "flightdeck", "retries": 1, "retry_delay": timedelta(seconds=10)},
        auto_register=False,  # a DAG file has the DAGs that it assigns, so none that failed halfway
    )


def timetable(usecase: UseCase, cron: str) -> BoundedCronTimetable:
    """Data intervals by cron in the use case's zone, until its source ends.

    Raises:
        InvalidInput: if `cron` is not valid.
    """
    until = None if usecase.end == date.max else midnight(usecase.end, usecase.timezone)
    try:
        result = BoundedCronTimetable(cron, usecase.timezone, until)
        result.validate()  # or Airflow would show the DAG without a schedule
    except AirflowTimetableInvalid as error:
        raise InvalidInput(
            f"schedules: {cron!r} is not a cron expression ({error}); give five fields, such as '0 6 * * 1'"
        ) from None
    return result


def asset(usecase: str, what: str, **options: Any) -> Asset:
    return Asset(name=f"{usecase}_{what}", uri=f"flightdeck://{usecase}/{what}", group=usecase, **options)


def window_params(usecase: UseCase) -> dict[str, Param]:
    covers = f"The data cover {usecase.start} to {usecase.end} (exclusive), days in {usecase.timezone}."
    calendar = calendar_of(usecase)
    kind, noun = (DAY_PARAM if calendar.daily else INSTANT_PARAM), calendar.noun
    return {
        "start": Param(None, **kind, title=f"First {noun}", description=f"{covers} Empty: the run's data interval."),
        "end": Param(
            None, **kind, title=f"End {noun}", description=f"The {noun} after the last. Give both or neither."
        ),
    }


def step(name: str, params_file: str, task_id: str | None = None, **options: Any) -> Any:
    """The task of a registered step. Call it with the step's inputs, or map it: `.partial(...).expand(...)`."""

    def run_step(**inputs: Any) -> dict[str, Any]:
        return run(name, inputs, params_file)

    # Airflow reads the signature, so that an unknown input fails when the DAG is parsed, and nothing else is passed.
    fields = STEPS[name].load().Inputs.model_fields
    run_step.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None) for field in fields]
    )
    return task(task_id=task_id or name, doc_md=describe_step(name), **options)(run_step)


def describe_step(name: str) -> str:
    """The documentation of a step's task on its page."""
    return f"Step `{name}` (`{STEPS[name].module}`). {STEPS[name].summary}"


def run(name: str, inputs: Mapping[str, Any], params_file: str) -> dict[str, Any]:
    """Run a step. An error that no retry can resolve fails at once; in a backfill missing days may still arrive.

    Airflow gets the error in one line, without the errors behind it, whose messages may contain a secret.
    """
    values = {key: _plain(value) for key, value in inputs.items() if value is not None}
    try:
        outputs = execute(name, values, build_context(params_file, checked=not STEPS[name].unchecked))
    except FlightdeckError as error:
        if isinstance(error, failure.Unexpected):
            print(failure.trace(error))
        may_come = isinstance(error, MissingData) and get_current_context()["dag_run"].run_type == "backfill"
        if isinstance(error, InvalidInput | CheckFailed) and not may_come:
            raise AirflowFailException(str(error)) from None
        raise error from None
    if "verdict" in outputs:
        print(f"{outputs['verdict']}: {' '.join(outputs.get('reasons', ()))}")
    if "action" in outputs:
        print(f"{outputs['action']}: {outputs['reason']}")
    return outputs


def _plain(value: Any) -> Any:
    """Results of mapped tasks arrive as lazy sequences."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def refuse_unknown(conf: Mapping[str, Any] | None, allowed: Sequence[str]) -> None:
    """Airflow accepts any key in a run's configuration; we do not."""
    unknown = sorted(set(conf or {}) - set(allowed))
    if unknown:
        raise AirflowFailException(f"unknown keys in the run's configuration: {unknown}; known are {sorted(allowed)}")


def run_name(as_of: datetime, run_id: str) -> str:
    """A name for the files of this run: the same for every retry, another for every run."""
    return f"{as_of:%Y%m%d}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def as_of_day(day: date, timezone: str) -> str:
    return midnight(day, timezone).isoformat()


def window_of_run(context: Mapping[str, Any], calendar: Calendar) -> Window:
    """The window of a run: the form's, else the periods that its data interval begins and ends in.

    Raises:
        AirflowFailException: if the form is half-filled, or a run has neither.
    """
    form = {key: context["params"].get(key) for key in ("start", "end")}
    if any(form.values()):
        if not all(form.values()):
            raise AirflowFailException(f"start is {form['start']}, end is {form['end']}; give both, or neither")
        return _window(form["start"], form["end"], calendar)
    run = context["dag_run"]
    if run.data_interval_start is None or run.data_interval_start == run.data_interval_end:
        raise AirflowFailException("this run has no data interval; give start and end in the form")
    start, end = (calendar.containing(at) for at in (run.data_interval_start, run.data_interval_end))
    return _window(start, end, calendar)


def lagging_window(context: Mapping[str, Any], usecase: UseCase, days: int) -> tuple[Window, Period]:
    """The window of a run whose labels take some days, and the period as of which they are asked for.

    A window of the form is taken as it is, and asked for so many days after its end, if they have passed. That of a
    data interval lies so many days before it, and is asked for at the interval's end.

    Raises:
        AirflowSkipException: if all of it lies before the source begins.
    """
    calendar = calendar_of(usecase)
    window = window_of_run(context, calendar)
    if any(context["params"].get(key) for key in ("start", "end")):
        day = calendar.day_of(window.end)
        day += timedelta(days + (calendar.first_of(day) != window.end))
        newest = calendar.containing(context["dag_run"].run_after)
        ended = newest if usecase.end == date.max else min(newest, calendar.first_of(usecase.end))
        return window, max(window.end, min(calendar.first_of(day), ended))
    start, end = (calendar.earlier(period, days) for period in (window.start, window.end))
    first = calendar.first_of(usecase.start)
    if end <= first:
        raise AirflowSkipException(
            f"the labels of {window} take {days} days, and {usecase.name} begins on {usecase.start}"
        )
    return window.between(max(start, first), end), window.end


def _window(start: Period | str, end: Period | str, calendar: Calendar) -> Window:
    try:
        return Window(calendar.require(start), calendar.require(end), calendar.timezone, calendar.length)
    except (InvalidInput, ValueError) as error:
        raise AirflowFailException(str(error)) from error


def events(triggering: Mapping[Any, Sequence[Any]]) -> list[dict[str, Any]]:
    """The `extra` of every asset event that started a run, oldest first."""
    return [dict(event.extra) for event in _oldest_first(triggering)]


def newest_event(triggering: Mapping[Any, Sequence[Any]]) -> dict[str, Any] | None:
    """The `extra` of the newest asset event that started a run, None where none did. The log names the others."""
    ordered = _oldest_first(triggering)
    for event in ordered[:-1]:
        print(f"passed over for a newer event: {event.asset.name} of {event.timestamp}, {event.extra}")
    return dict(ordered[-1].extra) if ordered else None


def _oldest_first(triggering: Mapping[Any, Sequence[Any]]) -> list[Any]:
    return sorted(chain.from_iterable(triggering.values()), key=lambda event: event.timestamp)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
