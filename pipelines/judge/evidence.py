"""The evidence of the judge: typed, frozen values that a caller has gathered, with every selection rule in one place.

Selection is the part that goes wrong in practice. Labels used as they arrive favour the class that arrives first. So a
row counts only after its whole maturity window, and a label that comes later than that never counts: the evidence of an
earlier look cannot change afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import InvalidInput
from pipelines.judge.betting import Scatter

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def matured(due: ArrayLike, known_at: ArrayLike, as_of: float) -> NDArray[np.bool_]:
    """Which rows count at `as_of`: (N,).

    Args:
        due: (N,) instant at which the row's label has matured, whatever the label is. For block means: the end of the
            row's block plus the maturity window, so that only closed blocks count.
        known_at: (N,) instant at which the label became known, NaN where it did not. It must lie before `due`, since a
            label of that instant may arrive after a look at that instant.
        as_of: the instant of the look.
    """
    until = np.asarray(due, dtype=np.float64)
    in_time: NDArray[np.bool_] = np.asarray(known_at, dtype=np.float64) < until
    return in_time & (until <= as_of)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Mean paired differences (challenger's loss minus champion's) of closed blocks whose labels have matured.

    Attributes:
        ids: unique, in the order in which the blocks closed.
        difference: (B,) mean of the block's paired differences.
        rows, positives: (B,) number of pairs behind each mean, and of those with a positive label.
    """

    ids: tuple[Any, ...] = ()
    difference: Array = field(default_factory=lambda: np.zeros(0))
    rows: Counts = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    positives: Counts = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.difference) == len(self.rows) == len(self.positives):
            raise InvalidInput("ids, difference, rows and positives must be of one length")
        if len(set(self.ids)) < len(self.ids):
            raise InvalidInput("ids of blocks must be unique; give each block once")
        _freeze(self.difference, self.rows, self.positives)

    @classmethod
    def of(
        cls,
        block: ArrayLike,
        difference: ArrayLike,
        positives: ArrayLike,
        closes: ArrayLike | None = None,
        pairs: ArrayLike | None = None,
    ) -> Blocks:
        """Blocks from the pairs that count (see `matured`), in the order in which they closed, then by name.

        Args:
            block, difference, positives: (N,), names sortable; of a pair, 1 where its label is positive, else 0.
            closes: (N,) instant at which the block closed; by default blocks are in order of their names.
            pairs: (N,) how many pairs `difference` and `positives` are sums of; 1 by default.
        """
        names, first, code = np.unique(np.asarray(block), return_index=True, return_inverse=True)
        rows, sums, positive = (
            np.bincount(code, None if of is None else np.asarray(of, dtype=np.float64), len(names))
            for of in (pairs, difference, positives)
        )
        at = np.zeros(len(names)) if closes is None else np.asarray(closes, dtype=np.float64)[first]
        order = np.argsort(at, kind="stable")
        counts = (rows[order].astype(np.int64), positive[order].astype(np.int64))
        return cls(tuple(names[order].tolist()), (sums / np.maximum(rows, 1))[order], *counts)


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one kind (errors, slow requests), the first of each entity only.

    They carry information only while both versions are exposed: none at a share of 1 without shadow.

    Attributes:
        share: (N,) the challenger's share of the exposure at each event; one half where both score every request.
        challenger: (N,) whether the event is the challenger's.
    """

    share: Array = field(default_factory=lambda: np.zeros(0))
    challenger: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def __post_init__(self) -> None:
        if len(self.share) != len(self.challenger):
            raise InvalidInput("share and challenger must be of one length")
        if not ((self.share >= 0) & (self.share <= 1)).all():
            raise InvalidInput("a share must lie in [0, 1]")
        _freeze(self.share, self.challenger)


@dataclass(frozen=True)
class SplitCount:
    """Entities that first appeared in one stage, by the arm that they were assigned to; `share` is the challenger's.

    The arm is the assigned version, also where that failed and the other one answered.
    """

    share: float
    challenger: int
    champion: int


@dataclass(frozen=True)
class Flags:
    """Observations that need no statistics.

    Attributes:
        nan_output, out_of_range_output, constant_output: of the challenger's scores; each rolls back at once.
        missing_data: expected predictions or labels are missing.
        stale_labels: the newest matured label is too old.
        stale_decision: the stage to judge is no longer in force.
        prediction_shift: the scores differ more from the champion's than allowed.
        misrouted: a version answered that the plan did not assign, although the assigned one did not fail.
        missing_inputs: the inputs that were missing or stale in more requests than training and its margin explain,
            each with both shares.
    """

    nan_output: bool = False
    out_of_range_output: bool = False
    constant_output: bool = False
    missing_data: bool = False
    stale_labels: bool = False
    stale_decision: bool = False
    prediction_shift: bool = False
    misrouted: bool = False
    missing_inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exposure:
    """The exposure of the challenger so far.

    Attributes:
        stage: index of the stage in force.
        requests: those of this stage that were assigned to the challenger and answered by it; in shadow all it scored.
        seconds: event time since the stage began.
        blocks: number of blocks that closed in this stage.
        elapsed: seconds since the rollout began, on the clock of its deadline.
    """

    stage: int
    requests: int
    seconds: float
    blocks: int
    elapsed: float

    def __post_init__(self) -> None:
        if not all(0 <= value < float("inf") for value in vars(self).values()):
            raise InvalidInput(f"{self} has a value that is negative or not a finite number")


class Segment(NamedTuple):
    """The blocks of one declared slice.

    Attributes:
        name: COLUMN=VALUE.
        foretold: the scatter of this slice before the rollout; None where it had too few blocks.
    """

    name: str
    blocks: Blocks
    foretold: Scatter | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """All evidence of one look.

    Attributes:
        champion_loss: the champion's mean loss, frozen before the rollout.
        blocks: where the use case declares its rows independent, each row is a block.
        foretold: how the pair scattered from block to block before the rollout; None where that is not known.
        horizon: the number of blocks to expect within the time limit, frozen: bets are sized by it.
        narrowest: the margin when the rollout began, in units of the loss: no reach is smaller; None: the present one.
        row_reach: the largest difference of the two losses of one row that there can be.
        segments: the same blocks by declared slice.
        differences: (N,) paired differences of all matured rows, including those of blocks still open.
        errors, slow: events with the share in force.
        trials, failures: the challenger's requests and errors in independent units (entities, if the requests of an
            entity are dependent), of both arms, since the challenger scores every request.
        split: one count for each stage.
    """

    champion_loss: float
    exposure: Exposure
    blocks: Blocks = field(default_factory=Blocks)
    foretold: Scatter | None = None
    horizon: float = 60.0
    narrowest: float | None = None
    row_reach: float = 1.0
    segments: tuple[Segment, ...] = ()
    differences: Array = field(default_factory=lambda: np.zeros(0))
    errors: Events = field(default_factory=Events)
    slow: Events = field(default_factory=Events)
    trials: int = 0
    failures: int = 0
    split: tuple[SplitCount, ...] = ()
    flags: Flags = Flags()

    def __post_init__(self) -> None:
        if not 0 <= self.failures <= self.trials:
            raise InvalidInput(f"failures is {self.failures}; it must lie between 0 and trials ({self.trials})")
        _freeze(self.differences)

    @property
    def unknown(self) -> int:
        """The number of differences that are not finite: they are no evidence, and a reason to hold."""
        return int((~np.isfinite(self.blocks.difference)).sum() + (~np.isfinite(self.differences)).sum())


def _freeze(*arrays: NDArray[Any]) -> None:
    for array in arrays:
        array.setflags(write=False)
