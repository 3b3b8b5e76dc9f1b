"""The DAG files: what they declare, what they import, and that they hold every registered step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.configuration import load_params
from pipelines.instants import midnight
from pipelines.params.training import FAMILIES
from pipelines.periods import Calendar
from tests.conftest import ROOT, TOY

FLIGHTS = ROOT / "params.yaml"
HEAVY = {
    "pandas",
    "numpy",
    "pyarrow",
    "duckdb",
    "sklearn",
    "torch",
    "mlflow",
    "feast",
    "great_expectations",
    "evidently",
}
HEAVY |= {"onnx", "onnxruntime", "dvc"}
PARTS = ("data", "training", "monitoring", "deployment", "override")
Load = Callable[..., Any]


def test_every_use_case_gets_its_own_dags(load: Load) -> None:
    bag = load(FLIGHTS, TOY)
    assert set(bag.dags) == {f"{name}_{part}" for name in ("flights", "pumps") for part in PARTS}
    for dag_id, dag in bag.dags.items():
        assert dag.tags == {dag_id.split("_")[0]}
        for other in {"flights", "pumps"} - dag.tags:
            assert other not in json.dumps([asset.uri for task in dag.tasks for asset in task.outlets])


def test_forms_are_typed_and_described(load: Load) -> None:
    for dag in load(FLIGHTS).dags.values():
        for name in dag.params:
            schema = dag.params.get_param(name).schema
            assert {"type", "title"} <= set(schema), (dag.dag_id, name)
            assert dag.params.get_param(name).description, (dag.dag_id, name)
    training = load(FLIGHTS).dags["flights_training"].params
    assert training.get_param("families").schema["items"]["enum"] == [*FAMILIES]
    services = training.get_param("feature_service")
    assert services.schema["enum"] == ["flight_delay_v1", "flight_delay_v2", "flight_delay_v3"]
    assert services.value == load_params(FLIGHTS).features.service
    for name, unknown in (("families", ["prophet"]), ("feature_service", "flight_delay_v9")):
        with pytest.raises(Exception, match="is not one of"):
            training.get_param(name).resolve(unknown)
    with pytest.raises(Exception, match="less than the minimum"):
        training.get_param("trials").resolve(0)


def test_monitoring_checks_the_model_against_its_registered_sha256(load: Load) -> None:
    dag = load(TOY).dags["pumps_monitoring"]
    for name in ("score", "report_drift"):
        given = dag.get_task(name).op_kwargs["model_sha256"]
        assert (given.operator.task_id, given.key) == ("find_model", "sha256")


def test_schedules_come_from_the_params(load: Load) -> None:
    bag = load(FLIGHTS)
    assert bag.dags["flights_data"].schedule._expression == "0 0 * * *"
    assert bag.dags["flights_data"].timezone.name == "America/New_York"
    assert {dag.catchup for dag in bag.dags.values()} == {False}
    assert {dag.end_date for dag in bag.dags.values()} == {None}  # see plugins/bounded.py


def test_parsing_imports_no_data_or_ml_library() -> None:
    """In a fresh process, compared with what Airflow's parser alone imports."""
    script = """
import json, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../plugins"]
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk, pydantic, pydantic_settings, yaml
before = set(sys.modules)
started = time.perf_counter()
bag = DagBag(sys.argv[1])
seconds = time.perf_counter() - started
brought = {name.partition(".")[0] for name in set(sys.modules) - before}
stats = {stat.file: round(stat.duration.total_seconds(), 3) for stat in bag.dagbag_stats}
print(json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags), "brought": sorted(brought), "stats": stats}))
"""
    env = {**os.environ, "FLIGHTDECK_PARAMS": str(FLIGHTS), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "dags")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    print("parse seconds by file:", seen["stats"])
    assert not seen["errors"] and len(seen["dags"]) == len(PARTS)
    assert not HEAVY & set(seen["brought"])


def test_unknown_keys_of_a_run_are_refused() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    import bridge

    bridge.refuse_unknown({"start": 1}, ["start", "end"])
    bridge.refuse_unknown(None, ["start"])
    with pytest.raises(AirflowFailException, match=r"unknown keys .*\['stat'\]; known are \['end', 'start'\]"):
        bridge.refuse_unknown({"stat": 1}, ["start", "end"])


def run_with(params: dict[str, Any], interval: tuple[datetime, datetime] | None = None) -> dict[str, Any]:
    start, end = interval or (None, None)
    run = SimpleNamespace(data_interval_start=start, data_interval_end=end, run_after=datetime(2014, 6, 1, tzinfo=UTC))
    return {"params": params, "dag_run": run}


