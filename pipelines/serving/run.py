"""One run: requests of several calls with the scores of every version, as they are logged and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from pipelines.errors import InvalidInput
from pipelines.records import Batch, Lack
from pipelines.serving.calls import Answered, NewRequest
from pipelines.serving.features import RequestFeatures
from pipelines.serving.routing import Route
from pipelines.serving.schemas import Refusal
from pipelines.serving.scoring import Further, VersionScores


@dataclass
class Run:
    """A run of N requests.

    Attributes:
        scores: by version, of those that scored or failed.
        served: the version that answers each: at first the one that the plan assigns.
        refusals: of those that cannot be answered, by position.
        awaited: those that only a challenger can answer which has not scored in time.
    """

    requests: Sequence[NewRequest]
    at: datetime
    route: Route
    features: RequestFeatures
    scores: Mapping[str, VersionScores]
    served: list[str]
    refusals: dict[int, Refusal] = field(default_factory=dict)
    awaited: Set[int] = frozenset()

    def choose(self, refuse_stale: bool) -> None:
        """Let the other version answer where the assigned one failed; refuse what none can answer."""
        failing = {n for of in self.scores.values() for n in of.errors}
        if len(self.scores) < len(self.route.versions):
            self.awaited = failing | {n for n, version in enumerate(self.served) if version not in self.scores}
        for n in failing - self.awaited:
            answering = [version for version in (self.served[n], *self.scores) if n not in self.scores[version].errors]
            if answering:
                self.served[n] = answering[0]
            else:
                reasons = "; ".join(f"version {version}: {of.errors[n]}" for version, of in self.scores.items())
                number = self.requests[n].number
                again = f"request {number} could not be scored ({reasons}); send it again later"
                self.refusals[n] = Refusal(503, again)
        if refuse_stale:
            for n in (n for n, lack in enumerate(self.features.lacks) if lack is Lack.STALE):
                number = self.requests[n].number
                again = f"request {number}: stored features are stale; send it again later"
                self.refusals[n] = Refusal(503, again)

    def is_late(self, version: str) -> bool:
        """Whether a loaded version has not scored in time: it has no scores, or no time."""
        return version not in self.scores or self.scores[version].milliseconds is None

    def batch(self, kept: Sequence[int]) -> Batch:
        """The batch to log for some of the requests, by their positions."""
        requests = [self.requests[n] for n in kept]
        served = [self.served[n] for n in kept]
        score = [self._score(n) for n in kept]
        versions, lacks = self.route.versions, self.features.lacks
        layout, inputs = self._inputs()
        return Batch(
            plan=self.route.plan.version,
            share=self.route.plan.share,
            at=self.at,
            ids=[request.identity for request in requests],
            entities=[request.entity for request in requests],
            blocks=[request.block for request in requests],
            closes_at=[request.closes_at for request in requests],
            requests=[request.body for request in requests],
            layout=layout,
            inputs=[inputs[n] for n in kept],
            served=served,
            score=score,
            scores={version: [of.scores[n] for n in kept] for version, of in self.scores.items()},
            milliseconds={v: of.milliseconds for v, of in self.scores.items() if of.milliseconds is not None},
            errors=self._errors(kept),
            decisions=[versions[version].decides(one) for version, one in zip(served, score, strict=True)],
            lacks=[lacks[n] for n in kept],
            further=self._further(kept, served),
        )

    def _score(self, n: int) -> float:
        number = self.scores[self.served[n]].scores[n]
        assert number is not None  # or it is refused
        return number

    def _further(self, kept: Sequence[int], served: Sequence[str]) -> list[Further | None] | None:
        """The further outputs of the version that answers each; None where no version has any."""
        by_version = {version: of.further for version, of in self.scores.items() if of.further}
        if not by_version:
            return None
        return [by_version[v][n] if v in by_version else None for n, v in zip(kept, served, strict=True)]

    def _inputs(self) -> tuple[str | None, Sequence[bytes | None]]:
        """The layout of the logged inputs, and the inputs of each request; None where one is no input at all."""
        layout = self.route.layout
        try:
            return layout.logged.digest, layout.encode(self.features)
        except InvalidInput:  # the errors of the version that reads it say why
            return None, [None] * len(self.requests)

    def _errors(self, kept: Sequence[int]) -> dict[int, dict[str, str]]:
        if not any(of.errors for of in self.scores.values()):
            return {}
        errors = [{v: of.errors[n] for v, of in self.scores.items() if n in of.errors} for n in kept]
        return {position: of_row for position, of_row in enumerate(errors) if of_row}

    def answers(self, batch: Batch) -> list[Answered]:
        """The answers that a logged batch gives."""
        columns = (batch.ids, batch.score, batch.decisions, batch.lacks, batch.served)
        rows = zip(*columns, strict=True)
        if batch.further is None:
            return [Answered(*row, batch.plan) for row in rows]
        return [Answered(*row, batch.plan, further) for row, further in zip(rows, batch.further, strict=True)]
