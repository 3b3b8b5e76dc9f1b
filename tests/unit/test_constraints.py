"""Params and declarations that contradict each other are refused by name; defaults never contradict declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.__main__ import main
from pipelines.configuration import load, read
from pipelines.console import check
from pipelines.constraints import CONSTRAINTS, violations
from pipelines.context import build_context
from pipelines.declare import Each, Events, Log, Over, count, mean, trailing
from pipelines.declare.base import Base
from pipelines.errors import InvalidInput
from pipelines.params import Params
from pipelines.params.derived import Declared, cron, defaults, filled
from pipelines.periods import A_DAY
from pipelines.usecase import ModelInputs
from tests.conftest import ROOT, TOY
from tests.toy import USECASE, Reading
from tests.toy_lists import USECASE as LISTS

SHADOW = {"share": 0.0, "min_hours": 1, "min_requests": 1, "min_blocks": 0, "min_pairs": 0}
AHEAD = {"name": "a", "kind": "direction", "change": {"load": {"add": 1}}, "moves": "up"}
HALF = {"share": 0.5, "min_hours": 1, "min_requests": 1, "min_blocks": 1, "min_pairs": 1}
BROKEN: Mapping[str, tuple[dict[str, Any], str]] = {  # by constraint: values that break it, and the message
    "service-with-inputs": ({"features.service": "pump_service_v9"}, "did you mean pump_service_v"),
    "sources-are-tables": (
        {"sources": {"reading": {"kind": "bundled"}}},
        "reading, which is no table of pumps; did you",
    ),
    "health-of-views": ({"features.health.views": {"heat": []}}, "views names heat, which is no feature table"),
    "embargo-covers-maturity": ({"splits.embargo_days": 0}, "0, shorter than .* 1 day, 0:00:00; set it to at least 1"),
    "test-window-has-labels": ({"splits.test_days": 1}, "test_days is 1, .* set it to more than 1, with 29 for four"),
    "label-reads-within-maturity": ({}, "declares looks_ahead 2 days, 0:00:00 and maturity 1 day"),
    "monitoring-sees-labels": ({"monitoring.lag_days": 0}, "lag_days is 0, shorter than .* set it to at least 1"),
    "history-covers-windows": ({"splits.validation_days": 56, "desk": None}, "has 70 days, .* take 70: none is left"),
    "desk-leaves-training": (
        {"splits.validation_days": 46},
        "60 days before as_of 2024-04-30, .* take 60: none is left",
    ),
    "cleaning-of-inputs": (
        {"cleaning.columns": {"pressure": {}}},
        "pressure, which is no numeric input of pump_service_v1",
    ),
    "behaviour-of-inputs": (
        {"behaviour": [{"name": "a", "kind": "invariance", "change": {"lode": {"add": 1}}, "tolerance": 0.1}]},
        "behaviour a changes lode, which is no input of pump_service_v1; did you mean load",
    ),
    "derived-from-what-there-is": ({}, "derived a reads b, which is not derived before it; declare that first"),
    "declared-once": ({}, "views pump_heat and again both have a feature heat_3d; give one of them a prefix"),
    "family-has-labels": ({"training.families": ["mmoe"]}, "pumps declares no `auxiliary` label"),
    "rollout-can-end": ({"rollout.judge.max_days": 2}, "max_days is 2; the stages take 3 days, of which the first"),
    "labels-in-time": (
        {"rollout.watch.max_label_age_hours": 24},
        "is 24, and for 1 days no label .* set it to more than 24",
    ),
    "stages-wait-for-labels": (
        {"rollout.stages": [SHADOW, HALF]},
        r"stages\.0 \(shadow\) has min_blocks 0 and min_pairs",
    ),
}


def params_with(folder: Path, change: Mapping[str, Any]) -> Path:
    """The toy's params with values at dotted keys."""
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(filled(yaml.safe_load(TOY.read_text()), change)))
    return file


