"""A timetable that stops: data intervals by cron, none of which ends after a given instant.

A DAG's `end_date` does that too, but Airflow 3.3 then also ends every manual run with a later logical date as a success
without running a task, and today's date is what the trigger form fills in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable


class BoundedCronTimetable(CronDataIntervalTimetable):
    """CronDataIntervalTimetable without intervals that end after `until` (an aware datetime; None: no bound)."""

    def __init__(self, cron: str, timezone: Any, until: datetime | None = None) -> None:
        super().__init__(cron, timezone=timezone)
        self.until = until

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        over = bool(info and info.data_interval and self.until and info.data_interval.end > self.until)
        return None if over else info

    def serialize(self) -> dict[str, Any]:
        return {**super().serialize(), "until": self.until.isoformat() if self.until else None}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        plain: Any = CronDataIntervalTimetable.deserialize(
            {key: value for key, value in data.items() if key != "until"}
        )
        until = datetime.fromisoformat(data["until"]) if data["until"] else None
        return cls(plain._expression, plain._timezone, until)


class BoundedTimetablePlugin(AirflowPlugin):
    name = "bounded_timetable"
    timetables = [BoundedCronTimetable]  # noqa: RUF012 - Airflow's own type
