"""What the benchmark of the model server's choices compares does the same work, and its words follow its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks import log_choices
from benchmarks.load import Measured
from benchmarks.log_choices import Logged, Row, batches, opened
from benchmarks.rounds import Cost, median_of, side_by_side
from benchmarks.serving_choices import CONNECTIONS, Flight, calls_of, readers, transport_table, transports
from benchmarks.spool import HEAD, Spool
from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.records import Batch, Records
from pipelines.records.direct_log import Repeated
from pipelines.serving.schemas import Refusal, prediction_envelope
from pipelines.settings import Settings
from pipelines.sqlite import uri_of
from pipelines.usecases.flights import USECASE
from tests.conftest import ROOT

BEGAN = datetime(2013, 4, 1, tzinfo=UTC)
ROWS = [
    Row("B623", "2013-03-31", 1_364_788_800_000_000, '{"flight": 23}', "a" * 16, b"\x00\x01[]", "1", 0.25, 0),
    Row("UA7", "2013-04-01", 1_364_875_200_000_000, '{"flight": 7}', "a" * 16, b"\x02\xff[]", "1", 0.75, 1),
]
BODY = {
    "carrier": "B6",
    "flight": 23,
    "origin": "JFK",
    "dest": "LAX",
    "tailnum": None,
    "sched_dep_at": "2013-11-05T18:00:00Z",
    "scheduled_minutes": 375.0,
    "distance": 2475.0,
}


def some(sizes: list[int]) -> list[Batch]:
    """Batches of these sizes with ids of their own."""
    return [next(islice(batches(ROWS, size, BEGAN), n, None)) for n, size in enumerate(sizes)]


@contextmanager
def spooled(written: list[Batch], fsync: bool = False) -> Iterator[tuple[Path, Spool]]:
    """A spool with these batches, and its file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "spool")
        spool = Spool(file, fsync)
        for batch in written:
            spool.append(batch)
        yield file, spool
        spool.close()


@given(st.lists(st.integers(1, 3), max_size=4), st.booleans())
def test_a_spool_gives_its_batches_as_they_were(sizes: list[int], fsync: bool) -> None:
    written = some(sizes)
    with spooled(written, fsync) as (_, spool):
        assert [*spool.batches()] == written
        spool.clear()
        assert [*spool.batches()] == []


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data(), st.booleans())
def test_a_spool_ends_before_what_is_torn_or_changed(sizes: list[int], data: st.DataObject, torn: bool) -> None:
    written = some(sizes)
    with spooled(written) as (file, spool):
        content = file.read_bytes()
        ends = [0]
        while ends[-1] < len(content):
            ends.append(ends[-1] + HEAD.size + HEAD.unpack_from(content, ends[-1])[0])
        at = data.draw(st.integers(0, len(content) - 1))
        changed = bytes([content[at] ^ data.draw(st.integers(1, 255))])
        file.write_bytes(content[:at] if torn else content[:at] + changed + content[at + 1 :])
        whole = sum(end <= at for end in ends[1:])
        assert [*spool.batches()] == written[:whole]


def log_of(folder: Path) -> list[tuple[Any, ...]]:
    """The rows as they lie there: their layout is not kept."""
    with Records(uri_of(folder / "records.db")).engine.connect() as connection:
        query = "select prediction_id, request, score, decision from predictions order by prediction_id"
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_every_way_to_log_ends_with_the_same_rows(tmp_path: Path) -> None:
    written = some([1, 16, 1, 2])
    rows = []
    for kind in log_choices.KINDS:
        log = opened(kind, tmp_path / kind, fsync=False)
        for batch in written:
            log.append(batch)
        if kind == "spool":
            assert log_of(tmp_path / kind) == []
        log.settle()
        rows.append(log_of(tmp_path / kind))
    assert len(rows[0]) == 20 and rows[0] == rows[1] == rows[2]


def test_what_is_shipped_twice_is_refused(tmp_path: Path) -> None:
    log = opened("spool", tmp_path / "spool", fsync=False)
    for _ in range(2):
        log.append(some([3])[0])
    with pytest.raises(Repeated):
        log.settle()
    assert log_of(tmp_path / "spool") == []


