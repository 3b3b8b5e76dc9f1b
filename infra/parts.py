"""The parts of a deck: their commands, the parts that they need, and their health checks."""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from infra.deck import HOST, PORTS, BadSetting, Deck

GATE = "FLIGHTDECK_GATE"  # names the file that infra/airflow/airflow_local_settings.py waits for
BIN = Path(sys.prefix) / "bin"
AIRFLOW = str(BIN / "airflow")


@dataclass(frozen=True)
class Part:
    """One process group. `healthy` gets the time (epoch seconds) at which it was started."""

    name: str
    label: str
    command: tuple[str, ...]
    healthy: Callable[[float], bool]
    needs: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()  # may be started before these are healthy, and waits for GATE to appear
    once: bool = False  # runs to its end; healthy if its exit status is 0
    port: tuple[str, int] | None = None  # variable, number
    url: str = ""


def parts(deck: Deck) -> list[Part]:
    """The parts, in the order in which they are started."""
    database = Part("database", "Airflow database", (AIRFLOW, "db", "migrate"), lambda _: True, once=True)
    servers = [_model_server(deck, number, file) for number, file in enumerate(deck.params.split(os.pathsep))]
    return [
        database,
        *([] if deck.mlflow_elsewhere else [_mlflow(deck)]),
        *servers,
        *_airflow_servers(deck),
        *_airflow_workers(deck),
    ]


def _mlflow(deck: Deck) -> Part:
    command = (sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(deck.mlflow_port))
    artifacts = (deck.home / "mlflow" / "artifacts").as_uri()
    return Part(
        "mlflow",
        "MLflow",
        (*command, "--workers", "1", "--serve-artifacts", "--artifacts-destination", artifacts),
        lambda _: _answers(f"{deck.mlflow_url}/health"),
        port=(PORTS["mlflow"][0], deck.mlflow_port),
        url=deck.mlflow_url,
    )


def _airflow_servers(deck: Deck) -> list[Part]:
    """What answers over HTTP: people and programs on one port, tasks on the other."""
    server = (AIRFLOW, "api-server", "--host", HOST, "--workers", "1", "--apps")
    return [
        Part(
            "airflow-api",
            "Airflow API and UI",
            (*server, "core", "--port", str(deck.airflow_port)),
            lambda _: _answers(f"{deck.airflow_url}/api/v2/monitor/health"),
            needs=("database",),
            port=(PORTS["airflow"][0], deck.airflow_port),
            url=deck.airflow_url,
        ),
        Part(
            "airflow-execution-api",
            "Airflow execution API",
            (*server, "execution", "--port", str(deck.execution_port)),
            lambda _: _answers(f"{deck.execution_url}health"),
            needs=("database",),
            port=(PORTS["execution"][0], deck.execution_port),
            url=deck.execution_url,
        ),
    ]


def _airflow_workers(deck: Deck) -> list[Part]:
    """What runs in the background: it has no port, and its heartbeats are read from the API."""
    return [
        Part(
            "dag-processor",
            "DAG processor",
            (AIRFLOW, "dag-processor"),
            lambda since: _beats(deck, "dag_processor", since),
            needs=("database",),
        ),
        Part(
            "scheduler",
            "Scheduler",
            (AIRFLOW, "scheduler", "--skip-serve-logs"),
            lambda since: _beats(deck, "scheduler", since),
            gated=("airflow-api", "airflow-execution-api"),  # meanwhile it imports what tasks need
        ),
        Part(
            "triggerer",
            "Triggerer",
            (AIRFLOW, "triggerer", "--skip-serve-logs"),
            lambda since: _beats(deck, "triggerer", since),
            needs=("database",),
        ),
    ]


def _model_server(deck: Deck, number: int, params: str) -> Part:
    """A model server. It is healthy before it is ready: it answers requests once a model is deployed."""
    port = deck.serving_port + number
    return Part(
        f"serving-{number + 1}" if number else "serving",
        f"Model server {number + 1}" if number else "Model server",
        (sys.executable, "-m", "pipelines.serving", "--params", params, "--port", str(port)),
        lambda _: _answers(f"http://{HOST}:{port}/healthz"),
        port=(PORTS["serving"][0], port),
        url=f"http://{HOST}:{port}",
    )


def require_free(variable: str, port: int) -> None:
    """Check that a port of this machine is free.

    Raises:
        BadSetting: if a process listens on it, or it needs privileges.
    """
    with socket.socket() as probe, socket.socket() as listener:
        probe.settimeout(1)
        is_taken = probe.connect_ex((HOST, port)) == 0
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reason = "is in use"
        try:
            listener.bind((HOST, port))
        except PermissionError:
            is_taken, reason = True, "needs privileges"
        except OSError:
            is_taken = True
    if is_taken:
        raise BadSetting(f"port {port} {reason}; set {variable} to a free one. Nothing was started.")


def _get(url: str) -> bytes | None:
    """The body of a 200 answer within two seconds, else None. No proxy: these are addresses of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, urllib.error.URLError, ValueError):
        return None


def _answers(url: str) -> bool:
    return _get(url) is not None


def _beats(deck: Deck, component: str, since: float) -> bool:
    """Whether Airflow has had a heartbeat since that time; one of an earlier run may still look fresh."""
    health = json.loads(_get(f"{deck.airflow_url}/api/v2/monitor/health") or "{}").get(component) or {}
    beat = health.get(f"latest_{component}_heartbeat")
    return health.get("status") == "healthy" and beat is not None and datetime.fromisoformat(beat).timestamp() >= since