DECLARED = {  # by constraint: a module of the toy that breaks it
    "label-reads-within-maturity": (
        "from datetime import timedelta\nfrom tests.toy import Pumps\nUSECASE = Pumps(looks_ahead=timedelta(2))\n"
    ),
    "derived-from-what-there-is": (
        "from pipelines.declare import Log\nfrom tests.toy_lists import Lists\n"
        "from tests.toy import INPUTS\n"
        "USECASE = Lists(name='pumps', model_inputs=INPUTS, derived=(Log('a', 'b'), Log('b', 'load')))\n"
    ),
    "declared-once": (
        "from datetime import timedelta\nfrom pipelines.declare import Events, Over, mean, trailing\n"
        "from tests.toy import USECASE as TOY, Pumps\n"
        "OVER = Over(Events('readings', 'read_at'), {'heat': mean('heat')}, (timedelta(3),))\n"
        "VIEWS = [trailing(name, ('pump',), OVER) for name in ('pump_heat', 'again')]\n"
        "USECASE = Pumps(feature_tables=(*VIEWS, TOY.feature_tables[1]))\n"
    ),
}


def write_module(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module of the toy that breaks a constraint; gives its name."""
    module = f"declared_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(DECLARED[name])
    monkeypatch.syspath_prepend(folder)
    return module


@pytest.mark.parametrize(
    ("derived", "messages"),
    [
        ((Log("load", "hour"),), ["derived load: there is a column load already; give it another name"]),
        ((Log("a", "hour"), Log("a", "load")), ["derived a: there is a column a already; give it another name"]),
        ((Log("a", "a"),), ["derived a reads a, which is not derived before it; declare that first"]),
        (
            (Each("a", "part", "parts", "wear", "max"),),
            [
                "derived a reads the list part, which is no column of requests; did you mean parts or plant?",
                "derived a reads by parts, which is no key of a feature table; did you mean part or plant?",
            ],
        ),
        (LISTS.derived, []),
    ],
    ids=["a column's name", "twice", "itself", "neither list nor key", "the toy's"],
)
def test_derivations_are_checked_against_the_declarations(derived: Any, messages: list[str]) -> None:
    constraint = CONSTRAINTS["derived-from-what-there-is"]
    assert [*constraint(read(TOY).params, replace(LISTS, derived=derived))] == messages


def test_a_view_that_models_read_has_keys_that_requests_have() -> None:
    over = Over(Events("readings", "read_at"), {"heat": mean("heat")}, (A_DAY, 3 * A_DAY))
    params, constraint = read(TOY).params, CONSTRAINTS["declared-once"]
    for key, messages in (
        ("pump", []),
        ("maker", ["maker, which no request has; choose from load, plant, pump, read_at"]),
    ):
        usecase: Any = replace(USECASE, feature_tables=(trailing("pump_heat", (key,), over),))
        assert [
            why.partition("is read by ")[2].partition(", or let")[0] for why in constraint(params, usecase)
        ] == messages


class Simple(Base):
    """The toy's readings, with everything that it declares in SQL."""

    name, timezone, start, split_on = "pumps", "Europe/Berlin", date(2024, 3, 1), "pump"
    maturity, request = timedelta(days=1), Reading
    tables = USECASE.tables
    feature_tables = (trailing("hot", ("pump",), Over(Events("readings", "read_at"), {"n": count()}, (A_DAY,))),)
    model_inputs = MappingProxyType({"v1": ModelInputs(("n_1d",), ())})
    examples_sql = "select * from readings where local_day >= $start and local_day < $end"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"examples_sql": "select lode from readings"}, 'column "lode" not found.*correct the query select lode'),
        ({"rows": "reading"}, "view hot: .*reading does not exist"),
        ({"at": "red_at"}, 'view hot: .*column "red_at" not found'),
        ({"where": "load >"}, "view hot: .*correct the declaration"),
        ({"keys": ("pmp",)}, 'view hot: .*"pmp" not found'),
        ({"measure": mean("lode")}, 'view hot: readings: .*"lode" not found.*correct the declaration'),
        (
            {"measure": mean("plant")},
            "view hot: mean of plant, which is VARCHAR; declare an expression that is a number",
        ),
    ],
)
def test_declared_sql_is_tried_before_any_step_runs(changes: dict[str, Any], message: str | None) -> None:
    usecase: Any = Simple()
    usecase.examples_sql = changes.get("examples_sql", usecase.examples_sql)
    events = Events(changes.get("rows", "readings"), changes.get("at", "read_at"), where=changes.get("where"))
    over = Over(events, {"n": changes.get("measure", count())}, (A_DAY,))
    usecase.feature_tables = (trailing("hot", changes.get("keys", ("pump",)), over),)
    problems = [*check.unbuildable(usecase)]
    assert len(problems) == (message is not None) and all(re.search(message or "", one) for one in problems), problems


