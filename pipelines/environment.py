"""The environment of our processes: which of the caller's variables reach the libraries. Standard library only.

The libraries read hundreds of variables of their own. One that the caller set for another purpose could send the
registry to another database, start a second server worker, or point git at another repository. So of these families
only KNOWN variables pass; the others are dropped, with a warning in the log.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

log = logging.getLogger(__name__)

FAMILIES = ("MLFLOW_", "_MLFLOW_", "FEAST_", "GX_", "DVC_", "UVICORN_", "GIT_")
SINGLE = frozenset({"WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS"})
ACCESS = tuple(  # to the MLflow that the caller names
    f"MLFLOW_{name}"
    for name in ("TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN", "TRACKING_AUTH", "TRACKING_AWS_SIGV4",
                 "TRACKING_INSECURE_TLS", "TRACKING_SERVER_CERT_PATH", "TRACKING_CLIENT_CERT_PATH")
)  # fmt: skip
DEFAULTS = {  # against telemetry, endless waits, and log messages that Airflow shows as errors
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "FEAST_USAGE": "False",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds; its own are 120, seven times over
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    # Read when OpenMP is loaded: waiting threads would otherwise spin, and take whole time slices from other work.
    "OMP_WAIT_POLICY": "passive",
}
KNOWN = frozenset(
    {
        *ACCESS,
        *DEFAULTS,
        *("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"),
        *("MLFLOW_S3_ENDPOINT_URL", "MLFLOW_S3_IGNORE_TLS", "MLFLOW_S3_UPLOAD_EXTRA_ARGS"),
    }
)
KNOWN_PREFIXES = ("GIT_CONFIG_", "GIT_SSL_", "GIT_SSH", "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_PYTHON_")
# Set by the programs that run us (`mlflow run`, `dvc repro`, git's hooks) for themselves: dropped without a warning.
UNTOLD = frozenset(
    {
        *("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "GIT_EDITOR", "GIT_PAGER"),
        *("DVC_ROOT", "DVC_STAGE", "DVC_EXP_BASELINE_REV", "DVC_EXP_NAME"),
        "MLFLOW_BACKEND_STORE_URI",  # of the deck's MLflow server
    }
)
OVERRIDES = {"FLIGHTDECK_AIRFLOW__": "AIRFLOW__", "FLIGHTDECK_MLFLOW__": "MLFLOW_"}  # settings meant for our own
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def overridden(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that FLIGHTDECK_AIRFLOW__SECTION__KEY and FLIGHTDECK_MLFLOW__NAME ask for, under their own names."""
    return {
        f"{theirs}{name.removeprefix(ours)}": value
        for name, value in sorted(environ.items())
        for ours, theirs in OVERRIDES.items()
        if name.startswith(ours)
    }


def foreign(environ: Mapping[str, str]) -> list[str]:
    """The caller's variables that must not reach our libraries, in order of name."""
    overrides = {name for name, value in overridden(environ).items() if environ.get(name) == value}
    return sorted(
        name
        for name in environ
        if (name in SINGLE or name.startswith(FAMILIES))
        and name not in KNOWN | overrides
        and not name.startswith(KNOWN_PREFIXES)
    )


def build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of one of our processes: the caller's without the foreign ones, and our defaults.

    Addresses of this machine bypass proxies, the user and password in an MLflow server's address move to MLflow's own
    variables, and OpenMP gets as many threads as this process may use. The function is idempotent.
    """
    unwanted = set(foreign(environ))
    ours = DEFAULTS | {name: value for name, value in environ.items() if name not in unwanted}
    ours.setdefault("OMP_NUM_THREADS", str(processors()))
    local = [place for place in (ours.get("no_proxy") or ours.get("NO_PROXY") or "").split(",") if place]
    ours["no_proxy"] = ours["NO_PROXY"] = ",".join([*local, *(place for place in LOOPBACK if place not in local)])
    tracking_variable = "FLIGHTDECK_MLFLOW_URI" if ours.get("FLIGHTDECK_MLFLOW_URI") else "MLFLOW_TRACKING_URI"
    for variable in ("FLIGHTDECK_MLFLOW_URI", "MLFLOW_TRACKING_URI"):
        ours |= _without_access(ours, variable, in_use=variable == tracking_variable)
    return ours


def take_over() -> None:
    """Make this process's environment ours, and log which variables are ignored."""
    if dropped := [name for name in foreign(os.environ) if name not in UNTOLD and not name.startswith("_")]:
        log.warning("%s", notice(dropped))
    environment = build_environment(os.environ)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def notice(names: list[str]) -> str:
    """The warning about variables that are ignored."""
    which = "does" if len(names) == 1 else "do"
    return (
        f"flightdeck: {', '.join(names)} of the environment {which} not count here; settings are FLIGHTDECK_ variables "
        "(docs/operations.md)"
    )


@contextmanager
def restoring(*names: str, **values: str) -> Iterator[None]:
    """Set `values` inside the context, and restore these variables at its end, whatever happens inside."""
    before = {name: os.environ.get(name) for name in (*names, *values)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def processors() -> int:
    """The number of processors that this process may use, by its affinity and its control group's quota."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no control groups, or no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(available, math.ceil(int(quota) / int(period))))
    return available


def _without_access(environ: Mapping[str, str], variable: str, in_use: bool) -> dict[str, str]:
    """An MLflow server's address without user and password, and these by MLflow's names if the address is `in_use`.

    So no message, page or file that names the address can show them.
    """
    with suppress(ValueError):  # not an address; whoever reads it reports that
        parts = urlsplit(environ.get(variable, ""))
        userinfo, at, place = parts.netloc.rpartition("@")
        if at and parts.scheme in ("http", "https"):
            user, _, password = userinfo.partition(":")
            access = {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
            return {variable: urlunsplit(parts._replace(netloc=place)), **(access if in_use else {})}
    return {}
