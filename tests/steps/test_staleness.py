"""What changed is brought through validation and features by the next run, whoever was killed before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.context import Context, build_context
from pipelines.derivation.staleness import digests, require_current, stale_features
from pipelines.errors import InvalidInput
from pipelines.params.source import Files
from pipelines.steps import execute
from pipelines.windows import Window
from tests.conftest import TOY, tree_hashes
from tests.homes import copy_home, put_back

START, LAST, LOOKBACK = date(2024, 3, 1), 14, 3
Step = Callable[..., dict[str, Any]]


def days(first: int, last: int) -> dict[str, str]:
    return {"start": str(START + timedelta(first)), "end": str(START + timedelta(last))}


def day(number: int) -> str:
    return str(START + timedelta(number))


class Plant:
    """The toy's readings in files that a test may correct, and a home."""

    def __init__(self, folder: Path) -> None:
        toy = build_context(TOY, folder / "home")
        params = toy.params.model_copy(update={"source": Files(kind="files", uri=f"{folder}/{{table}}.parquet")})
        self.context, self.folder = Context(toy.settings, params, toy.usecase), folder
        window = Window(START, START + timedelta(LAST), toy.usecase.timezone)
        self.frames = {
            table.name: next(iter(toy.usecase.read(table, window))).to_pandas() for table in toy.usecase.tables
        }
        self.write()

    def write(self) -> None:
        for name, frame in self.frames.items():
            frame.to_parquet(self.folder / f"{name}.parquet", index=False)

    def correct(self, number: int, heat: float = 3.25) -> None:
        """Change the heat of a day's readings."""
        readings = self.frames["readings"]
        of_day = readings.read_at.dt.tz_convert("Europe/Berlin").dt.date == START + timedelta(number)
        readings.loc[of_day, "heat"] = heat
        self.write()

    def ingest(self, first: int, last: int) -> dict[str, Any]:
        return execute("ingest", days(first, last), self.context)

    def validate(self, first: int, last: int, ingested: dict[str, Any]) -> dict[str, Any]:
        return execute("validate", {**days(first, last), "since": ingested["validate_since"]}, self.context)

    def build(self, ingested: dict[str, Any]) -> None:
        execute("build_features", {"start": ingested["build_since"], "end": ingested["build_until"]}, self.context)

    def chain(self, first: int, last: int) -> dict[str, Any]:
        """As the data DAG runs it."""
        ingested = self.ingest(first, last)
        self.validate(first, last, ingested)
        self.build(ingested)
        return ingested

    @property
    def built(self) -> dict[str, str]:
        root = Path(self.context.data.uri())
        return {path: sha for path, sha in tree_hashes(root).items() if path.split("/")[0] in ("validated", "features")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Where a plant stands that ran its first days, and a copy of all that is in there."""
    folder = tmp_path_factory.mktemp("staleness")
    (folder / "plant").mkdir()
    plant = Plant(folder / "plant")
    plant.chain(0, 6)
    for number in range(6, 10):
        plant.chain(number, number + 1)
    copy_home(folder / "plant", folder / "kept")
    return folder / "plant", folder / "kept"


@pytest.fixture
def plant(template: tuple[Path, Path]) -> Plant:
    """The plant as it was."""
    return Plant(put_back(*template))


def afresh(plant: Plant, tmp_path: Path, last: int) -> dict[str, str]:
    """What a home holds that saw nothing but the corrected source."""
    (tmp_path / "other").mkdir()
    other = Plant(tmp_path / "other")
    other.frames = plant.frames
    other.write()
    other.chain(0, last)
    return other.built


def test_without_a_change_a_run_processes_its_own_days(plant: Plant) -> None:
    outputs = plant.ingest(10, 11)
    assert (outputs["validate_since"], outputs["build_since"], outputs["build_until"]) == (day(10), day(10), day(11))
    outputs = plant.ingest(4, 5)
    assert (outputs["validate_since"], outputs["build_since"], outputs["build_until"]) == (day(4), day(4), day(5))


def test_a_restated_day_is_rebuilt_with_the_days_that_look_back_on_it(plant: Plant, tmp_path: Path) -> None:
    plant.correct(3)
    outputs = plant.chain(3, 4)
    assert (outputs["validate_since"], outputs["build_since"], outputs["build_until"]) == (
        day(3),
        day(3),
        day(3 + LOOKBACK + 1),
    )
    assert plant.built == afresh(plant, tmp_path, 10)


def test_a_new_feature_table_must_be_built_for_all_days_before_training(plant: Plant, tmp_path: Path) -> None:
    tables = plant.context.usecase.feature_tables
    before: Any = replace(plant.context.usecase, feature_tables=tables[:-1])  # type: ignore[type-var]
    (tmp_path / "old").mkdir()
    old = Plant(tmp_path / "old")
    old.context = replace(old.context, usecase=before)
    old.chain(0, 8)
    with_it = replace(old.context, usecase=plant.context.usecase)
    with pytest.raises(InvalidInput, match=f"features of {day(0)} \\(8 days in all\\) rest on data or declarations"):
        require_current(with_it.window(START, START + timedelta(8)), with_it)
    old.context = with_it
    outputs = old.chain(8, 9)
    assert (outputs["validate_since"], outputs["build_since"], outputs["build_until"]) == (day(8), day(0), day(9))
    assert old.built == afresh(plant, tmp_path, 9)
    require_current(with_it.window(START, START + timedelta(9)), with_it)


@pytest.mark.parametrize("done", ["ingest", "validate"])
def test_the_next_run_completes_one_that_was_cut_short(plant: Plant, tmp_path: Path, done: str) -> None:
    plant.correct(8)
    outputs = plant.ingest(8, 9)
    if done == "validate":
        plant.validate(8, 9, outputs)
    outputs = plant.chain(10, 11)
    assert (outputs["build_since"], outputs["build_until"]) == (day(8), day(11))
    assert outputs["validate_since"] == (day(8) if done == "ingest" else day(10))
    assert plant.built == afresh(plant, tmp_path, 11)
    assert plant.ingest(11, 12)["build_since"] == day(11)


def test_days_of_other_runs_are_left_to_them(plant: Plant) -> None:
    """Of a backfill, days overtake one another."""
    plant.ingest(11, 12)
    plant.ingest(10, 11)
    assert plant.ingest(12, 13)["validate_since"] == day(12)


def test_a_change_is_rebuilt_up_to_the_last_built_day(plant: Plant) -> None:
    plant.correct(8)
    assert plant.ingest(8, 9)["build_until"] == day(10), "nothing is built from the tenth day on"


def test_no_training_set_is_built_from_days_that_changed_since(plant: Plant) -> None:
    splits = plant.context.params.splits.model_copy(
        update={"train_days": 2, "validation_days": 2, "test_days": 2, "embargo_days": 1}
    )
    context = replace(plant.context, params=plant.context.params.model_copy(update={"splits": splits}))
    execute("apply_features", {}, context)
    ask = {"as_of": f"{day(10)}T00:00:00+01:00", "data_version": "v", "run": "r"}
    manifest = context.data.uri("training_sets", "r", "manifest.json")
    plant.correct(2)
    outputs = plant.ingest(2, 3)
    with pytest.raises(InvalidInput, match="readings of 2024-03-03 was ingested and has not been validated since"):
        execute("build_training_set", ask, context)
    plant.validate(2, 3, outputs)
    with pytest.raises(InvalidInput, match=r"features of 2024-03-03 \(4 days in all\).*--start 2024-03-03"):
        execute("build_training_set", ask, context)
    assert not context.data.store.exists(manifest)
    plant.build(outputs)
    execute("build_training_set", ask, context)
    assert context.data.store.exists(manifest)


def test_a_changed_reference_table_outdates_what_reads_it(plant: Plant) -> None:
    plant.frames["makers"]["age"] += 1
    plant.write()
    outputs = plant.ingest(10, 11)
    reasons = plant.validate(10, 11, outputs)["reasons"]
    assert not any("makers has changed" in reason for reason in reasons), "no daily feature rests on the makers"


def test_a_correction_of_the_source_reaches_the_partition(plant: Plant) -> None:
    """The plant's own workings: a correction shows in the partition."""
    plant.correct(5, 9.5)
    plant.ingest(5, 6)
    rows = plant.context.data.store.read_table(
        plant.context.data.partition("raw", "readings", START + timedelta(5))
    ).to_pandas()
    assert isinstance(rows, pd.DataFrame) and set(rows.heat) == {9.5}


def test_restored_data_do_not_count_as_changed(plant: Plant) -> None:
    """As `dvc repro` does with outputs that it has in its cache."""
    before = plant.context.data.store.read_bytes(plant.context.data.partition("raw", "readings", START + timedelta(9)))
    plant.correct(9)
    plant.chain(9, 10)
    plant.context.data.store.write_bytes(plant.context.data.partition("raw", "readings", START + timedelta(9)), before)
    execute("validate", days(9, 10), plant.context)
    execute("build_features", days(9, 10), plant.context)
    require_current(plant.context.window(START, START + timedelta(10)), plant.context)


def test_days_built_half_under_another_declaration_are_out_of_date(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the declaration is back to what the notes of these days were once made with."""
    before, store = plant.built, type(plant.context.data.store)
    heat, maker = plant.context.usecase.feature_tables
    written, write = list[str](), store.write_table

    def stopping(self: Any, uri: str, table: Any, *given: Any, **named: Any) -> Any:
        written.append(uri)
        if len(written) == 4:
            raise KeyboardInterrupt
        doubled = table.set_column(table.column_names.index("heat_1d"), "heat_1d", table["heat_3d"])
        return write(self, uri, doubled, *given, **named)

    usecase: Any = replace(plant.context.usecase, feature_tables=(replace(heat, lookback_days=4), maker))  # type: ignore[type-var]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_table", stopping)
        execute("build_features", days(0, 10), replace(plant.context, usecase=usecase))
    assert plant.built != before and len(stale_features(plant.context)) == 10
    execute("build_features", days(0, 10), plant.context)
    assert plant.built == before and not stale_features(plant.context)


def test_the_digest_of_a_period_does_not_depend_on_the_other_periods(plant: Plant) -> None:
    one, many = (digests([START + timedelta(n) for n in span], plant.context) for span in ([5], range(9)))
    assert all(many[table][START + timedelta(5)] == of[START + timedelta(5)] for table, of in one.items())
    assert len(set(many["pump_heat"].values())) == 9