def test_requests_are_split_by_a_field_that_they_have() -> None:
    with pytest.raises(InvalidInput, match=r"Other: split_on is 'pomp'; choose from pump, plant, load, read_at"):
        type("Other", (Simple,), {"split_on": "pomp"})


def test_each_constraint_has_a_case_here_and_a_line_in_the_docs() -> None:
    assert list(BROKEN) == list(CONSTRAINTS)
    table = (ROOT / "docs" / "params.md").read_text()
    assert [name for name in (*CONSTRAINTS, check.BUILDS, check.WHERE, check.DVC) if f"| `{name}` |" not in table] == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_constraint_is_refused_by_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = BROKEN[name]
    if not change:
        change = {"usecase": write_module(name, tmp_path, monkeypatch)}
    file = params_with(tmp_path, change)
    with pytest.raises(InvalidInput, match=rf"{message}.* \({name}; "):
        build_context(file, tmp_path)
    configuration = read(file)
    assert {one.constraint for one in violations(configuration.params, configuration.usecase)} == {name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"desk.start": "2024-02-01"}, "start is 2024-02-01, outside the source's days, 2024-03-01 to 2024-05-10"),
        ({"desk.monitor_end": "2024-05-01"}, "monitors 2024-04-30 to 2024-05-01, and labels take 1 day"),
        (
            {"behaviour": [{**AHEAD, "where": {"plnt": "north"}}]},
            "about rows by plnt, which none has; did you mean plant",
        ),
        ({"behaviour": [{**AHEAD, "change": {"plant": {"add": 1}}}]}, "adds to or scales plant, which is no number"),
        ({"splits.embargo_days": 10**9}, "less than or equal to 36500"),
        (
            {"features": None},
            "features.service: name the one that models are trained on: pump_service_v1 or pump_service",
        ),
        ({"desk.monitor_end": "2024-05-11"}, "monitor_end is 2024-05-11, after the source's end 2024-05-10"),
        (
            {
                "behaviour": [],
                "gate.floors": [{"metric": "behaviour_failures", "direction": "at_most", "threshold": 0}],
            },
            "drop it",
        ),
        ({"rollout.stages": [{**HALF, "min_hours": 24 * 41}]}, "the stages take 41 days"),
    ],
)
def test_the_other_halves_of_constraints_are_enforced(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(params_with(tmp_path, change))


def test_a_service_without_inputs_is_refused() -> None:
    usecase = replace(USECASE, model_inputs={"pump_service_v1": ModelInputs((), ())})
    (first, *_) = violations(load(TOY).params, usecase)
    assert first.constraint == "service-with-inputs" and "model_inputs are empty" in first.message


@given(
    hours=st.integers(0, 24 * 400),
    minutes=st.sampled_from([1, 15, 20, 45, 60, 90, 180, 360, 720, 1440]),
    behaviour=st.booleans(),
)
def test_defaults_derived_from_declarations_break_no_constraint(hours: int, minutes: int, behaviour: bool) -> None:
    maturity, period = timedelta(hours=hours), timedelta(minutes=minutes)
    given = {
        "usecase": "tests.toy",
        **(
            {"behaviour": [{"name": "a", "kind": "direction", "change": {"load": {"add": 1}}, "moves": "up"}]}
            if behaviour
            else {}
        ),
    }
    declarations = Declared(maturity, period, ("pump_service_v1",))
    params = Params.model_validate(filled(given, {one.key: one.value for one in defaults(declarations, given)}))
    inputs = {"pump_service_v1": ModelInputs(("load",), ())}
    usecase: Any = replace(USECASE, maturity=maturity, model_inputs=inputs, end=date.max)
    object.__setattr__(usecase, "period", period)
    assert violations(params, usecase) == []


def test_the_schedule_of_data_runs_follows_each_period() -> None:
    schedules = {minutes: cron(timedelta(minutes=minutes)) for minutes in (1, 15, 60, 180, 1440)}
    assert schedules == {1: "*/1 * * * *", 15: "*/15 * * * *", 60: "0 * * * *", 180: "0 */3 * * *", 1440: "0 0 * * *"}
    assert cron(timedelta(minutes=45)) == cron(timedelta(minutes=90)) == "0 0 * * *", "cron cannot express this period"


def test_check_shows_every_constraint_and_fails_where_one_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--home", str(tmp_path)]
    assert main(["check", "--params", str(ROOT / "params.yaml"), *places]) == 0
    shown = capsys.readouterr().out
    assert all(f"ok  {name}" in shown for name in CONSTRAINTS) and "no  " not in shown
    file = str(params_with(tmp_path, {"splits.embargo_days": 0, "splits.test_days": 1}))
    assert main(["check", "--params", file, *places]) == 3
    output = capsys.readouterr()
    assert "no  embargo-covers-maturity" in output.out and "no  test-window-has-labels" in output.out
    assert "2 of what must hold" in output.err
    assert main(["check", "--params", file, "--json", *places]) == 3
    report = json.loads(capsys.readouterr().out)
    assert [one["constraint"] for one in report if one["violations"]] == [
        "embargo-covers-maturity",
        "test-window-has-labels",
    ]
    assert main(["ingest", "--start", "2024-03-01", "--end", "2024-03-02", "--params", file, *places]) == 2
    assert "embargo-covers-maturity" in capsys.readouterr().err, "no step runs where a constraint is broken"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lode > 0", "'lode > 0' is no condition on its columns"),
        ("load > 0 and", "'load > 0 and' is no condition"),
        ("load", "'load' is float, neither true nor false"),
        ("max(load) > 0", "does not judge each row alone"),
        ("load > 0 and read_at < local_day and not serviced", None),
    ],
)
def test_where_of_a_source_is_parsed_before_anything_is_read(
    tmp_path: Path, where: str, message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = {"kind": "files", "uri": f"{tmp_path}/{{table}}.csv", "where": where}
    file = str(params_with(tmp_path, {"sources": {"readings": readings}}))
    assert main(["check", "--params", file, "--home", str(tmp_path)]) == (3 if message else 0)
    shown = capsys.readouterr().out
    assert f"{'no' if message else 'ok'}  {check.WHERE}" in shown and (message or "") in shown


def test_a_stage_that_does_not_name_the_params_of_its_step_is_reported(tmp_path: Path) -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert list(check.lacking(ROOT / "dvc.yaml")) == []
    file = tmp_path / "dvc.yaml"
    file.write_text(text.replace(", training.seed]", "]", 1).replace("usecase, source, sources,", "usecase, source,"))
    missing = list(check.lacking(file))
    assert (
        len(missing) == 2
        and missing[0].startswith("stage ingest reads sources ")
        and "evaluate reads training.seed" in missing[1]
    )
