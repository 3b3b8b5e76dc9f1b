"""Drives a running model server through a window: clock, features, requests, outcomes, in the order of events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from pipelines.errors import FlightdeckError, InvalidInput
from pipelines.features.stream import OnlineStore
from pipelines.instants import local_day
from pipelines.json_text import JsonObject
from pipelines.online.standing import note_online_stands_at
from pipelines.replay.world import Tick, World

if TYPE_CHECKING:
    from feast import FeatureStore

    from pipelines.clock import ReplayClock

PATIENCE = 30.0  # seconds to wait for a server that does not answer
REFUSED = {400, 404, 409, 413, 422}


@dataclass
class ReplayCounts:
    """Totals of a replay so far. Milliseconds are of whole HTTP calls, one for each tick."""

    requests: int = 0
    outcomes: int = 0
    pushed: int = 0
    milliseconds: list[float] = field(default_factory=list)


class Replay:
    """A replay that may be stopped at any moment and started again: it continues from the time of its clock.

    Requests carry ids, so that a repeated one gets the same answer; outcomes sent twice count once.
    """

    def __init__(self, world: World, clock: ReplayClock, feast: FeatureStore, server: str) -> None:
        self.world, self.clock, self.feast, self.online = world, clock, feast, OnlineStore(feast)
        self.http = httpx.Client(base_url=server, timeout=30, trust_env=False)
        self.counts = ReplayCounts()

    def run(
        self,
        every: timedelta,
        until: Callable[[], bool] = lambda: False,
        progress: Callable[[datetime, ReplayCounts], None] = lambda at, counts: None,
    ) -> ReplayCounts:
        """Replay the window until its end, or until `until()` is true.

        `until` is called at every tick, after the clock, features and outcomes of the tick and before its requests. It
        may wait, for instance until the judge has looked. `progress` is called as a local day begins.

        Raises:
            InvalidInput: if the clock is past the window.
            FlightdeckError: if the server refuses a call, or does not answer.
        """
        window = self.world.window
        now = self.clock.now()
        if now >= window.end_at:
            raise InvalidInput(
                f"the replay's clock stands at {now}, after the end of the window, {window.end_at}; "
                "give a later window, or --anew"
            )
        self.clock.advance(max(now, window.start_at))
        with self.http:
            day = None
            for tick in self.world.ticks(every, since=now - every):
                today = local_day(tick.at, window.timezone)
                self._tell(tick)
                if day is not None and today != day:
                    # later pushes of the day are ahead of this instant; materializing the whole day overtakes it
                    note_online_stands_at(self.feast, tick.at)
                    progress(tick.at, self.counts)
                day = today
                if until():
                    return self.counts
                self._ask(tick)
            note_online_stands_at(self.feast, window.end_at)
            self.clock.advance(window.end_at)
        return self.counts

    def _tell(self, tick: Tick) -> None:
        self.clock.advance(max(tick.at, self.clock.now()))
        for name, rows in tick.features.items():
            self.counts.pushed += self.online.push(name, self.world.keys[name], rows)
        if tick.outcomes:
            self._outcomes(tick)

    def _ask(self, tick: Tick) -> None:
        if tick.requests:
            began = time.perf_counter()
            self._post("/v1/predictions", {"requests": tick.requests})
            self.counts.milliseconds.append((time.perf_counter() - began) * 1000)
            self.counts.requests += len(tick.requests)

    def _outcomes(self, tick: Tick) -> None:
        """Send outcomes. Those of predictions from before the replay are unknown to the server; that is no error."""
        body = {"outcomes": [{"id": identity, "label": int(label)} for identity, label in tick.outcomes]}
        answer = self._post("/v1/outcomes", body, accept={404})
        if "outcomes" not in answer:
            raise FlightdeckError(
                f"{self.http.base_url} is not a model server: {str(answer)[:200]}; correct the address"
            )
        self.counts.outcomes += sum(item["status"] == "recorded" for item in answer["outcomes"])

    def _post(self, path: str, body: JsonObject, accept: set[int] | None = None) -> JsonObject:
        """Post until there is an answer; a server that is down or busy is tried again for half a minute."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.http.post(path, json=body)
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if answer.status_code < 300 or answer.status_code in (accept or ()):
                    return dict(answer.json())
                if answer.status_code in REFUSED:
                    raise FlightdeckError(f"{path} refused the replay: {answer.status_code} {answer.text[:500]}")
                reason = f"{answer.status_code} {answer.text[:200]}"
            if time.monotonic() > deadline:
                raise FlightdeckError(
                    f"{self.http.base_url.join(path)}: no answer for {PATIENCE:.0f} s ({reason}); start the model "
                    "server, then the replay again: it continues from there"
                )
            time.sleep(0.2)
