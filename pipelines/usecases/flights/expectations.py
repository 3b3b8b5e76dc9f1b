"""What the raw tables must look like: critical stops the run, quarantine takes the rows out, warning reports."""

from __future__ import annotations

from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

CARRIERS = r"^[A-Z0-9]{2}$"
AIRPORT = r"^[A-Z0-9]{3}$"
ORIGINS = ["EWR", "JFK", "LGA"]


def quarantine(reason: str) -> dict[str, Any]:
    return {"severity": "quarantine", "reason": reason}


CRITICAL = {"severity": "critical"}
WARNING = {"severity": "warning"}

SUITES: dict[str, list[Expectation]] = {
    "flights": [
        gxe.ExpectTableRowCountToBeBetween(min_value=300, meta=CRITICAL),  # the quietest day has 634
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["local_day", "carrier", "flight", "origin", "dest", "sched_dep_time"],
            meta=quarantine("duplicate"),
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="time_hour", meta=quarantine("no_schedule")),
        gxe.ExpectColumnValuesToNotBeNull(column="sched_arr_time", meta=quarantine("no_schedule")),
        gxe.ExpectColumnValuesToNotBeNull(column="carrier", meta=quarantine("no_carrier")),
        gxe.ExpectColumnValuesToMatchRegex(column="carrier", regex=CARRIERS, meta=quarantine("bad_carrier")),
        gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=ORIGINS, meta=quarantine("unknown_origin")),
        gxe.ExpectColumnValuesToMatchRegex(column="dest", regex=AIRPORT, meta=quarantine("bad_dest")),
        gxe.ExpectColumnValuesToBeBetween(
            column="distance", min_value=50, max_value=5500, meta=quarantine("bad_distance")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="dep_delay", min_value=-120, max_value=1440, meta=quarantine("bad_dep_delay")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="arr_delay", min_value=-180, max_value=1440, meta=quarantine("bad_arr_delay")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="air_time", min_value=10, max_value=900, meta=quarantine("bad_air_time")
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="arr_delay", mostly=0.75, meta=WARNING),
        gxe.ExpectColumnValuesToNotBeNull(column="tailnum", mostly=0.95, meta=WARNING),
    ],
    "weather": [
        gxe.ExpectTableRowCountToBeBetween(min_value=24, meta=WARNING),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["origin", "time_hour"], meta=quarantine("duplicate")),
        gxe.ExpectColumnValuesToNotBeNull(column="time_hour", meta=quarantine("no_time")),
        gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=ORIGINS, meta=quarantine("unknown_origin")),
        gxe.ExpectColumnValuesToBeBetween(column="temp", min_value=-40, max_value=130, meta=quarantine("bad_temp")),
        gxe.ExpectColumnValuesToBeBetween(column="wind_speed", min_value=0, max_value=150, meta=quarantine("bad_wind")),
        gxe.ExpectColumnValuesToBeBetween(column="visib", min_value=0, max_value=10, meta=quarantine("bad_visib")),
    ],
    "planes": [
        gxe.ExpectTableRowCountToBeBetween(min_value=1000, meta=CRITICAL),
        gxe.ExpectColumnValuesToBeUnique(column="tailnum", meta=CRITICAL),
        gxe.ExpectColumnValuesToNotBeNull(column="tailnum", meta=CRITICAL),
        gxe.ExpectColumnValuesToBeBetween(column="seats", min_value=1, max_value=600, meta=quarantine("bad_seats")),
    ],
    "airports": [
        gxe.ExpectTableRowCountToBeBetween(min_value=100, meta=CRITICAL),
        gxe.ExpectColumnValuesToBeUnique(column="faa", meta=CRITICAL),
        gxe.ExpectColumnValuesToMatchRegex(column="faa", regex=AIRPORT, meta=CRITICAL),
    ],
}
