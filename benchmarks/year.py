"""The year of the flights through the project's own steps: its features and training sets."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from pipelines import chains
from pipelines.context import Context
from pipelines.steps import execute
from pipelines.walk import walk


def prepare(context: Context) -> None:
    """The year's validated tables and features, where they are not there yet."""
    usecase: Any = context.usecase
    window = {"start": str(usecase.start), "end": str(usecase.end)}
    last = usecase.end - timedelta(days=1)
    tables = [table.name for table in usecase.feature_tables if table.daily]
    built = all(last in context.data.periods("features", name) for name in tables)
    only = ("apply_features",) if built else chains.FEATURES
    walk(chains.data, window, partial(execute, context=context), only=only)


def training_set(context: Context, as_of: str, run: str, service: str | None = None) -> str:
    """The URI of a training set as of an instant, for the feature service of the params or another one."""
    inputs, known = {"as_of": as_of, "run": run, "feature_service": service}, {"snapshot": {"data_version": "year"}}
    only = ("build_training_set",)
    outputs = walk(chains.training, inputs, partial(execute, context=context), only=only, previous=known)
    return str(outputs["build_training_set"]["training_set_uri"])
