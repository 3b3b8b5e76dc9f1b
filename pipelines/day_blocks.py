"""A dependence block, and the one of a local day. A leaf."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from pipelines.instants import local_day, midnight


class Block(NamedTuple):
    """A dependence block: requests whose losses are not independent of each other, such as those of one local day.

    Attributes:
        name: 1 to 128 printable characters.
        closes_at: the instant (UTC) from which no further request belongs to it, the same for each of its requests.
    """

    name: str
    closes_at: datetime


def day_block(instant: datetime, timezone: str) -> Block:
    """The block of the local day of an instant: its name is the ISO date, and it closes at the next local midnight."""
    return _of_day(local_day(instant, timezone), timezone)


@lru_cache(maxsize=4096)  # asked for every request
def _of_day(day: date, timezone: str) -> Block:
    return Block(day.isoformat(), midnight(day + timedelta(days=1), timezone))
