"""Expectations of the raw tables: critical ones stop the run, others quarantine rows or warn."""

from __future__ import annotations

from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from pipelines.usecases.flights.columns import ZONE
from pipelines.usecases.flights.rules import ExpectClockTimes, ExpectClockTimesToFitDelays
from pipelines.validation.distribution import ExpectDistributionToBeStable
from pipelines.validation.expectations import (
    ExpectInstantsToFitLocalTime,
    ExpectPresenceToImply,
    ExpectQuotientsToBeBetween,
    ExpectWeightedSumsToEqual,
)
from pipelines.validation.queries import (
    ExpectColumnTypes,
    ExpectKeysToBeUnique,
    ExpectNumbersToBeFinite,
    ExpectPeriodRowCountsToBeBetween,
    ExpectPeriodsToReachTheirEnd,
    ExpectValuesToBeKnown,
)

CARRIER = r"^[A-Z0-9]{2}\Z"
AIRPORT = r"^[A-Z0-9]{3}\Z"
TAIL = r"^[A-Z0-9]{2,6}\Z"
ORIGINS = ["EWR", "JFK", "LGA"]
UNLISTED = ("BQN", "PSE", "SJU", "STT")  # in the Caribbean; the airports of the source do not have them
CALENDAR = {"timezone": ZONE, "parts": ["year", "month", "day", "hour"]}
INTEGER, DOUBLE, TEXT, INSTANT = "INTEGER", "DOUBLE", "VARCHAR", "TIMESTAMP WITH TIME ZONE"


def quarantine(reason: str) -> dict[str, Any]:
    return {"severity": "quarantine", "reason": reason}


def warning(reason: str) -> dict[str, Any]:
    return {"severity": "warning", "reason": reason}


def present(*columns: str, reason: str) -> list[Expectation]:
    return [gxe.ExpectColumnValuesToNotBeNull(column=column, meta=quarantine(reason)) for column in columns]


def between(column: str, low: float, high: float, reason: str) -> Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, meta=quarantine(reason))


def like(column: str, regex: str, reason: str) -> Expectation:
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex, meta=quarantine(reason))


def short(*columns: str) -> list[Expectation]:
    return [gxe.ExpectColumnValueLengthsToBeBetween(column=c, max_value=100, meta=quarantine("long")) for c in columns]


CRITICAL = {"severity": "critical"}

FLIGHTS: list[Expectation] = [
    ExpectColumnTypes(
        types={
            **dict.fromkeys(("year", "month", "day", "hour", "minute", "flight", "distance", "air_time"), INTEGER),
            **dict.fromkeys(("sched_dep_time", "dep_time", "dep_delay"), INTEGER),
            **dict.fromkeys(("sched_arr_time", "arr_time", "arr_delay"), INTEGER),
            **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), TEXT),
            "time_hour": INSTANT,
        },
        meta=CRITICAL,
    ),
    ExpectPeriodRowCountsToBeBetween(min_value=300, meta=CRITICAL),  # the quietest day has 634
    ExpectPeriodRowCountsToBeBetween(max_value=1500, meta=warning("volume")),  # the busiest has 1,014
    ExpectPeriodsToReachTheirEnd(column="time_hour", hours=4, meta=warning("stale")),
    ExpectKeysToBeUnique(
        column_list=["time_hour", "minute", "carrier", "flight", "origin", "dest"], meta=quarantine("duplicate")
    ),
    *present("time_hour", "sched_dep_time", "sched_arr_time", "hour", "minute", reason="no_schedule"),
    *present("year", "month", "day", reason="no_schedule"),
    *present("flight", reason="no_flight"),
    *present("carrier", reason="no_carrier"),
    *present("origin", reason="unknown_origin"),
    *present("dest", reason="bad_dest"),
    *present("distance", reason="bad_distance"),
    like("carrier", CARRIER, "bad_carrier"),
    like("dest", AIRPORT, "bad_dest"),
    like("tailnum", TAIL, "bad_tailnum"),
    gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=ORIGINS, meta=quarantine("unknown_origin")),
    between("distance", 50, 5500, "bad_distance"),
    between("dep_delay", -120, 1440, "bad_dep_delay"),
    between("arr_delay", -180, 1440, "bad_arr_delay"),
    between("air_time", 10, 900, "bad_air_time"),
    between("minute", 0, 59, "bad_clock"),
    ExpectClockTimes(
        column_list=["sched_dep_time", "dep_time", "sched_arr_time", "arr_time"], meta=quarantine("bad_clock")
    ),
    ExpectWeightedSumsToEqual(
        column_list=["sched_dep_time", "hour", "minute"], weights=[100, 1], meta=quarantine("bad_clock")
    ),
    ExpectInstantsToFitLocalTime(
        column_list=["time_hour", "year", "month", "day", "hour"], **CALENDAR, meta=quarantine("wrong_zone")
    ),
    ExpectPresenceToImply(column_list=["dep_time", "dep_delay"], meta=quarantine("no_departure")),
    ExpectPresenceToImply(column_list=["arr_time", "dep_time"], meta=quarantine("no_departure")),
    ExpectPresenceToImply(column_list=["arr_delay", "arr_time", "air_time"], meta=quarantine("no_arrival")),
    ExpectClockTimesToFitDelays(
        column_list=["sched_dep_time", "dep_time", "dep_delay"], meta=quarantine("dep_delay_misfit")
    ),
    ExpectClockTimesToFitDelays(
        column_list=["sched_arr_time", "arr_time", "arr_delay"], meta=quarantine("arr_delay_misfit")
    ),
    ExpectQuotientsToBeBetween(  # miles an hour; seen: 77 to 703
        column_list=["distance", "air_time"], scale=60, min_value=50, max_value=750, meta=quarantine("bad_speed")
    ),
    ExpectValuesToBeKnown(
        column="dest", table="airports", known_in="faa", allowed=UNLISTED, meta=quarantine("unknown_dest")
    ),
    ExpectValuesToBeKnown(column="origin", table="airports", known_in="faa", meta=quarantine("unknown_origin")),
    ExpectValuesToBeKnown(
        column="tailnum", table="planes", known_in="tailnum", mostly=0.7, meta=warning("unknown_aircraft")
    ),
    gxe.ExpectColumnValuesToNotBeNull(column="arr_delay", mostly=0.75, meta=warning("cancelled")),
    gxe.ExpectColumnValuesToNotBeNull(column="tailnum", mostly=0.95, meta=warning("no_tailnum")),
    ExpectDistributionToBeStable(column="distance", meta=warning("drift")),
    ExpectDistributionToBeStable(column="hour", meta=warning("drift")),
    ExpectDistributionToBeStable(column="carrier", meta=warning("drift")),
]

