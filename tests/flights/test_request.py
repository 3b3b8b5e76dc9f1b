"""Requests about flights: what cannot be predicted is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.serving.schemas import Refusal, prediction_envelope
from pipelines.usecases.flights import USECASE

ENVELOPE = prediction_envelope(USECASE, 5000)
SENT: dict[str, Any] = {
    "carrier": "UA",
    "flight": 1545,
    "origin": "EWR",
    "dest": "IAH",
    "tailnum": "N14228",
    "sched_dep_at": "2013-01-01T10:15:00+00:00",
    "scheduled_minutes": 244,
    "distance": 1400,
}


def parse(**changes: Any) -> Any:
    return ENVELOPE.parse(json.dumps({**SENT, **changes}).encode())[0]


def test_the_split_key_has_a_fallback_without_a_tail_number() -> None:
    assert USECASE.split_key(parse().model_dump()) == "UA1545"
    assert USECASE.split_key(parse(flight=None).model_dump()) == "N14228"
    assert USECASE.split_key(parse(flight=None, tailnum=None).model_dump()) == "UA:EWR-IAH"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert ENVELOPE.parse(json.dumps(SENT).replace("1545", "1545.0").encode())[0].flight == 1545


def test_an_instant_is_read_in_any_zone() -> None:
    request = parse(sched_dep_at="2013-01-01T05:15:00-05:00")
    assert request.sched_dep_at == datetime(2013, 1, 1, 10, 15, tzinfo=UTC) and request.sched_dep_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"origin": "SFO"}, "origin: should be 'EWR', 'JFK' or 'LGA' (got 'SFO')"),
        ({"dest": "iah"}, "dest: "),
        ({"scheduled_minutes": 0}, "scheduled_minutes: should be greater than 0"),
        ({"scheduled_minutes": 1440.5}, "scheduled_minutes: should be less than or equal to 1440"),
        ({"sched_arr_at": "2013-01-01T14:19:00Z"}, "sched_arr_at: unknown key"),
        ({"sched_dep_at": "2013-02-29T10:15:00Z"}, "sched_dep_at: should be an instant of the years 2000 to 2099"),
        ({"distance": 0}, "distance: "),
        ({"flight": "1545"}, "flight: "),
        ({"flight": 1545.5}, "flight: "),
        ({"arr_delay": 3}, "arr_delay: unknown key"),
        ({"carrier": None}, "carrier: "),
    ],
)
def test_what_cannot_be_predicted_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(**changes)
    assert refused.value.status == 422 and said in str(refused.value)
