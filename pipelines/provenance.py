"""How a model was made: from which code, with which libraries and parameters, on what. A leaf.

`train` keeps it beside the model, when it makes one: whoever logs or registers the model later may run other code, with
other parameters.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pipelines.seal import read_sealed
from pipelines.store import Store

PROVENANCE = "provenance.json"
CODE = Path(__file__).parents[1]  # the checkout, where there is one


def provenance(params: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept, JSON-able.

    Args:
        params: params.yaml, whole.
        machine: what a fit may depend on besides: threads, and of a network device and processes.
    """
    return {
        "code": code(),
        "python": platform.python_version(),
        "environment": list(environment()),
        "machine": dict(machine),
        "params": dict(params),
    }


def read_provenance(store: Store, model_uri: str) -> dict[str, Any]:
    """Raises MissingData where a model has none, CorruptData where it was altered."""
    return read_sealed(store, f"{model_uri.rstrip('/')}/{PROVENANCE}", "train the model again")


def code() -> dict[str, str]:
    """The commit of the code (`git_commit`), and whether files differ from it (`git_dirty`: true or false).

    FLIGHTDECK_COMMIT (set it in images without git) says what an image was built from; else git is asked; else nothing.
    """
    if named := os.environ.get("FLIGHTDECK_COMMIT", ""):
        return {"git_commit": named}
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if not commit:
        return {}
    return {"git_commit": commit, **({} if changed is None else {"git_dirty": str(bool(changed)).lower()})}


def _git(*asked: str) -> str | None:
    """What git says of the folder that holds this package; None where it says nothing."""
    try:
        done = subprocess.run(["git", "-C", str(CODE), *asked], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def environment() -> tuple[str, ...]:
    """Every distribution that is installed, as NAME==VERSION, sorted."""
    return tuple(sorted({f"{found.name}=={found.version}" for found in distributions()}))


def environment_hash(installed: tuple[str, ...] | list[str]) -> str:
    """sha256 of what is installed, a line each."""
    return hashlib.sha256("".join(f"{pin}\n" for pin in installed).encode()).hexdigest()
