"""The request: what a client may send, and the features that rest on it alone, the same in training and serving."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, field_validator, model_validator

ZONE = "America/New_York"
ORIGINS = ("EWR", "JFK", "LGA")
LONGEST = timedelta(hours=24)

Moment = Annotated[
    AwareDatetime,
    Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2100, 1, 1, tzinfo=UTC)),
    AfterValidator(lambda moment: moment.astimezone(UTC)),
]


class FlightRequest(BaseModel):
    """One scheduled flight. A carrier, aircraft or destination that nothing is known of is no error: it is unknown."""

    carrier: str = Field(pattern=r"^[A-Z0-9]{2,3}$", description="airline code, such as UA")
    flight: int | None = Field(None, ge=1, le=9999, description="flight number")
    origin: str = Field(description="EWR, JFK or LGA")
    dest: str = Field(pattern=r"^[A-Z]{3}$", description="airport code, such as SFO")
    tailnum: str | None = Field(None, pattern=r"^[A-Z0-9]{2,8}$", description="registration of the aircraft")
    sched_dep_at: Moment
    sched_arr_at: Moment
    distance: float = Field(gt=0, le=15_000, description="miles")

    @field_validator("origin")
    @classmethod
    def _known_origin(cls, origin: str) -> str:
        if origin not in ORIGINS:
            raise ValueError(f"no flight from there can be predicted; choose from {', '.join(ORIGINS)}")
        return origin

    @model_validator(mode="after")
    def _lands_later(self) -> Self:
        if not self.sched_dep_at < self.sched_arr_at <= self.sched_dep_at + LONGEST:
            raise ValueError("sched_arr_at must lie after sched_dep_at, by at most 24 hours; correct one of them")
        return self


def split_key(request: Mapping[str, Any]) -> str:
    """The flight by its number, else the aircraft, else the carrier on its route."""
    if request.get("flight") is not None:
        return f"{request['carrier']}{request['flight']}"
    return request.get("tailnum") or f"{request['carrier']}:{request['origin']}-{request['dest']}"


def block(request: Mapping[str, Any]) -> date:
    """The local day of departure."""
    departs: datetime = request["sched_dep_at"]
    return departs.astimezone(ZoneInfo(ZONE)).date()


def request_features(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with dep_minute, dep_hour, dep_weekday (local, at origin) and scheduled_minutes, and sched_hour.

    The last is the key of the schedule's hours: dep_hour as two digits.

    Needs `sched_dep_at` and `sched_arr_at` (UTC). Works row by row: no row bears on another.
    """
    local = frame["sched_dep_at"].dt.tz_convert(ZONE)
    return frame.assign(
        dep_minute=(local.dt.hour * 60 + local.dt.minute).astype("float32"),
        dep_hour=local.dt.hour.astype("float32"),
        sched_hour=local.dt.strftime("%H"),
        dep_weekday=local.dt.weekday.astype("float32"),
        scheduled_minutes=((frame["sched_arr_at"] - frame["sched_dep_at"]).dt.total_seconds() / 60).astype("float32"),
    )
