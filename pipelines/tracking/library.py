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

from pipelines import environment
from pipelines.errors import FlightdeckError, InvalidInput, Unavailable

PASSING = (409, 429, 499)  # another time it may be done


def open_mlflow(uri: str) -> Any:
    """MLflow with `uri` as this process's tracking and registry place.

    MLflow writes the place to the environment as well, where later settings would read it as the user's: put back.
    """
    mlflow = _quiet_mlflow()
    with environment.restoring("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
    return mlflow


def unavailable(error: BaseException, uri: str) -> FlightdeckError | None:
    """What to tell of an error that MLflow or the way to it raised: that it is away, or that it refuses.

    None for what came from elsewhere; an error of ours says it itself.
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
    remedy = "correct that in MLflow or in what was asked, and run this again"
    if status in (401, 403):
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return InvalidInput(f"{_place(uri)} refuses it ({_said(error)}); {remedy}")


def _away(error: BaseException, uri: str) -> Unavailable:
    """An error of MLflow, of its disk, or of the way to it, in one line."""
    return Unavailable(
        f"{_place(uri)} cannot be used ({_said(error)}); see that it runs and that its disk has room, then run the "
        "step again: it goes on where it stopped"
    )


def _place(uri: str) -> str:
    return f"MLflow at {uri}" if uri else "MLflow (FLIGHTDECK_MLFLOW_URI)"


def _said(error: BaseException) -> str:
    told = re.split(r"\[SQL: |\(Background on this error", str(error))[0]  # SQLAlchemy's statement, values, link
    return f"{type(error).__name__}: {' '.join(told.split())[:300]}"


@contextmanager
def files_kept(uri: str) -> Iterator[None]:
    """Files are written to MLflow inside: a disk that is full or shut is told as such."""
    try:
        yield
    except OSError as error:
        raise _away(error, uri) from error


def _quiet_mlflow() -> Any:
    """MLflow without chatter, telemetry, or the import of Feast.

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
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints the trace of what it then raises
    return mlflow
