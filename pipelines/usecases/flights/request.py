"""The request: its model, and the features that derive from it alone, the same in training and serving."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from pipelines.fields import WHOLE, Instant
from pipelines.instants.arrow import local_times
from pipelines.usecase import Block, Columns, Request, day_block
from pipelines.usecases.flights.columns import ZONE

DAY = 24 * 60  # minutes
HOURS = np.array([f"{hour:02}" for hour in range(24)], dtype=object)
THURSDAY = 3  # the weekday of 1970-01-01


class FlightRequest(BaseModel):
    """One scheduled flight. A carrier, aircraft or destination without history is accepted, as an unknown one.

    No rule involves two fields, since JSON Schema could not express it.
    """

    carrier: str = Field(pattern=r"^[A-Z0-9]{2,3}$", description="airline code", examples=["B6"])
    flight: Annotated[int, Field(ge=1, le=9999), WHOLE] | None = Field(None, description="flight number", examples=[23])
    origin: Literal["EWR", "JFK", "LGA"] = Field(description="no flight from elsewhere can be predicted")
    dest: str = Field(pattern=r"^[A-Z]{3}$", description="airport code", examples=["LAX"])
    tailnum: str | None = Field(
        None, pattern=r"^[A-Z0-9]{2,8}$", description="registration of the aircraft", examples=["N709JB"]
    )
    sched_dep_at: Instant = Field(description="scheduled departure", examples=["2013-11-05T18:00:00Z"])
    scheduled_minutes: float = Field(gt=0, le=DAY, description="from departure to arrival", examples=[375])
    distance: float = Field(gt=0, le=15_000, description="miles", examples=[2475])


def split_key(request: Request) -> str:
    """The flight number, or else the aircraft, or else the carrier on its route."""
    if request.get("flight") is not None:
        return f"{request['carrier']}{request['flight']}"
    return request.get("tailnum") or f"{request['carrier']}:{request['origin']}-{request['dest']}"


def block(request: Request) -> Block:
    """The local day of departure."""
    departs: datetime = request["sched_dep_at"]
    return day_block(departs, ZONE)


def request_features(columns: Columns) -> Columns:
    """dep_minute, dep_hour and dep_weekday (local, at origin) from `sched_dep_at`, float32, and sched_hour.

    `sched_hour` is the key of the schedule's hours: dep_hour as two digits.
    """
    local = local_times(columns["sched_dep_at"], ZONE)
    day = local.astype("datetime64[D]")
    minute = (local - day) // np.timedelta64(1, "m")
    return {
        "dep_minute": minute.astype(np.float32),
        "dep_hour": (minute // 60).astype(np.float32),
        "sched_hour": HOURS[minute // 60],
        "dep_weekday": ((day.astype(np.int64) + THURSDAY) % 7).astype(np.float32),
    }
