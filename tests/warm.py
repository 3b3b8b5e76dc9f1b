"""Libraries that take seconds to import: imported once, by the process from which `tests.commands` forks commands."""

# ruff: noqa: F401
from __future__ import annotations

import warnings

from pipelines import feast_import

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    feast_import.quicken()
    import dvc.repo
    import feast
    import httpx
    import onnxruntime
    import uvicorn

    import mlflow
    import pipelines.__main__
    import pipelines.ingestion.repository
    import pipelines.offline.repository
    import pipelines.replay.__main__
    import pipelines.serving.__main__
    import pipelines.usecases.flights
    import pipelines.validation.asking
    import tests.toy
