"""Quarantine by the command line, on the toy's whole data chain."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.context import Context, build_context
from pipelines.records import Release
from pipelines.steps import execute
from pipelines.validation.releases import digests
from tests.artifacts import manifest
from tests.conftest import TOY, tree_hashes
from tests.homes import copy_home

START = date(2024, 3, 1)
DAY = START + timedelta(10)
NEXT = DAY + timedelta(1)
WHY = ["--why", "the meter was right", "--actor", "ann"]


@pytest.fixture(scope="module")
def template(toy_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy after its data chain, with two bad readings of one day set apart since, and a training set."""
    place = tmp_path_factory.mktemp("quarantine") / "home"
    context = build_context(TOY, copy_home(toy_home, place))
    load(context, {0: -9.0, 1: -8.0})
    execute("validate", {"start": str(DAY), "end": str(NEXT)}, context)
    for name, end in (("late", DAY + timedelta(1)), ("early", DAY)):
        windows = {"train": [START, START + timedelta(3)], "test": [START, end]}
        manifest(windows=windows).write(context.data.store, context.data.uri("training_sets", name))
    context.data.store.write_bytes(context.data.uri("training_sets", "unfinished", "train.parquet"), b"")
    return place


@pytest.fixture
def home(template: Path, copy_of: Callable[[Path], Context]) -> Context:
    """A private copy of the template."""
    return copy_of(template)


def load(context: Context, values: dict[int, float]) -> None:
    """Change the loads of some rows of DAY, by number."""
    uri = context.data.partition("raw", "readings", DAY)
    rows = context.data.store.read_table(uri)
    loads = rows["load"].to_pylist()
    for row, value in values.items():
        loads[row] = value
    context.data.store.write_table(
        uri, rows.set_column(rows.column_names.index("load"), "load", pa.array(loads, pa.float32()))
    )


