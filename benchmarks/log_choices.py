"""Ways to log predictions before their answers go out, side by side, on rows that the model server has logged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from benchmarks.rounds import Cost, median_of, timed
from benchmarks.spool import Shipper, Spool
from pipelines.records import Batch, Records
from pipelines.sqlite import uri_of

USECASE = "benchmark"
SIZES = (1, 16, 1000)  # rows of a batch
LOADED = 16  # rows of a batch where as many connections wait for their answers
WORTH = 0.1  # of a call's processor time, which a spool has to save
KINDS = {
    "direct": "**our log in SQLite, by the driver alone**",
    "sqlalchemy": "the same by SQLAlchemy",
    "spool": "an append-only file, then shipped",
}


class Row(NamedTuple):
    """A logged prediction, as it lies in the records."""

    entity: str
    block: str
    closes_at: int
    request: str
    layout: str
    inputs: bytes
    served: str
    score: float
    decision: int


def logged_rows(records: Path, count: int) -> list[Row]:
    """So many predictions of a records' file, at most."""
    query = f"select {', '.join(Row._fields)} from predictions order by prediction_id limit ?"
    with sqlite3.connect(records) as connection:
        return [Row(*row) for row in connection.execute(query, (count,))]


def batches(rows: Sequence[Row], size: int, began: datetime) -> Iterator[Batch]:
    """Batches of these rows again and again, for ever, under new ids: a millisecond lies between two batches."""
    source = cycle(rows)
    for number in range(10**9):
        some = [*islice(source, size)]
        yield Batch(
            plan=1,
            share=0.0,
            at=began + timedelta(milliseconds=number),
            ids=[f"{number:020x}{n:012x}" for n in range(size)],
            entities=[row.entity for row in some],
            blocks=[row.block for row in some],
            closes_at=[row.closes_at for row in some],
            requests=[row.request for row in some],
            layout=some[0].layout,
            inputs=[row.inputs for row in some],
            served=[row.served for row in some],
            score=[row.score for row in some],
            scores={some[0].served: [row.score for row in some]},
            milliseconds={some[0].served: 1.0},
            errors={},
            decisions=[bool(row.decision) for row in some],
            lacks=[None] * size,
        )


class Log(Protocol):
    """A way to log; in a folder of its own."""

    def append(self, batch: Batch, /) -> object:
        """What an answer waits for."""

    def settle(self, _: None = None, /) -> None:
        """What is left to do once the answers are out."""


class Database:
    """Our log: a commit for each batch. Its checkpoints are made later, as those of the model server."""

    def __init__(self, folder: Path, fsync: bool, direct: bool = True) -> None:
        records = Records(uri_of(folder / "records.db"), fsync)
        quick = records.quick_predictions(USECASE) if direct else None
        self.log, self._engine = quick or records.predictions(USECASE), records.engine
        for engine in records.engines:
            sa.event.listen(engine, "connect", lambda driver, _: driver.execute("pragma wal_autocheckpoint = 0"))
            engine.dispose()  # connections that would make their own
        self.append = self.log.append_batch

    def settle(self, _: None = None, /) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("pragma wal_checkpoint(passive)")


class Spooled:
    """A spool, which is shipped to a database."""

    def __init__(self, folder: Path, fsync: bool) -> None:
        self.database, self.spool = Database(folder, fsync), Spool(folder / "spool", fsync)
        self._shipper = Shipper(self.database.log.engine, USECASE)
        self.append = self.spool.append

    def settle(self, _: None = None, /) -> None:
        self._shipper.ship(self.spool)
        self.database.settle()  # before the spool is gone, all of it is on the disk
        self.spool.clear()


def opened(kind: str, folder: Path, fsync: bool) -> Log:
    folder.mkdir()
    return Spooled(folder, fsync) if kind == "spool" else Database(folder, fsync, kind == "direct")


class Logged(NamedTuple):
    """What a row costs until the answer may go out, and in all."""

    answer: Cost
    total: Cost


Figures = Mapping[tuple[str, bool, int], Logged]  # by kind, fsync and rows of a batch


def measure(rows: Sequence[Row], folder: Path, most: int, calls: int, rounds: int) -> Figures:
    """Each way in turn, at every size of batches; of a turn at most so many rows, and so many calls."""
    figures = {}
    began = datetime.fromtimestamp(rows[0].closes_at / 1e6).astimezone()
    for size in SIZES:
        logs = {
            (kind, fsync): opened(kind, folder / f"{kind}-{fsync}-{size}", fsync)
            for fsync in (False, True)
            for kind in KINDS
        }
        fresh = {name: batches(rows, size, began) for name in logs}
        seen: dict[tuple[str, bool], list[Logged]] = {name: [] for name in logs}
        for _ in range(1 + rounds):
            for name, log in logs.items():
                given = [*islice(fresh[name], max(1, min(calls, most // size)))]
                answer = timed(log.append, given, len(given) * size)
                seen[name].append(Logged(answer, answer + timed(log.settle, [None], len(given) * size)))
        for name, costs in seen.items():
            kept = costs[1:]  # the first has warmed
            answer, total = (median_of([of[part] for of in kept]) for part in range(2))
            figures[(*name, size)] = Logged(answer, total)
    return figures


def table(figures: Figures) -> str:
    """In Markdown."""
    lines = [
        f"| {KINDS[kind]} | {'yes' if fsync else 'no'} | {size:,} | {of.answer.clock:,.1f} | "
        f"{1e6 / of.answer.clock:,.0f} | {of.answer.processor:,.1f} | "
        f"{of.total.clock:,.1f} | {of.total.processor:,.1f} |"
        for (kind, fsync, size), of in figures.items()
    ]
    columns = ("log", "fsync", "rows a batch", "µs a row", "rows/s", "processor µs", "µs in all", "processor µs in all")
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


def verdict(figures: Figures, call: float) -> str:
    """Which way is kept, and why: the spool only where it saves a part of a call that is worth its complexity.

    Args:
        call: the microseconds of the processor that the model server takes for a call under load.
    """
    ours, spool = (figures[kind, False, LOADED].total.processor for kind in ("direct", "spool"))
    kept = "the spool" if ours - spool >= WORTH * call else "the commit of a batch in the database"
    return (
        f"Kept: {kept}, since at {LOADED} rows a batch the database takes {ours:.1f} µs of the processor a row in all, "
        f"and the spool with what ships it {spool:.1f}. A spool is worth its complexity where it saves at least "
        f"{WORTH:.0%} of what a call takes of the model server under {LOADED} connections, {call:.0f} µs; it saves "
        f"{(ours - spool) / call:.1%}."
    )
