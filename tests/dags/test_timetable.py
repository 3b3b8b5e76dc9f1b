"""Scheduled runs stop where the source ends, and manual runs do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pendulum
import pytest

from tests.conftest import ROOT
from tests.services import thorough


@pytest.mark.parametrize(
    ("dag", "intervals", "last"), [("flights_data", 365, "2014-01-01"), ("flights_monitoring", 51, "2013-12-30")]
)
def test_every_interval_of_the_source_is_scheduled_and_no_later_one(
    load: Callable[..., Any], dag: str, intervals: int, last: str
) -> None:
    from airflow.timetables.base import TimeRestriction

    timetable = load(ROOT / "params.yaml").dags[dag].schedule
    restriction = TimeRestriction(earliest=pendulum.datetime(2013, 1, 1, 5), latest=None, catchup=True)
    scheduled, interval = [], None
    while info := timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction):
        interval = info.data_interval
        scheduled.append(interval)
    assert len(scheduled) == intervals
    assert scheduled[-1].end.in_timezone("America/New_York").to_date_string() == last


def test_nothing_starts_by_itself_today(load: Callable[..., Any]) -> None:
    from airflow.timetables.base import TimeRestriction

    today = TimeRestriction(earliest=pendulum.datetime(2013, 1, 1, 5), latest=None, catchup=False)
    timetable = load(ROOT / "params.yaml").dags["flights_data"].schedule
    assert timetable.next_dagrun_info(last_automated_data_interval=None, restriction=today) is None


def test_the_timetable_survives_serialization(load: Callable[..., Any]) -> None:
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable

    dags = load(ROOT / "params.yaml").dags
    for dag in (dags[f"flights_{part}"] for part in ("data", "training", "monitoring")):
        again = decode_timetable(encode_timetable(dag.schedule))
        inner: Any = getattr(dag.schedule, "timetable", dag.schedule)
        restored: Any = getattr(again, "timetable", again)
        assert (restored.until, restored.summary) == (inner.until, inner.summary)


@thorough
def test_a_manual_run_of_today_runs_its_tasks(load: Callable[..., Any]) -> None:
    """As the trigger form posts it: with the current time as logical date, long after the source has ended."""
    from datetime import UTC, datetime

    dags = load().dags
    run = dags["pumps_data"].test(
        run_conf={"start": "2024-03-01", "end": "2024-03-03"}, logical_date=datetime(2030, 1, 1, tzinfo=UTC)
    )
    assert run.state == "success"
    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert states["check_parity"] == "success" and states["announce_features"] == "skipped"
