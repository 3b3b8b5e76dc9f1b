"""How a model was made: from which code, with which libraries and parameters, on what.

`train` keeps it beside the model, when it makes one: whoever logs or registers the model later may run other code, with
other parameters.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, ClassVar

from pipelines.artifacts.document import Document, Frozen
from pipelines.json_text import JsonObject

CODE = Path(__file__).parents[2]  # the checkout, where there is one


class Machine(Frozen):
    """What a fit may depend on besides code and data: threads, and of a network device and processes."""

    device: str
    processes: int
    threads: int


class Provenance(Document):
    """How a model was made.

    Attributes:
        code: `git_commit`, and `git_dirty` ("true" or "false") where git says; empty where nothing is known.
        environment: every distribution that was installed, as NAME==VERSION.
        params: params.yaml, whole.
    """

    FILE: ClassVar[str] = "provenance.json"
    REMEDY: ClassVar[str] = "train the model again"

    code: dict[str, str]
    python: str
    environment: tuple[str, ...]
    machine: Machine
    params: JsonObject

    @classmethod
    def now(cls, params: Mapping[str, Any], machine: Machine) -> Provenance:
        """That of a model which this process makes."""
        here = {"code": code(), "python": platform.python_version(), "environment": environment()}
        return cls(**here, machine=machine, params=dict(params), sha256={})

    @property
    def environment_hash(self) -> str:
        return environment_hash(self.environment)


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


def _git(*arguments: str) -> str | None:
    """What git says of the folder that holds this package; None where it says nothing."""
    try:
        done = subprocess.run(["git", "-C", str(CODE), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def environment() -> tuple[str, ...]:
    """Every distribution that is installed, as NAME==VERSION, sorted."""
    return tuple(sorted({f"{one.name}=={one.version}" for one in distributions()}))


def environment_hash(installed: Sequence[str]) -> str:
    """sha256 of what is installed, a line each."""
    return hashlib.sha256("".join(f"{pin}\n" for pin in installed).encode()).hexdigest()