@pytest.mark.parametrize(
    ("changes", "is_valid"),
    [
        ({}, True),
        ({"id": "call 1"}, True),
        ({"tailnum": "N709JB", "flight": None}, True),
        ({"carrier": "b6"}, False),
        ({"flight": 0}, False),
        ({"flight": "23"}, False),
        ({"origin": "BOS"}, False),
        ({"dest": "LA"}, False),
        ({"tailnum": "N"}, False),
        ({"sched_dep_at": "2013-11-05T18:00:00"}, False),
        ({"scheduled_minutes": 0}, False),
        ({"distance": 15_001}, False),
        ({"id": ""}, False),
        ({"gate": 4}, False),
    ],
)
def test_all_readers_take_and_refuse_the_same(changes: dict[str, Any], is_valid: bool) -> None:
    context = Context(Settings(), load_params(ROOT / "params.yaml"), USECASE)
    body = {**BODY, **changes}
    for size, content in ((1, body), (1000, {"requests": [BODY, body]})):
        for name, read in readers(context, size).items():
            try:
                read(json.dumps(content).encode())
                took = True
            except (Refusal, ValidationError, msgspec.ValidationError):
                took = False
            assert took is is_valid, (name, size)


def test_the_struct_has_the_fields_and_values_of_the_request() -> None:
    (item,) = prediction_envelope(USECASE, 10).parse(json.dumps(BODY).encode())
    struct = msgspec.json.decode(json.dumps(BODY).encode(), type=Flight)
    assert {name: getattr(struct, name) for name in struct.__struct_fields__} == item.__dict__


@pytest.mark.parametrize(
    ("spool", "kept", "share"),
    [(10.0, "the spool", "10.0%"), (10.1, "the commit of a batch", "9.9%"), (30.0, "the commit", "-10.0%")],
)
def test_a_spool_is_kept_where_it_saves_a_tenth_of_a_call(spool: float, kept: str, share: str) -> None:
    costs = {"direct": 20.0, "sqlalchemy": 25.0, "spool": spool}
    figures = {
        (kind, fsync, size): Logged(Cost(1.0, 1.0), Cost(99.0, total if (fsync, size) == (False, 16) else 0.0))
        for kind, total in costs.items()
        for fsync in (False, True)
        for size in log_choices.SIZES
    }
    text = log_choices.verdict(figures, 100.0)
    assert text.startswith(f"Kept: {kept}") and text.endswith(f"it saves {share}.")
    assert len(log_choices.table(figures).splitlines()) == 2 + len(figures)


def test_granian_is_left_out_in_plain_words() -> None:
    commands = transports(None)
    absent = [name for name, (command, _) in commands.items() if command is None]
    assert len(absent) == 2 and all("Granian" in name for name in absent)
    assert all(
        command and command[0] == "python" for name, (command, _) in transports("python").items() if name in absent
    )
    one = Measured(10, 5.0, 1.0, 2.0, 100.0, 0)
    loads = {name: [[] if name in absent else [one] for _ in CONNECTIONS] for name in commands}
    lines = transport_table(loads).splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines if "without `--peers`" in line] == absent
    assert all(line.endswith("| 5 | 100 | 5 | 100 | 0 |") for line in lines if "without" not in line)


def test_each_work_has_its_turn_in_every_round() -> None:
    seen: list[tuple[str, int]] = []
    works = {name: lambda given, name=name: seen.append((name, given)) for name in "ab"}
    costs = side_by_side(works, [1, 2], rows=3, calls=3, rounds=2)
    assert costs.keys() == {"a", "b"}
    assert seen == [(name, given) for _ in range(3) for name in "ab" for given in (1, 2, 1)]
    assert median_of([Cost(1, 9), Cost(2, 7), Cost(9, 8)]) == Cost(2, 8)
    assert [calls_of(size, 20_000) for size in (1, 16, 1000, 30_000)] == [2000, 1250, 20, 1]