WEATHER: list[Expectation] = [
    ExpectColumnTypes(
        types={
            **dict.fromkeys(("year", "month", "day", "hour"), INTEGER),
            **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), DOUBLE),
            **dict.fromkeys(("precip", "pressure", "visib"), DOUBLE),
            "origin": TEXT,
            "time_hour": INSTANT,
        },
        meta=CRITICAL,
    ),
    ExpectPeriodRowCountsToBeBetween(min_value=48, max_value=75, meta=warning("volume")),  # 3 places, 24 or 25 hours
    ExpectPeriodsToReachTheirEnd(column="time_hour", hours=8, meta=warning("stale")),
    ExpectKeysToBeUnique(column_list=["origin", "time_hour"], meta=quarantine("duplicate")),
    *present("time_hour", "year", "month", "day", "hour", reason="no_time"),
    *present("origin", reason="unknown_origin"),
    gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=ORIGINS, meta=quarantine("unknown_origin")),
    ExpectValuesToBeKnown(column="origin", table="airports", known_in="faa", meta=quarantine("unknown_origin")),
    ExpectInstantsToFitLocalTime(
        column_list=["time_hour", "year", "month", "day", "hour"], **CALENDAR, meta=quarantine("wrong_zone")
    ),
    ExpectNumbersToBeFinite(
        column_list=["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"],
        meta=quarantine("not_finite"),
    ),
    between("temp", -40, 130, "bad_temp"),
    between("dewp", -60, 100, "bad_temp"),
    between("humid", 0, 100, "bad_humid"),
    between("wind_dir", 0, 360, "bad_wind"),
    between("wind_speed", 0, 150, "bad_wind"),
    between("wind_gust", 0, 200, "bad_wind"),
    between("precip", 0, 10, "bad_precip"),
    between("pressure", 850, 1100, "bad_pressure"),
    between("visib", 0, 10, "bad_visib"),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A="temp",
        column_B="dewp",
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        meta=quarantine("bad_temp"),
    ),
    gxe.ExpectColumnValuesToNotBeNull(column="temp", mostly=0.95, meta=warning("no_temp")),
]

PLANES: list[Expectation] = [
    ExpectColumnTypes(
        types={
            **dict.fromkeys(("year", "engines", "seats", "speed"), INTEGER),
            **dict.fromkeys(("tailnum", "type", "manufacturer", "model", "engine"), TEXT),
        },
        meta=CRITICAL,
    ),
    gxe.ExpectTableRowCountToBeBetween(min_value=1000, meta=CRITICAL),
    gxe.ExpectColumnValuesToNotBeNull(column="tailnum", meta=CRITICAL),
    gxe.ExpectColumnValuesToBeUnique(column="tailnum", meta=CRITICAL),
    like("tailnum", TAIL, "bad_tailnum"),
    between("year", 1920, 2100, "bad_year"),
    between("seats", 1, 600, "bad_seats"),
    between("engines", 1, 8, "bad_engines"),
    *short("type", "manufacturer", "model", "engine"),
    gxe.ExpectColumnValuesToNotBeNull(column="year", mostly=0.9, meta=warning("no_year")),
]

AIRPORTS: list[Expectation] = [
    ExpectColumnTypes(
        types={
            **dict.fromkeys(("lat", "lon"), DOUBLE),
            **dict.fromkeys(("alt", "tz"), INTEGER),
            **dict.fromkeys(("faa", "name", "dst", "tzone"), TEXT),
        },
        meta=CRITICAL,
    ),
    gxe.ExpectTableRowCountToBeBetween(min_value=100, meta=CRITICAL),
    gxe.ExpectColumnValuesToNotBeNull(column="faa", meta=CRITICAL),
    gxe.ExpectColumnValuesToBeUnique(column="faa", meta=CRITICAL),
    gxe.ExpectColumnValuesToMatchRegex(column="faa", regex=AIRPORT, meta=CRITICAL),
    ExpectNumbersToBeFinite(column_list=["lat", "lon"], meta=quarantine("not_finite")),
    between("lat", -90, 90, "bad_place"),
    between("lon", -180, 180, "bad_place"),
    gxe.ExpectColumnValuesToBeInSet(column="dst", value_set=["A", "N", "U"], meta=quarantine("bad_dst")),
    gxe.ExpectColumnValuesToMatchRegex(
        column="tzone", regex=r"^[A-Za-z_]{1,20}/[A-Za-z_]{1,30}\Z", meta=quarantine("bad_zone")
    ),
    *short("name"),
]

SUITES = {"flights": FLIGHTS, "weather": WEATHER, "planes": PLANES, "airports": AIRPORTS}
