"""Checkpoints of a fit: one file in a local folder, replaced atomically, of tensors and plain values only."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import Tensor
from torch.optim.optimizer import StateDict

log = logging.getLogger(__name__)

NAME = "checkpoint.pt"
DIGEST = 32  # bytes of sha256 before what torch saved


class State(TypedDict):
    """A fit after some epochs.

    Attributes:
        epoch: epochs done.
        since: epochs since the best one.
        best: validation loss of the best epoch, whose weights are `kept`.
        network, optimizer: states after the last epoch.
    """

    epoch: int
    since: int
    best: float
    kept: dict[str, Tensor]
    network: dict[str, Tensor]
    optimizer: StateDict


@dataclass(frozen=True)
class Checkpoints:
    """The newest state of one fit.

    Attributes:
        folder: on a local disk; None for no checkpoints.
        fingerprint: of everything that determines the fit. A state of another fit is ignored.
    """

    folder: Path | None
    fingerprint: str

    def save(self, state: State) -> None:
        """Replace the state by this one, atomically."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{NAME}.{os.getpid()}"
        sink = io.BytesIO()
        torch.save({**state, "fingerprint": self.fingerprint}, sink)
        with beside.open("wb") as file:
            file.write(hashlib.sha256(sink.getbuffer()).digest())
            file.write(sink.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.folder / NAME)

    def read(self) -> bytes | None:
        """The content of the file; None if there is none."""
        try:
            return None if self.folder is None else (self.folder / NAME).read_bytes()
        except FileNotFoundError:
            return None

    def parse(self, content: bytes | None) -> State | None:
        """The state of this fit in a file; None if it is damaged or of another fit, so that this one starts anew."""
        if content is None:
            return None
        digest, body = content[:DIGEST], content[DIGEST:]
        try:
            if hashlib.sha256(body).digest() != digest:  # torch has no checksum
                raise ValueError("it is not what was written")
            state = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
            if state["fingerprint"] == self.fingerprint:
                return cast(State, state)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError) as error:
            log.warning("the checkpoint in %s cannot be read (%s); the fit begins from the start", self.folder, error)
        return None
