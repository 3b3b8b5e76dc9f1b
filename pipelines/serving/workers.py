"""Several processes of one model server behind one port."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

from fastapi import FastAPI

from pipelines.context import build_context
from pipelines.serving.app import create_app
from pipelines.serving.metrics import Metrics

METRICS = "FLIGHTDECK_SERVING_METRICS"  # set by the parent: the folder in which its workers leave their counts
LOOKED = 1.0  # seconds between two looks at whether the parent lives


def served() -> FastAPI:
    """The app of a worker, by the variables that its parent has set."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    app = create_app(build_context(checked=False), Metrics(Path(os.environ[METRICS])))
    settle()
    return app


def settle() -> None:
    """Exclude present objects from garbage collections, which take a tenth of a second over all libraries."""
    gc.collect()
    gc.freeze()


def _end_with(parent: int) -> None:
    """End this process once its parent has gone, or a parent that was killed would leave it at the port."""
    while os.getppid() == parent:
        time.sleep(LOOKED)
    os.kill(os.getpid(), signal.SIGTERM)
