"""The MLflow library: loaded quietly, pointed at one place, and kept out of this process's environment."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from pipelines.errors import FlightdeckError, Unavailable


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


def unavailable(error: Exception, uri: str) -> Unavailable | None:
    """What to tell of an error that MLflow or the way to it raised; None where it came from elsewhere."""
    if "mlflow.exceptions" not in sys.modules or isinstance(error, FlightdeckError):
        return None
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if not isinstance(error, (MlflowException, RequestException, sa.exc.OperationalError)):
        return None
    return refused(error, uri)


def refused(error: Exception, uri: str) -> Unavailable:
    """An error of MLflow in one line, without the password that its place may hold."""
    place = re.sub(r"://[^/@]*@", "://", uri)
    told = re.split(r"\[SQL: |\(Background on this error", str(error))[0]  # SQLAlchemy's statement, values, link
    said = re.sub(r"://[^/@\s]*@", "://", " ".join(told.split())[:300])
    return Unavailable(
        f"MLflow at {place} cannot be used ({type(error).__name__}: {said}); see that it runs and that its disk has "
        "room, then run the step again: it goes on where it stopped"
    )


@contextmanager
def files_kept(uri: str) -> Iterator[None]:
    """Files are written to MLflow inside: a disk that is full or shut is told as such."""
    try:
        yield
    except OSError as error:
        raise refused(error, uri) from error


def _quiet_mlflow() -> Any:
    """MLflow without chatter, telemetry, or the import of Feast.

    Feast registers a provider of request headers with MLflow, and MLflow loads it (with all of Feast, and torch) before
    its first request. We do not use it; hiding its module while MLflow collects providers leaves Feast itself intact.
    """
    for variable, value in (
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30"),  # seconds; its own are 120, seven times over
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"),
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
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints the trace of what it then raises
    return mlflow
