"""The data steps on the toy: idempotent, independent of how windows are cut, strict about inputs."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.context import Context, build_context
from pipelines.errors import CheckFailed, InvalidInput, MissingData
from pipelines.instants import midnight
from pipelines.records import DecisionKind
from pipelines.steps import execute
from tests.conftest import TOY, run_data, tree_hashes
from tests.services import thorough

START, DAYS = date(2024, 3, 1), 70
Copy = Callable[[Path], Context]


def days(first: int, last: int) -> dict[str, str]:
    return {"start": str(START + timedelta(first)), "end": str(START + timedelta(last))}


def written(context: Context, *zones: str) -> dict[str, str]:
    root = Path(context.data.uri())
    return {path: digest for path, digest in tree_hashes(root).items() if path.split("/")[0] in zones}


@thorough
@pytest.mark.parametrize("cuts", [[0, 1, 3, 12], [0, 7, 5, 12]])
def test_windows_of_any_cut_give_the_same_bytes(toy: Context, tmp_path: Path, cuts: list[int]) -> None:
    """Longer and shorter windows, overlapping ones, the same one twice."""
    other = build_context(TOY, tmp_path / "other")
    for context, bounds in ((toy, [0, 12]), (other, cuts)):
        for first, last in [*itertools.pairwise(bounds), (bounds[-2], bounds[-1])]:
            for step in ("ingest", "validate", "build_features"):
                execute(step, days(min(first, last), max(first, last)), context)
    zones = ("raw", "validated", "features")
    assert len(written(toy, *zones)) == 12 * 3 + 3
    assert written(toy, *zones) == written(other, *zones)


def test_features_built_in_pieces_are_the_same_bytes(toy: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.features import build

    for step in ("ingest", "validate", "build_features"):
        execute(step, days(0, 12), toy)
    whole, seen = written(toy, "features"), []
    inner = type(toy.usecase).build

    def counted(self: Any, table: Any, tables: Any, window: Any) -> Any:
        seen.append((table.name, tables["readings"].num_rows if "readings" in tables else 0, window))
        return inner(self, table, tables, window)

    monkeypatch.setattr(type(toy.usecase), "build", counted)
    monkeypatch.setattr(build, "MOST_ROWS", 300)
    toy.data.store.delete(toy.data.uri("features"))
    rows = execute("build_features", days(0, 12), toy)["rows"]
    assert written(toy, "features") == whole and rows == {"pump_heat": 719, "pump_maker": 60}
    heat = [(read, len(window.periods)) for name, read, window in seen if name == "pump_heat"]
    looked_back = 3 * 60  # readings; a piece may hold twice as many, where that exceeds MOST_ROWS
    assert max(read for read, _ in heat) <= 2 * looked_back and [length for _, length in heat] == [5, 2, 2, 3]
    assert [name for name, _, _ in seen].count("pump_maker") == 1
    monkeypatch.setattr(build, "MOST_ROWS", 1)
    for number in range(3, 12):
        toy.data.store.delete(toy.data.partition("features", "pump_heat", START + timedelta(number)))
    execute("build_features", days(3, 12), toy)
    assert written(toy, "features") == whole


def test_features_that_are_up_to_date_are_not_built_again(toy: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with a changed declaration and missing partitions are built anew, others are not."""
    for step in ("ingest", "validate", "build_features"):
        execute(step, days(0, 6), toy)
    built: list[tuple[str, int]] = []
    inner = type(toy.usecase).build

    @functools.wraps(inner)  # its module counts as the code that builds
    def counted(self: Any, table: Any, tables: Any, window: Any) -> Any:
        built.append((table.name, len(window.periods)))
        return inner(self, table, tables, window)

    monkeypatch.setattr(type(toy.usecase), "build", counted)
    outputs = execute("build_features", days(0, 6), toy)
    assert built == [("pump_maker", 6)] and outputs["rows"]["pump_heat"] > 300, (
        "a table without days is built every time"
    )
    toy.data.store.delete(toy.data.partition("features", "pump_heat", START + timedelta(2)))
    execute("build_features", days(0, 6), toy)
    assert ("pump_heat", 1) in built
    built.clear()
    heat, maker = toy.usecase.feature_tables
    usecase: Any = replace(toy.usecase, feature_tables=(replace(heat, lookback_days=4), maker))  # type: ignore[type-var]
    execute("build_features", days(1, 6), replace(toy, usecase=usecase))
    assert built == [("pump_heat", 5), ("pump_maker", 5)]
    built.clear()
    monkeypatch.setattr("pipelines.derivation.staleness.code_of", lambda table, usecase: "changed")
    execute("build_features", days(0, 2), toy)
    assert built == [("pump_heat", 2), ("pump_maker", 2)], "the code that builds a table counts like its declaration"


