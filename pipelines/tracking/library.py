"""The MLflow library: loaded quietly, pointed at one place, and kept out of this process's environment."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def open_mlflow(uri: str) -> Any:
    """MLflow with `uri` as this process's tracking and registry place.

    MLflow writes the place to the environment as well, where later settings would read it as the user's: put back.
    """
    mlflow = _quiet_mlflow()
    with environment_kept("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
    return mlflow


@contextmanager
def environment_kept(*names: str) -> Iterator[None]:
    """Whatever happens inside, these variables are afterwards what they were."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _quiet_mlflow() -> Any:
    """MLflow without chatter, telemetry, or the import of Feast.

    Feast registers a provider of request headers with MLflow, and MLflow loads it (with all of Feast, and torch) before
    its first request. We do not use it; hiding its module while MLflow collects providers leaves Feast itself intact.
    """
    for variable, value in (
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ):
        os.environ.setdefault(variable, value)
    import mlflow

    provider = "feast.infra.data_sources.mlflow.auth"
    if provider not in sys.modules:
        sys.modules[provider] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import mlflow.tracking.request_header.registry
        finally:
            del sys.modules[provider]
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow
