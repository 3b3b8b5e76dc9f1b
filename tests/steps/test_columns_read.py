"""Staleness of a view follows from the columns that it reads: late outcomes make no feature out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from pipelines.context import Context
from pipelines.declare import Coded, Events, Over, mean, profile, trailing
from pipelines.declare.code import code_of
from pipelines.derivation.downstream import downstream
from pipelines.derivation.staleness import digests, require_current, stale_features, stale_tables
from pipelines.errors import InvalidInput
from pipelines.periods import A_DAY
from pipelines.records.derived import BUILT, VALIDATED
from pipelines.steps import execute
from pipelines.usecase import Tables
from pipelines.windows import Window
from tests.homes import copy_home, put_back
from tests.steps.test_staleness import START, Plant, day, days

HOT = Events("readings", "read_at", delay=timedelta(minutes=5), where="load > -1")
VIEWS = (
    trailing("pump_heat", ("pump",), Over(HOT, {"heat": mean("heat", decimals=3)}, (A_DAY, 3 * A_DAY)), every=None),
    profile("pump_maker", ("pump",), "makers", {"age": "age"}),
)
REACH = 1 + VIEWS[0].lookback_days  # days whose features depend on a reading
CHANGED = 3


def declare(plant: Plant, *views: Any) -> Plant:
    """The plant with declared views in place of code; the label `serviced` is in the same rows."""
    usecase: Any = replace(plant.context.usecase, feature_repo=None, feature_tables=views or VIEWS)  # type: ignore[type-var]
    splits = {"train_days": 2, "validation_days": 2, "test_days": 2, "embargo_days": 1}
    params = plant.context.params
    params = params.model_copy(update={"splits": params.splits.model_copy(update=splits)})
    plant.context = replace(plant.context, usecase=usecase, params=params)
    return plant


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("columns")
    (folder / "plant").mkdir()
    declare(Plant(folder / "plant")).chain(0, 10)
    copy_home(folder / "plant", folder / "kept")
    return folder / "plant", folder / "kept"


@pytest.fixture
def plant(template: tuple[Path, Path]) -> Plant:
    return declare(Plant(put_back(*template)))


def change(plant: Plant, column: str, by: Callable[[pd.Series], Any]) -> None:
    """Change a column of a day's readings, and process it up to the validated data."""
    readings = plant.frames["readings"]
    of_day = readings.read_at.dt.tz_convert("Europe/Berlin").dt.date == START + timedelta(CHANGED)
    readings.loc[of_day, column] = by(readings.loc[of_day, column])
    bring(plant)


def bring(plant: Plant) -> None:
    plant.write()
    plant.validate(CHANGED, CHANGED + 1, plant.ingest(CHANGED, CHANGED + 1))


def stale_days(plant: Plant) -> list[str]:
    return [str(one) for one in stale_features(plant.context)]


def training_set(context: Context, run: str) -> dict[str, Any]:
    ask = {"as_of": f"{day(10)}T00:00:00+01:00", "data_version": "v", "run": run}
    outputs = execute("build_training_set", ask, context)
    digests_of: dict[str, Any] = context.data.store.read_json(f"{outputs['training_set_uri']}/manifest.json")["sha256"]
    return digests_of


def test_a_late_outcome_outdates_training_sets_and_no_features(plant: Plant) -> None:
    context, built = plant.context, {path: sha for path, sha in plant.built.items() if path.startswith("features")}
    execute("apply_features", {}, context)
    before = training_set(context, "before")
    plant.frames["readings"]["serviced"] = ~plant.frames["readings"].serviced.astype(bool)
    plant.write()
    outputs = plant.ingest(CHANGED, CHANGED + 1)
    with pytest.raises(InvalidInput, match=f"readings of {day(CHANGED)} was ingested and has not been validated since"):
        training_set(context, "refused")
    plant.validate(CHANGED, CHANGED + 1, outputs)
    assert not stale_features(context)
    require_current(context.window(START, START + timedelta(10)), context)
    execute("build_features", days(0, 10), context)
    assert {path: sha for path, sha in plant.built.items() if path.startswith("features")} == built
    assert downstream("readings", START + timedelta(CHANGED), context).training_sets == ["before"]
    assert training_set(context, "after") != before, "its labels depend on the outcome"


@pytest.mark.parametrize(
    ("column", "by"),
    [
        ("heat", lambda heat: heat + 1),
        ("load", lambda load: -2.0),
        ("read_at", lambda at: at + pd.Timedelta(minutes=1)),
        ("pump", lambda pump: pump.str.replace("59", "159")),
    ],
    ids=["measured", "condition", "instant", "key"],
)
def test_a_change_of_a_column_that_a_view_reads_outdates_it(
    plant: Plant, column: str, by: Callable[[Any], Any]
) -> None:
    change(plant, column, by)
    assert stale_days(plant) == [day(CHANGED + n) for n in range(REACH)]
    with pytest.raises(InvalidInput, match=f"the features of {day(CHANGED)}"):
        require_current(plant.context.window(START, START + timedelta(10)), plant.context)
    execute("build_features", days(CHANGED, CHANGED + REACH), plant.context)
    assert not stale_days(plant)


def test_an_additional_row_outdates_a_view(plant: Plant) -> None:
    readings = plant.frames["readings"]
    of_day = readings[readings.read_at.dt.tz_convert("Europe/Berlin").dt.date == START + timedelta(CHANGED)]
    plant.frames["readings"] = pd.concat([readings, of_day.head(1).assign(pump="1000")])
    bring(plant)
    assert stale_days(plant) == [day(CHANGED + n) for n in range(REACH)]


def test_rows_in_another_order_outdate_a_view(plant: Plant) -> None:
    """Events of one instant count in the order of their rows. (Ingestion sorts rows; another tool may not.)"""
    store, period = plant.context.data.store, START + timedelta(CHANGED)
    raw = plant.context.data.partition("raw", "readings", period)
    rows = store.read_table(raw)
    store.write_table(raw, rows.take(list(reversed(range(rows.num_rows)))))
    execute("validate", days(CHANGED, CHANGED + 1), plant.context)
    assert stale_days(plant) == [day(CHANGED + n) for n in range(REACH)]


def test_an_undeclared_column_outdates_nothing(plant: Plant) -> None:
    plant.frames["readings"]["remark"] = "seen"
    bring(plant)
    assert not stale_days(plant)


def hottest(tables: Tables, window: Window) -> Any:
    """A builder that declares its columns, and gets no others."""
    assert set(tables["readings"].column_names) == {"pump", "read_at", "heat", "local_day"}
    at = tables["readings"]["read_at"]
    return tables["readings"].select(["pump", "heat"]).append_column("known_at", at).rename_columns(
        ["pump", "hot", "known_at"]
    )  # fmt: skip


def test_a_builder_may_declare_the_columns_that_it_reads(tmp_path: Path) -> None:
    coded = Coded(
        "pump_hot", ("pump",), ("readings",), builder=f"{__name__}:hottest", columns={"hot": "heat as measured"}
    )
    plant = declare(Plant(tmp_path), replace(coded, reads=("Heat", "read_at")))
    plant.chain(0, 6)
    change(plant, "serviced", lambda serviced: ~serviced.astype(bool))
    assert not stale_days(plant)
    change(plant, "heat", lambda heat: heat + 1)
    assert stale_days(plant) == [day(CHANGED)]
    assert len(stale_features(declare(plant, coded).context)) == 6, (
        "a builder without declared columns counts as another"
    )


# --- a home of the previous version, which stored no digests of columns


def as_before(context: Context) -> None:
    """Reset the stored digests to the format of the previous version."""
    grounds = digests([START + timedelta(n) for n in range(10)], context)
    with context.derivations.engine.begin() as connection:
        connection.execute(sa.update(VALIDATED).values(columns=sa.null()))
        connection.execute(sa.delete(BUILT))
    for table, of in grounds.items():
        context.derivations.note_built(table, {period: one.whole for period, one in of.items()})


def test_nothing_is_out_of_date_in_a_home_of_the_previous_version(plant: Plant) -> None:
    context = plant.context
    as_before(context)
    assert not stale_features(context)
    bring(plant)
    assert not stale_features(context), "validated again unchanged, and stored by column"
    execute("build_features", days(0, 10), context)
    change(plant, "serviced", lambda serviced: ~serviced.astype(bool))
    assert stale_days(plant) == [day(CHANGED + n) for n in range(REACH)], "their other days have no digests of columns"
    execute("validate", days(0, 10), context)
    execute("build_features", days(0, 10), context)
    change(plant, "serviced", lambda serviced: ~serviced.astype(bool))
    assert not stale_days(plant)


def test_digests_of_whole_partitions_are_those_of_the_previous_version(plant: Plant) -> None:
    context, (heat, _) = plant.context, plant.context.usecase.feature_tables
    noted = context.derivations.validated("readings")
    declaration = repr((heat, code_of(heat, context.usecase)))
    reach = [day(number) for number in range(max(0, 9 - heat.lookback_days), 10)]
    before = repr((declaration, [("readings", one, noted[one].sha256) for one in reach]))
    of_day = digests([START + timedelta(9)], context)["pump_heat"][START + timedelta(9)]
    assert of_day.whole == hashlib.sha256(before.encode()).hexdigest() != of_day.read


def test_unknown_columns_mean_all_columns(tmp_path: Path) -> None:
    star = Over(
        replace(HOT, where="load > (select min(load) from (select * from readings))"), {"n": mean("heat")}, (A_DAY,)
    )
    plant = declare(Plant(tmp_path), trailing("pump_heat", ("pump",), star, every=None))
    plant.chain(0, 6)
    change(plant, "serviced", lambda serviced: ~serviced.astype(bool))
    assert set(stale_tables(plant.context)) == {START + timedelta(CHANGED + n) for n in range(3)}