def test_the_data_chain_leaves_online_features_equal_to_offline_ones(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    end = midnight(context.usecase.end, context.usecase.timezone).isoformat()
    assert execute("check_parity", {"as_of": end}, context)["compared"] >= 100
    (decision,) = context.decisions.all(DecisionKind.PARITY)
    assert decision["verdict"] == "PASS"


def test_parity_names_what_differs(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    last = context.data.partition("features", "pump_heat", START + timedelta(DAYS - 1))
    rows = context.data.store.read_table(last)
    heat = rows["heat_3d"].to_pylist()
    heat[0] += 0.5
    changed = rows.set_column(rows.column_names.index("heat_3d"), "heat_3d", pa.array(heat, pa.float32()))
    context.data.store.write_table(last, changed)
    end = midnight(context.usecase.end, context.usecase.timezone).isoformat()
    with pytest.raises(CheckFailed, match=r"pump_heat of \{'pump': '.*'\}: heat_3d is .* online, .* offline; 1 of"):
        execute("check_parity", {"as_of": end}, context)
    assert context.decisions.all(DecisionKind.PARITY)[-1]["verdict"] == "REJECT"


def test_stale_online_values_count_as_missing(toy_home: Path, copy_of: Copy) -> None:
    from pipelines.online import read_online

    context = copy_of(toy_home)
    end = midnight(context.usecase.end, context.usecase.timezone)
    refs = ["pump_heat:heat_3d", "pump_maker:age"]
    fresh, late = (read_online(context.feast, refs, [{"pump": "1"}], end + timedelta(days=wait))[0] for wait in (0, 5))
    assert fresh.values["heat_3d"] is not None
    age = late.ages["heat_3d"]
    assert late.values["heat_3d"] is None and age is not None and age > timedelta(days=5)
    assert late.values["age"] is not None  # ttl 0: never expires
    unknown = read_online(context.feast, refs, [{"pump": "none"}], end)[0]
    assert unknown.values == {"heat_3d": None, "age": None} and unknown.ages["heat_3d"] is None
    before = read_online(context.feast, refs, [{"pump": "1"}], end - timedelta(days=3))[0]
    assert before.values["heat_3d"] is None, "a value known after the requested instant must not be served"


def test_the_online_store_does_not_move_back(toy_home: Path, copy_of: Copy) -> None:
    context = copy_of(toy_home)
    end = midnight(context.usecase.end, context.usecase.timezone)
    early = (end - timedelta(days=9)).isoformat()
    outputs = execute("materialize", {"as_of": early}, context)
    assert outputs == {"as_of": end.isoformat().replace("+00:00", "Z"), "moved": False, "written": {}}
    execute("check_parity", {"as_of": outputs["as_of"]}, context)


def test_the_store_does_not_move_back_behind_a_push_and_parity_holds_until_days_can_be_compared(
    toy_home: Path, copy_of: Copy
) -> None:
    from pipelines.online.standing import note_online_stands_at, online_stands_at

    context = copy_of(toy_home)
    end = midnight(context.usecase.end, context.usecase.timezone)
    for at in (end + timedelta(days=2), end - timedelta(days=2)):  # the second instant is earlier, and changes nothing
        note_online_stands_at(context.feast, at)
        assert online_stands_at(context.feast) == end + timedelta(days=2)
    assert not execute("materialize", {"as_of": end.isoformat()}, context)["moved"]
    held = execute("check_parity", {"as_of": end.isoformat()}, context)
    assert held["verdict"] == "HOLD" and "pump_heat lacks 2024-05-10" in held["reasons"][0]
    assert held["compared"] >= 100, "nothing was pushed, so everything can be compared as of the run's instant"
    assert context.decisions.get(held["decision_id"])["verdict"] == "HOLD"  # type: ignore[index]

    rows = context.data.store.read_table(context.data.partition("features", "pump_heat", date(2024, 5, 9))).to_pandas()
    later = rows.drop_duplicates("pump", keep="last").assign(heat_3d=77.0, known_at=end + timedelta(hours=1))
    context.feast.write_to_online_store("pump_heat", later[later.pump.astype(int) < 30])
    fewer = execute("check_parity", {"as_of": end.isoformat()}, context)
    assert 0 < fewer["compared"] < held["compared"], "entities pushed since cannot be compared as of that instant"
    wrong = later[later.pump == "40"].assign(known_at=end - timedelta(hours=1))
    context.feast.write_to_online_store("pump_heat", wrong)
    with pytest.raises(CheckFailed, match="heat_3d is 77"):
        execute("check_parity", {"as_of": end.isoformat()}, context)


def test_a_data_version_is_the_hash_of_the_data_and_restored_by_dvc(toy: Context, tmp_path: Path) -> None:
    from dvc.repo import Repo

    execute("ingest", days(0, 3), toy)
    first = execute("snapshot", {}, toy)
    before = written(toy, "raw")
    assert execute("snapshot", {"keep": False}, toy) == {**first, "kept": False}
    execute("ingest", days(3, 4), toy)
    second = execute("snapshot", {}, toy)
    assert second["data_version"] != first["data_version"] and second["files"] == first["files"] + 1

    pointer = Path(toy.data.store.root) / "versions" / first["data_version"].removesuffix(".dir") / "raw.dvc"
    with Repo(toy.data.store.root) as repo:
        repo.pull(targets=[str(pointer)])
    assert {f"raw/{path}": digest for path, digest in tree_hashes(pointer.parent / "raw").items()} == before


@pytest.mark.parametrize(
    ("step", "inputs", "message"),
    [
        ("ingest", {"start": "2024-03-01", "end": "2024-02-01"}, "holds no day"),
        ("ingest", {"start": "2024-02-01", "end": "2024-03-05"}, "leaves the data of pumps"),
        ("ingest", {"start": "2024-03-01"}, "end: Field required"),
        ("ingest", {"start": "2024-03-01", "end": "2024-03-02", "zone": "UTC"}, "zone: unknown key"),
        ("materialize", {"as_of": "2024-03-05T00:00:00"}, "as_of: .*timezone"),
        ("no_such_step", {}, "step 'no_such_step' is unknown; choose from ingest"),
    ],
)
def test_bad_inputs_are_named(toy: Context, step: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        execute(step, inputs, toy)


def test_steps_out_of_order_name_what_is_missing(toy: Context) -> None:
    with pytest.raises(MissingData, match="ingest a window first"):
        execute("snapshot", {}, toy)
    with pytest.raises(MissingData, match="raw/readings lacks 2 of the days"):
        execute("validate", days(0, 2), toy)
    with pytest.raises(MissingData, match="validated/readings lacks"):
        execute("build_features", days(0, 2), toy)


def test_a_gap_in_history_stops_the_build(toy: Context) -> None:
    for first, last in ((0, 2), (3, 4)):
        execute("ingest", days(first, last), toy)
        execute("validate", days(first, last), toy)
    with pytest.raises(MissingData, match=r"lacks 1 of the days .*first: 2024-03-03"):
        execute("build_features", days(3, 4), toy)


def test_the_whole_data_chain_is_idempotent(toy: Context) -> None:
    first = run_data(toy, START, START + timedelta(12))
    before = written(toy, "raw", "validated", "features", "quarantine", "reports")
    again = run_data(toy, START, START + timedelta(12))
    assert written(toy, "raw", "validated", "features", "quarantine", "reports") == before
    assert again["snapshot"] == first["snapshot"] and again["validate"] == first["validate"]
    assert [one["kind"] for one in toy.decisions.all()].count("features") == 1
    assert len(toy.decisions.all()) == 3
