"""The routing plan in force and its models, loaded once and checked against the digests that the plan names."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import ModelScorer, load_scorer
from pipelines.context import Context
from pipelines.errors import FlightdeckError
from pipelines.failure import trace
from pipelines.records import Plan
from pipelines.serving.failures import reason
from pipelines.serving.features import FeatureLayout
from pipelines.serving.needs import Needs, needs_of
from pipelines.serving.schemas import Refusal
from pipelines.traffic import serves_challenger

log = logging.getLogger(__name__)
FOLLOWED = 0.5  # seconds between two looks at the plan
AGAIN_AFTER = 5.0  # seconds until a model that could not be loaded is tried again


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory; `problem` says why it could not be loaded."""

    uri: str
    scorer: ModelScorer | None = None
    needs: Needs | None = None
    problem: str = ""

    def decides(self, score: float) -> bool | None:
        """Whether its model card makes an alarm of a score; None if it is not loaded."""
        return score >= self.scorer.model.card.threshold.value if self.scorer else None


@dataclass(frozen=True)
class Route:
    """A plan with its models.

    Attributes:
        challenger: None outside a rollout.
        layout: of the features that the versions read.
        problems: why a version, or a newer plan, cannot serve.
    """

    plan: Plan
    champion: LoadedModel
    challenger: LoadedModel | None
    layout: FeatureLayout
    problems: tuple[str, ...] = ()

    @property
    def versions(self) -> dict[str, LoadedModel]:
        """By registered version, champion first."""
        models = {self.plan.champion: self.champion}
        if self.challenger and self.plan.challenger:
            models.setdefault(self.plan.challenger, self.challenger)
        return models

    @property
    def loaded(self) -> dict[str, bool]:
        """By registered version, whether it can score."""
        return {version: not loaded.problem for version, loaded in self.versions.items()}

    def assigned(self, entities: Sequence[str]) -> list[str]:
        """The version that the plan assigns each entity to."""
        plan = self.plan
        if not plan.challenger or not plan.share:
            return [plan.champion] * len(entities)
        return [
            plan.challenger if serves_challenger(plan.rollout, entity, plan.share) else plan.champion
            for entity in entities
        ]


class Router:
    """Routes by the plan in force. If the champion of a new plan cannot be loaded, the previous plan keeps serving.

    It reads the plan with every call of `route`, which a replay needs, whose hours pass in seconds; once it follows, a
    thread does so, and loads models while the previous route serves.
    """

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context, self._monotonic = context, monotonic
        self._plans = context.plans
        self._lock = threading.Lock()
        self._cache: dict[ModelRef, tuple[LoadedModel, float]] = {}
        self._followed: Route | Exception | None = None
        self._ended = threading.Event()
        self._follower: threading.Thread | None = None
        self._layouts: dict[tuple[tuple[str, str], ...], FeatureLayout] = {}
        self._good: Route | None = None

    def plan(self) -> Plan | None:
        """The plan in force in the records."""
        return self._plans.current()

    def route(self) -> Route:
        """The route to serve by.

        Raises:
            Refusal: 503 while there is no plan, or no plan's champion could be loaded.
        """
        if self._followed is None:
            return self._read_route()
        if isinstance(self._followed, Exception):
            raise self._followed
        return self._followed

    def follow(self, every: float = FOLLOWED) -> None:
        """Read the plan in a thread from now on, so that a change of it is served after so many seconds."""
        self._look()
        self._follower = threading.Thread(target=self._keep_looking, args=(every,), name="router", daemon=True)
        self._follower.start()

    def close(self) -> None:
        """End following; the last route stays."""
        self._ended.set()
        if self._follower:
            self._follower.join()

    def _keep_looking(self, every: float) -> None:
        while not self._ended.wait(every):
            self._look()

    def _look(self) -> None:
        """Take over the route of the plan in force; one that cannot be read leaves the route that there is."""
        try:
            self._followed = self._read_route()
        except Exception as error:
            if not isinstance(error, Refusal):
                log.error("the routing plan: %s", trace(error))
            if not isinstance(self._followed, Route):
                self._followed = error

    def _read_route(self) -> Route:
        plan = self.plan()
        if plan is None:
            raise Refusal(503, "there is no routing plan yet; promote a first model, then send it again")
        champion = self._load(plan.champion_model)
        if champion.problem:
            problem = f"plan {plan.version}: champion {plan.champion}: {champion.problem}"
            if self._good is None:
                raise Refusal(503, problem)
            return replace(self._good, problems=(problem,))
        challenger = None
        if plan.challenger and plan.challenger_model:
            challenger = self._load(plan.challenger_model)
        problems = (f"challenger {plan.challenger}: {challenger.problem}",) if challenger and challenger.problem else ()
        layout = self._layout(plan, champion, challenger)
        route = Route(plan, champion, challenger, layout, problems)
        if self._good is None or self._good.plan.version < plan.version:
            self._keep(route)
            self._good = replace(route, problems=())
        return route

    def _layout(self, plan: Plan, champion: LoadedModel, challenger: LoadedModel | None) -> FeatureLayout:
        models = {plan.champion: champion}
        if challenger and plan.challenger:
            models.setdefault(plan.challenger, challenger)
        needs = {version: loaded.needs for version, loaded in models.items() if loaded.needs}
        context = self._context
        identity = tuple((version, models[version].uri) for version in needs)
        if identity not in self._layouts:
            layout = FeatureLayout(context.feast, context.usecase, needs, context.params.serving)
            context.predictions.keep_layout(layout.logged)
            self._layouts = {identity: layout}
        return self._layouts[identity]

    def _load(self, model: ModelRef) -> LoadedModel:
        entry = self._cache.get(model)
        if entry and (not entry[0].problem or self._monotonic() < entry[1]):
            return entry[0]
        with self._lock:
            entry = self._cache.get(model)
            if entry and (not entry[0].problem or self._monotonic() < entry[1]):
                return entry[0]
            loaded = self._read(model)
            if loaded.problem:
                log.error("model %s cannot serve: %s", loaded.uri, loaded.problem)
            self._cache = {**self._cache, model: (loaded, self._monotonic() + AGAIN_AFTER)}
        return loaded

    def _read(self, model: ModelRef) -> LoadedModel:
        try:
            scorer = load_scorer(self._context.data.store, model, threads=1)
            _warm(scorer)
            service = scorer.model.card.training_set.feature_service
            needs = needs_of(self._context.feast, service, scorer.inputs, self._context.usecase)
        except FlightdeckError as error:
            return LoadedModel(model.uri, problem=reason(error))
        except Exception as error:  # the champion must keep serving, whatever error a store or registry raises
            log.error("model %s: %s", model.uri, trace(error))
            return LoadedModel(model.uri, problem=reason(error))
        return LoadedModel(model.uri, scorer, needs)

    def _keep(self, route: Route) -> None:
        """Drop the models of earlier plans from the cache."""
        plan = route.plan
        needed = {plan.champion_model, plan.challenger_model}
        with self._lock:
            self._cache = {model: entry for model, entry in self._cache.items() if model in needed}


def _warm(scorer: ModelScorer) -> None:
    """Load a model and score a row of missing values, so that no request waits for that.

    Raises:
        Exception: if it cannot; then it does not serve.
    """
    inputs = scorer.inputs
    numbers = np.full((1, len(inputs.numeric)), np.nan, dtype=np.float32)
    scorer.score_arrays(numbers, np.full((1, len(inputs.categorical)), "", dtype=object))
