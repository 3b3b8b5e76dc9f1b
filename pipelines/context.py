"""The composition root: the only place where clients are built. Nothing here asks for the time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import environment
from pipelines.params import Params, load_params, params_files
from pipelines.redaction import redact_logs
from pipelines.settings import Settings, load_settings
from pipelines.usecase import UseCase, load_usecase
from pipelines.windows import Window

if TYPE_CHECKING:
    from datetime import date

    from feast import FeatureStore

    from pipelines.clock import Clock
    from pipelines.records import Records
    from pipelines.store import Layout
    from pipelines.tracking import ModelRegistry, Tracker


@dataclass(frozen=True)
class Context:
    """What a step may reach besides its inputs. Clients are made when first asked for."""

    settings: Settings
    params: Params
    usecase: UseCase

    @cached_property
    def data(self) -> Layout:
        from pipelines.store import Layout, Store

        return Layout(Store(self.settings.store), self.usecase.name)

    @cached_property
    def records(self) -> Records:
        from pipelines.records import Records

        return Records(self.settings.records)

    @cached_property
    def clock(self) -> Clock:
        """The time of the model server and the judge. A step takes time from its inputs and never asks here."""
        from pipelines.clock import open_clock

        return open_clock(self.params, self.records, self.usecase.name)

    @cached_property
    def feast(self) -> FeatureStore:
        from pipelines.offline.repository import open_store

        return open_store(self.settings, self.usecase.name)

    @cached_property
    def tracker(self) -> Tracker:
        from pipelines.tracking import Tracker

        return Tracker(self.settings, self.usecase.name)

    @cached_property
    def models(self) -> ModelRegistry:
        from pipelines.tracking import ModelRegistry

        return ModelRegistry(self.tracker)

    def window(self, start: date, end: date) -> Window:
        """A window within the days of the use case's source."""
        window = Window(start, end, self.usecase.timezone)
        return window.require_within(self.usecase.start, self.usecase.end, f"the data of {self.usecase.name}")


def build_context(params_file: str | Path | None = None, home: str | Path | None = None) -> Context:
    """The context of this process, for one use case. With it the environment becomes ours, and logs hold no secret.

    Args:
        params_file: by default the first file that FLIGHTDECK_PARAMS names.
        home: in place of FLIGHTDECK_HOME.
    """
    environment.take_over()
    redact_logs()
    settings = load_settings(home=home or None)
    params = load_params(params_file or params_files(settings.params)[0])
    return Context(settings, params, load_usecase(params.usecase))