def ask(context: Context, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    home = ["--params", str(TOY), "--home", str(context.settings.home)]
    as_json = ["--json"] if code == 0 else []
    assert main(["quarantine", *words, *home, *as_json]) == code
    seen = capsys.readouterr()
    return json.loads(seen.out) if code == 0 else seen.err


def rows(context: Context, zone: str) -> int:
    return len(context.data.store.read_table(context.data.partition(zone, "readings", DAY)))


def validated(context: Context) -> dict[str, str]:
    return tree_hashes(Path(context.data.uri("validated")))


def test_quarantined_rows_are_listed_and_shown(home: Context, capsys: pytest.CaptureFixture[str]) -> None:
    listed = ask(home, capsys, "list", "--day", str(DAY))
    assert listed == [{"table": "readings", "period": str(DAY), "rows": 2, "reasons": {"bad_load": 2}}]
    assert listed[0] in ask(home, capsys, "list", "--table", "readings")
    assert ask(home, capsys, "list", "--table", "makers") == []
    shown = ask(home, capsys, "show", "readings", str(DAY))
    assert [(row["reason"], row["load"]) for row in shown] == [("bad_load", -9.0), ("bad_load", -8.0)]
    assert (
        main(["quarantine", "show", "readings", str(DAY), "--params", str(TOY), "--home", str(home.settings.home)]) == 0
    )
    assert "load=-9.0" in capsys.readouterr().out


def test_a_released_row_is_validated_and_what_depends_on_it_is_named(
    home: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ask(home, capsys, "show", "readings", str(DAY))
    outputs = ask(home, capsys, "release", "readings", str(DAY), "--row", shown[0]["row"], *WHY)
    assert (outputs["released"], outputs["still_quarantined"], outputs["validated_changed"]) == (
        1,
        {"bad_load": 1},
        True,
    )
    assert outputs["out_of_date"]["features"] == {"pump_heat": [str(DAY), str(DAY + timedelta(3))]}
    assert outputs["out_of_date"]["training_sets"] == ["late"]
    assert outputs["out_of_date"]["online"] is not None  # the store stands at the end of the toy's days
    assert (rows(home, "validated"), rows(home, "quarantine")) == (59, 1)
    (release,) = home.releases.all()
    assert (release.actor, release.why, release.partition, release.reason) == ("ann", WHY[1], str(DAY), "bad_load")

    outputs = ask(home, capsys, "release", "readings", str(DAY), "--reason", "bad_load", *WHY)
    assert (outputs["released"], outputs["still_quarantined"]) == (1, {})
    assert rows(home, "validated") == 60 and DAY not in home.data.periods("quarantine", "readings")
    assert "has no quarantined row" in ask(home, capsys, "release", "readings", str(DAY), *WHY, code=2)


def test_a_release_holds_in_every_later_validation_until_the_row_changes(
    home: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(home, capsys, "release", "readings", str(DAY), *WHY)
    before = validated(home)
    window = {"start": str(START), "end": str(DAY + timedelta(4))}
    outputs = execute("validate", window, home)
    assert validated(home) == before
    assert home.data.store.read_json(outputs["report_uri"])["tables"]["readings"]["released_rows"] == 2
    load(home, {1: -8.5})
    execute("validate", window, home)
    (shown,) = ask(home, capsys, "show", "readings", str(DAY))
    assert shown["load"] == -8.5 and rows(home, "validated") == 59


def test_a_release_killed_before_validation_is_completed_by_the_next(
    home: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    quarantined = home.data.store.read_table(home.data.partition("quarantine", "readings", DAY))
    at = datetime(2024, 6, 1, tzinfo=UTC)
    home.releases.add(
        [
            Release("readings", str(DAY), mark, "bad_load", "ann", "known", at)
            for mark in digests(quarantined.drop_columns(["reason"]))
        ]
    )
    outputs = ask(home, capsys, "release", "readings", str(DAY), "--reason", "bad_load", *WHY)
    assert outputs["validated_changed"] and rows(home, "validated") == 60
    assert {one.why for one in home.releases.all()} == {"known"}  # the first of a row stands


def test_a_row_released_for_one_reason_is_still_held_back_for_another(
    home: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import great_expectations.expectations as gxe

    usecase = type(home.usecase)
    declared = usecase.expectations

    def more(self: Any, table: Any) -> list[Any]:
        other = {"severity": "quarantine", "reason": "too_low"}
        extra = gxe.ExpectColumnValuesToBeBetween(column="load", min_value=-8.5, meta=other)
        return [*declared(self, table), *([extra] if table.name == "readings" else [])]

    ask(home, capsys, "release", "readings", str(DAY), *WHY)
    monkeypatch.setattr(usecase, "expectations", more)
    execute("validate", {"start": str(DAY), "end": str(NEXT)}, home)
    (shown,) = ask(home, capsys, "show", "readings", str(DAY))
    assert (shown["load"], shown["reason"]) == (-9.0, "too_low")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "pipes", str(DAY)], "no table 'pipes'; choose from readings, makers"),
        (["show", "readings", "tuesday"], "'tuesday' is no day"),
        (["show", "readings", "2024-03-01"], "no quarantined row on 2024-03-01"),
        (["show", "makers", "all"], "makers has no quarantined row on all"),
        (["release", "readings", str(DAY), "--reason", "worn", *WHY], "no quarantined row has the reason 'worn'"),
        (["release", "readings", str(DAY), "--row", "zzzzzz", *WHY], "no quarantined row has the row 'zzzzzz'"),
        (["release", "readings", str(DAY), "--why", " "], "--why is empty"),
    ],
)
def test_missing_tables_days_and_rows_are_named(
    home: Context, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in ask(home, capsys, *words, code=2)
    assert home.releases.all() == []


def test_a_row_is_identified_by_its_content() -> None:
    table = pa.table({"a": [1.5, math.nan, None, 1.5], "b": ["x", "x", "x", "x"]})
    marks = digests(table)
    assert marks[0] == marks[3] and len(set(marks)) == 3
    assert digests(table.select(["b", "a"])) == marks
    assert digests(table.append_column("new", pa.nulls(4))) == marks  # a column that says nothing changes nothing
    assert digests(table.append_column("new", pa.array([1, 1, 1, 1]))) != marks
