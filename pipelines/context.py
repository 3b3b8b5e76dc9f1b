"""The composition root: the only place where clients are built. Nothing here reads the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import environment
from pipelines.configuration import load, read
from pipelines.errors import InvalidInput
from pipelines.params import Params, params_files
from pipelines.redaction import redact_logs
from pipelines.settings import Settings, load_settings
from pipelines.usecase import UseCase, calendar_of
from pipelines.windows import Window

if TYPE_CHECKING:
    from feast import FeatureStore

    from pipelines.clock import Clock
    from pipelines.periods import Calendar, Period
    from pipelines.records import (
        Aliases,
        Decisions,
        Derivations,
        Ledger,
        LogWriters,
        PartitionHistory,
        Plans,
        PredictionLog,
        Records,
        Releases,
        Rollouts,
        Snapshots,
        Stretches,
    )
    from pipelines.store import Layout
    from pipelines.tracking import ModelRegistry, Tracker


@dataclass(frozen=True)
class Context:
    """Everything that a step may use besides its inputs. Clients are built on first use.

    Attributes:
        replacements: clients by name that replace the built ones (see `replaced`).
    """

    settings: Settings
    params: Params
    usecase: UseCase
    replacements: Mapping[str, object] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if unknown := self.replacements.keys() - CLIENTS:
            raise TypeError(f"a context has no client {', '.join(sorted(unknown))}; it has {', '.join(CLIENTS)}")
        vars(self).update(self.replacements)  # where `cached_property` caches its values

    def replaced(self, **clients: object) -> Context:
        """A context of the same settings, params and use case with these clients in place of its own."""
        return replace(self, replacements={**self.replacements, **clients})

    @cached_property
    def data(self) -> Layout:
        from pipelines.store import Layout, Store

        return Layout(Store(self.settings.store), self.usecase.name, self.calendar.length)

    @cached_property
    def records(self) -> Records:
        from pipelines.records import Records

        return Records(self.settings.records, self.settings.records_fsync)

    @cached_property
    def aliases(self) -> Aliases:
        return self.records.aliases(self.usecase.name)

    @cached_property
    def decisions(self) -> Decisions:
        return self.records.decisions(self.usecase.name)

    @cached_property
    def derivations(self) -> Derivations:
        return self.records.derivations(self.usecase.name)

    @cached_property
    def ledger(self) -> Ledger:
        return self.records.ledger(self.usecase.name)

    @cached_property
    def partitions(self) -> PartitionHistory:
        return self.records.partitions(self.usecase.name)

    @cached_property
    def plans(self) -> Plans:
        return self.records.plans(self.usecase.name)

    @cached_property
    def predictions(self) -> PredictionLog:
        return self.records.predictions(self.usecase.name)

    @cached_property
    def releases(self) -> Releases:
        return self.records.releases(self.usecase.name)

    @cached_property
    def rollouts(self) -> Rollouts:
        return self.records.rollouts(self.usecase.name)

    @cached_property
    def snapshots(self) -> Snapshots:
        return self.records.snapshots(self.usecase.name)

    @cached_property
    def stretches(self) -> Stretches:
        return self.records.stretches(self.usecase.name)

    @cached_property
    def writers(self) -> LogWriters:
        return self.records.writers(self.usecase.name)

    @cached_property
    def clock(self) -> Clock:
        """The clock of the model server and the judge, chosen by params.yaml. Other steps take time from inputs."""
        from pipelines.clock import ReplayClock, WallClock

        replay = self.params.clock == "replay"
        return ReplayClock(self.records.simulated_time(self.usecase.name)) if replay else WallClock()

    @cached_property
    def feast(self) -> FeatureStore:
        from pipelines.offline.repository import open_store

        return open_store(self.settings, self.usecase.name, self.calendar.length)

    @cached_property
    def tracker(self) -> Tracker:
        from pipelines.tracking import Tracker

        return Tracker(self.settings, self.usecase.name)

    @cached_property
    def models(self) -> ModelRegistry:
        from pipelines.tracking import ModelRegistry

        return ModelRegistry(self.tracker)

    @property
    def calendar(self) -> Calendar:
        return calendar_of(self.usecase)

    def window(self, start: Period | str, end: Period | str) -> Window:
        """A window within the days of the use case's source, its bounds as `Calendar.require` takes them."""
        calendar = self.calendar
        try:
            first, after = calendar.require(start), calendar.require(end)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        window = Window(first, after, calendar.timezone, calendar.length)
        return window.require_within(self.usecase.start, self.usecase.end, f"the data of {self.usecase.name}")


CLIENTS = tuple(name for name, value in vars(Context).items() if isinstance(value, cached_property))


def build_context(
    params_file: str | Path | None = None, home: str | Path | None = None, *, checked: bool = True
) -> Context:
    """Build the context of this process for one use case, set its environment, and redact secrets from its logs.

    Args:
        params_file: by default the first file that FLIGHTDECK_PARAMS names.
        home: in place of FLIGHTDECK_HOME.
        checked: whether params and declarations must fit each other.
    """
    environment.take_over()
    redact_logs()
    settings = load_settings(home=home or None)
    configuration = (load if checked else read)(params_file or params_files(settings.params)[0])
    return Context(settings, configuration.params, configuration.usecase)
