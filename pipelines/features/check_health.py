"""Measure the health of every feature view in a window and compare it with the days before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.closed import closed_of
from pipelines.declare.views import Declared
from pipelines.periods import Period, PeriodField, name_of
from pipelines.steps import StepModel
from pipelines.verdict import Verdict

if TYPE_CHECKING:
    import duckdb

    from pipelines.artifacts.feature_report import ViewHealth, ViewReport
    from pipelines.context import Context
    from pipelines.declare.views import Feature
    from pipelines.features.health import View
    from pipelines.windows import Window


class Inputs(StepModel):
    start: PeriodField = Field(description="first local day or period in which the features were known")
    end: PeriodField = Field(description="the one after the last, exclusive")


class Outputs(StepModel):
    verdict: Verdict
    reasons: list[str]
    decision_id: str
    report_uri: str


def run(inputs: Inputs, context: Context) -> Outputs:
    """Measure, judge by the bars of params.yaml, write a report for monitoring and record the verdict.

    A view that misses a bar, or that cannot be measured, gets HOLD; the chain continues unless `features.health.stop`.

    Raises:
        CheckFailed: if a view gets HOLD and `features.health.stop` is set.
    """
    from pipelines.artifacts.feature_report import FeatureReport
    from pipelines.errors import CheckFailed
    from pipelines.features.health import engine
    from pipelines.records import Decision, DecisionKind

    window, rules, store = context.window(inputs.start, inputs.end), context.params.features.health, context.data.store
    views: dict[str, ViewReport] = {}
    bounded = {table.name: table.features for table in context.usecase.feature_tables if isinstance(table, Declared)}
    with engine(None if store.local else store.fs) as connection:
        for view in declared_views(context):
            views[view.name] = check_view(view, window, context, connection, bounded.get(view.name, ()))
    reasons = [f"{name}: {why}" for name, view in views.items() for why in view.reasons]
    verdict = Verdict.HOLD if reasons or not views else Verdict.PASS
    well = f"{len(views)} views are as healthy as before" if _open(window.periods, context) else "the window is closed"
    summary = reasons or [well if views else "there is no view"]

    span = [name_of(inputs.start), name_of(inputs.end)]
    report = FeatureReport(window=(inputs.start, inputs.end), verdict=verdict, reasons=tuple(summary), views=views)
    report_uri = context.data.uri("reports", "features", report.name)
    store.write_json(report_uri, report.as_json())
    evidence = {name: {"verdict": view.verdict, "metrics": view.metrics} for name, view in views.items()}
    decision_id = context.decisions.record(
        Decision(
            usecase=context.usecase.name,
            kind=DecisionKind.FEATURES,
            as_of=window.end_at,
            verdict=verdict,
            reasons=tuple(summary),
            subject={"window": span},
            evidence={"views": evidence, "bars": rules.model_dump(mode="json"), "report_uri": report_uri},
        )
    )
    if verdict is Verdict.HOLD and rules.stop:
        raise CheckFailed(f"features: {'; '.join(summary)} (report: {report_uri})")
    return Outputs(verdict=verdict, reasons=summary, decision_id=decision_id, report_uri=report_uri)


def declared_views(context: Context) -> list[View]:
    """The feature tables as declared to Feast; one that is not declared has no features and never expires."""
    from pipelines.features.declared import views_of
    from pipelines.features.health import View
    from pipelines.usecase import KNOWN_AT

    by_name = views_of(context.usecase)
    views = []
    for table in context.usecase.feature_tables:
        view = by_name.get(table.name)
        names = tuple(field.name for field in view.features) if view else ()
        ttl = view.ttl if view and view.ttl else timedelta(0)
        views.append(View(table.name, table.keys, names, KNOWN_AT, ttl, table.daily))
    return views


def check_view(
    view: View,
    window: Window,
    context: Context,
    connection: duckdb.DuckDBPyConnection,
    declared: Sequence[Feature] = (),
) -> ViewReport:
    """The report on a view, with its verdict and reasons; a failure to measure it is a reason for HOLD."""
    import duckdb

    from pipelines.artifacts.feature_report import ViewReport
    from pipelines.errors import FlightdeckError, MissingData
    from pipelines.features.health import judge, measure

    rules = context.params.features.health
    if not view.features:
        return _hold("it is not declared to Feast under this name; declare it")
    if view.dated and not _open(window.periods, context):
        return ViewReport(metrics={}, verdict=Verdict.PASS, reasons=())
    try:
        now, before, newest = partitions(view, window, context)
        health = measure(connection, view, now, before, window.end_at, newest)
    except MissingData as error:
        return _hold(str(error))
    except (FlightdeckError, duckdb.Error) as error:
        return _hold(f"it could not be measured: {' '.join(str(error).split())}")
    verdict, reasons = judge(health, rules.bars_of(view.name))
    beyond = [*beyond_declared(health, declared)]
    return ViewReport.of(health, Verdict.HOLD if beyond else verdict, reasons + beyond)


def beyond_declared(health: ViewHealth, declared: Sequence[Feature]) -> Iterator[str]:
    """The features whose values leave the bounds that follow from what they are: a share is none above 1."""
    for feature in declared:
        seen = health.features.get(feature.name)
        if seen is None or seen.min is None or seen.max is None:
            continue
        said = f"by its declaration ({feature.means})"
        if feature.low is not None and seen.min < feature.low:
            yield f"{feature.name} is {seen.min:g}, and {said} at least {feature.low:g}"
        if feature.high is not None and seen.max > feature.high:
            yield f"{feature.name} is {seen.max:g}, and {said} at most {feature.high:g}"


def _hold(why: str) -> ViewReport:
    """The report on a view that could not be measured."""
    from pipelines.artifacts.feature_report import ViewReport

    return ViewReport(metrics={}, verdict=Verdict.HOLD, reasons=(why,))


def partitions(view: View, window: Window, context: Context) -> tuple[list[str], list[str], list[str]]:
    """The view's partitions on open days in the window and in the reference days before it; and all of both.

    Raises:
        MissingData: if a period of the window has no partition.
    """
    from pipelines.errors import MissingData

    data = context.data
    if not view.dated:
        single = data.partition("features", view.name, None)
        if not data.store.exists(single):
            raise MissingData("it is not built; build the features")
        return [single], [], [single]
    available = data.periods("features", view.name)
    if lacking := sorted(set(window.periods) - set(available)):
        noun = window.calendar.noun
        raise MissingData(f"it lacks {len(lacking)} of the window's {noun}s (first: {lacking[0]}); build the features")
    first = window.calendar.back(window.start, context.params.features.health.reference_days)
    before = [period for period in available if first <= period < window.start]
    chosen = (_open(window.periods, context), _open(before, context), [*window.periods, *before])
    now, then, every = ([data.partition("features", view.name, one) for one in some] for some in chosen)
    return now, then, every


def _open(periods: Sequence[Period], context: Context) -> list[Period]:
    """The periods of days that are not closed: on those there may be rows or not."""
    closed, calendar = closed_of(context.usecase), context.calendar
    return [period for period in periods if not closed.on(calendar.day_of(period))]