def test_windows_come_from_the_form_or_the_data_interval() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    import bridge

    calendar = Calendar("America/New_York")
    interval = (datetime(2013, 3, 10, 5, tzinfo=UTC), datetime(2013, 3, 11, 4, tzinfo=UTC))
    form = {"start": "2013-01-01", "end": "2013-02-01"}
    assert str(bridge.window_of_run(run_with({}, interval), calendar).start) == "2013-03-10"
    assert bridge.window_of_run(run_with({}, interval), calendar).end_at == interval[1]
    assert str(bridge.window_of_run(run_with(form, interval), calendar).end) == "2013-02-01"
    for params, message in (
        ({}, "no data interval; give start and end"),
        ({"start": "2013-01-01"}, "give both, or neither"),
        ({"start": "2013-02-01", "end": "2013-01-01"}, "holds no day"),
    ):
        with pytest.raises(AirflowFailException, match=message):
            bridge.window_of_run(run_with(params), calendar)
    hours = Calendar("America/New_York", timedelta(hours=1))
    form = {"start": "2013-03-10", "end": "2013-03-10T04:00:00-04:00"}
    spring = bridge.window_of_run(run_with(form), hours)
    assert (spring.start_at, len(spring.periods)) == (interval[0], 3), (
        "one of the four hours was skipped by the clock change"
    )
    hour = (datetime(2013, 11, 3, 5, tzinfo=UTC), datetime(2013, 11, 3, 6, tzinfo=UTC))
    assert bridge.window_of_run(run_with({}, hour), hours).periods == [hour[0]]
    with pytest.raises(AirflowFailException, match="no period begins at 2013-03-10T02:00"):
        bridge.window_of_run(run_with({**form, "end": "2013-03-10T02:00"}), hours)
    with pytest.raises(AirflowFailException, match="no data interval"):  # a manual run's is an instant
        bridge.window_of_run(run_with({}, (interval[0], interval[0])), calendar)


def test_the_monitoring_window_precedes_its_interval_by_the_label_delay() -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    import bridge

    usecase: Any = SimpleNamespace(
        name="late", timezone="America/New_York", start=date(2013, 1, 1), end=date(2014, 1, 1), tables=()
    )

    def lagging(first: str, after: str, days: int, **form: str) -> tuple[str, str]:
        days_of = [midnight(date.fromisoformat(day), usecase.timezone) for day in (first, after)]
        window, as_of = bridge.lagging_window(run_with(form, (days_of[0], days_of[1])), usecase, days)
        return str(window), str(as_of)

    # clocks change on the 10th
    assert lagging("2013-03-11", "2013-03-18", 2) == ("2013-03-09 to 2013-03-16", "2013-03-18")
    # not before the source
    assert lagging("2013-01-28", "2013-02-04", 30) == ("2013-01-01 to 2013-01-05", "2013-02-04")
    with pytest.raises(AirflowSkipException, match="take 30 days, and late begins on 2013-01-01"):
        lagging("2013-01-21", "2013-01-28", 30)
    form = {"start": "2013-03-01", "end": "2013-04-01"}  # as the form gives it
    assert lagging("2013-06-01", "2013-06-08", 30, **form) == ("2013-03-01 to 2013-04-01", "2013-05-01")
    late = {"start": "2013-12-01", "end": "2013-12-20"}
    assert lagging("2013-06-01", "2013-06-08", 30, **late)[1] == "2014-01-01", "the source has no more days"
    usecase.end = date.max
    soon = {"start": "2014-05-01", "end": "2014-05-20"}
    assert lagging("2013-06-01", "2013-06-08", 30, **soon)[1] == "2014-05-31", "not in the future, seen from New York"
    usecase.period = timedelta(hours=1)
    assert lagging("2013-03-11", "2013-03-12", 1)[1] == "2013-03-12 04:00:00+00:00"
    for end, days, as_of in (("T06:00", 1, "03-07"), ("T06:00", 0, "03-06"), ("", 0, "03-05"), ("", 2, "03-07")):
        form = {"start": "2013-03-04", "end": f"2013-03-05{end}"}
        assert lagging("2013-03-11", "2013-03-12", days, **form)[1] == f"2013-{as_of} 05:00:00+00:00", (end, days)


def test_the_newest_of_several_asset_events_counts() -> None:
    import bridge

    def event(hour: int) -> Any:
        moment = datetime(2013, 1, 1, hour, tzinfo=UTC)
        return SimpleNamespace(timestamp=moment, extra={"as_of": hour}, asset=SimpleNamespace(name="features"))

    triggering = {"features": [event(3), event(1)], "retrain": [event(2)]}
    assert bridge.newest_event(triggering) == {"as_of": 3} and bridge.newest_event({}) is None
    assert bridge.events(triggering) == [{"as_of": 1}, {"as_of": 2}, {"as_of": 3}] and bridge.events({}) == []


def test_retries_of_a_run_share_its_name() -> None:
    import bridge

    as_of = datetime(2013, 9, 1, 4, tzinfo=UTC)
    assert bridge.run_name(as_of, "manual__1") == bridge.run_name(as_of, "manual__1")
    assert bridge.run_name(as_of, "manual__1").startswith("20130901-")
    assert bridge.run_name(as_of, "manual__1") != bridge.run_name(as_of, "manual__2")
