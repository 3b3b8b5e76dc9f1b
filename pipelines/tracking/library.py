"""The MLflow library: loaded quietly, connected to one place, and without traces in this process's environment."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines import environment
from pipelines.errors import FlightdeckError, InvalidInput, Unavailable

PASSING = (409, 429, 499)  # a later attempt may succeed


def open_mlflow(uri: str) -> Any:
    """MLflow with `uri` as this process's tracking and registry place.

    MLflow also writes the place to the environment, where later settings would take it for the user's; that is undone.
    """
    mlflow = _quiet_mlflow()
    with environment.restoring("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
    return mlflow


def unavailable(error: BaseException, uri: str) -> FlightdeckError | None:
    """An error of MLflow or of the connection to it as ours: MLflow is unavailable, or it refuses the request.

    An error of ours stays as it is; None for any other.
    """
    if isinstance(error, FlightdeckError):
        return error
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    if not isinstance(error, MlflowException | RequestException):
        return None
    status = error.get_http_status_code() if isinstance(error, MlflowException) else 500
    if not 400 <= status < 500 or status in PASSING:
        return _away(error, uri)
    remedy = "correct that in MLflow or in the request, and run this again"
    if status in (401, 403):
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return InvalidInput(f"{_place(uri)} refuses it ({_message(error)}); {remedy}")


def _away(error: BaseException, uri: str) -> Unavailable:
    """An error of MLflow, of its disk, or of the connection to it, in one line."""
    return Unavailable(
        f"{_place(uri)} cannot be used ({_message(error)}); check that it runs and has room on its disk, then run the "
        "step again: it continues where it stopped"
    )


def _place(uri: str) -> str:
    return f"MLflow at {uri}" if uri else "MLflow (FLIGHTDECK_MLFLOW_URI)"


def _message(error: BaseException) -> str:
    message = re.split(r"\[SQL: |\(Background on this error", str(error))[0]  # SQLAlchemy's statement, values, link
    return f"{type(error).__name__}: {' '.join(message.split())[:300]}"


@contextmanager
def writing_files(uri: str) -> Iterator[None]:
    """A context for writing files to MLflow: a disk that is full or read-only is reported as such."""
    try:
        yield
    except OSError as error:
        raise _away(error, uri) from error


def _quiet_mlflow() -> Any:
    """MLflow without messages, telemetry, or the import of Feast.

    Feast registers a provider of request headers with MLflow, and MLflow loads it (with all of Feast, and torch) before
    its first request. We do not use it; hiding its module while MLflow collects providers leaves Feast itself intact.
    """
    for variable, value in environment.DEFAULTS.items():
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
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # it prints the traceback of the error that it raises
    return mlflow
