"""A stage of dvc.yaml runs again when anything that its step can reach has changed, and only then."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import yaml

from pipelines.console.code import answer, grounds
from pipelines.context import Context
from pipelines.params.source import Files
from pipelines.reach import reach
from pipelines.sources.files import FileSource
from pipelines.steps import STEPS
from pipelines.usecase import RawTable
from pipelines.windows import Window
from tests.commands import dvc
from tests.conftest import ROOT, TOY
from tests.services import thorough
from tests.toy import Pumps

FLIGHTS = "pipelines.usecases.flights"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DESK = [name for name, step in STEPS.items() if step.desk]


@pytest.mark.parametrize(
    ("step", "module"),
    [
        ("decide_retraining", "pipelines.monitoring.retraining"),
        ("evaluate", "pipelines.artifacts.scorer"),
        ("evaluate", "pipelines.graph_inputs"),
        ("score", "pipelines.point_in_time"),
        *((step, "pipelines.derivation.staleness") for step in ("ingest", "build_features", "build_training_set")),
        ("train", "pipelines.training.families.mlp"),
        ("apply_features", "pipelines.online.feast_sqlite"),
        *((step, f"{FLIGHTS}.bundled") for step in ("ingest", "snapshot")),
    ],
)
def test_modules_imported_late_or_by_name_are_reached(step: str, module: str) -> None:
    assert module in reach([STEPS[step].module, "pipelines.context", FLIGHTS])


def test_no_step_reaches_another() -> None:
    modules = {step.module for step in STEPS.values()}
    for step in STEPS.values():
        assert modules & reach([step.module, "pipelines.context", FLIGHTS]).keys() == {step.module}


@thorough
def test_whatever_a_chain_imports_is_reached_by_its_steps(tmp_path: Path) -> None:
    """The toy's data chain in a process of its own, and what it has loaded after each step."""
    script = f"""
import sys
from datetime import timedelta
from pathlib import Path
from pipelines.context import build_context
from pipelines import steps
from tests import conftest
loaded = {{}}
def execute(name, inputs, context):
    try:
        return steps.execute(name, inputs, context)
    finally:
        here = {{m for m in sys.modules if m.startswith(("pipelines.", "tests.toy"))}}
        # What runs steps is no part of them, and migrations bring tables to date without deciding any result.
        here -= {{"pipelines.chains", "pipelines.walk", "pipelines.records.migrations.append_only"}}
        loaded[name] = sorted(here)
conftest.execute = execute
context = build_context({str(TOY)!r}, {str(tmp_path)!r})
conftest.run_data(context, context.usecase.start, context.usecase.start + timedelta(20))
import json; Path({str(tmp_path / "loaded.json")!r}).write_text(json.dumps(loaded))
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    reached: set[str] = set()
    for step, loaded in json.loads((tmp_path / "loaded.json").read_text()).items():
        reached |= reach([STEPS[step].module, "pipelines.context", "tests.toy"]).keys()
        assert set(loaded) <= reached, step
    assert len(reached) > 60


def test_every_stage_depends_on_the_file_of_its_step_and_on_no_source_file() -> None:
    assert (
        STAGES["code"]["outs"] == ["${values}", *(f"${{code}}/{name}.json" for name in DESK)]
        and STAGES["code"]["always_changed"]
    )
    for name in DESK:
        deps = STAGES[name].get("do", STAGES[name])["deps"]
        assert f"${{code}}/{name}.json" in deps
        assert not [path for path in deps if not path.startswith("${")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy at a desk of its own: the package, and three stages of the project's dvc.yaml."""
    place = tmp_path_factory.mktemp("desk")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "pipelines", place / "pipelines", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "toy", place / "tests" / "toy", ignore=ignored)
    for name in ("__init__.py", "synthetic.py"):
        shutil.copy(ROOT / "tests" / name, place / "tests" / name)
    shutil.copy(TOY, place / "params.yaml")
    project = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    names = {"flightdeck": f"{sys.executable} -m pipelines", "data": "var/dvc/data/pumps"}
    project["vars"] = [{**one, **{key: names[key] for key in one if key in names}} for one in project["vars"]]
    project["stages"] = {name: project["stages"][name] for name in ("code", "ingest", "validate")}
    (place / "dvc.yaml").write_text(yaml.safe_dump(project))
    (place / ".gitignore").write_text("__pycache__/\n")
    git(place, "init", "-q")
    dvc(place, "init", "-q")
    return place


def git(place: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=place, check=True)


def ran(place: Path) -> set[str]:
    """The stages that `dvc repro` runs now, but for the one that always does."""
    output = dvc(place, "repro")
    return {name for name in ("ingest", "validate") if f"Running stage '{name}'" in output}


@thorough
def test_a_change_of_code_runs_the_stages_that_can_reach_it(desk: Path) -> None:
    assert ran(desk) == {"ingest", "validate"}
    for file, stages in (("pipelines/training/train.py", set()), ("pipelines/derivation/staleness.py", {"ingest"})):
        path = desk / file
        path.write_text(path.read_text() + "\n# changed\n")
        assert ran(desk) == stages, file


@thorough
def test_a_changed_value_in_force_runs_the_stages_that_read_it(desk: Path) -> None:
    """Also in an experiment, as the README has it."""
    ran(desk)
    file, values = desk / "params.yaml", desk / "var/dvc/code/values.json"
    before = file.read_text()
    for more, stages in (
        ("validation: {max_quarantine_share: 0.02}", set()),  # what it is by default
        ("validation: {max_quarantine_share: 0.03}", {"ingest", "validate"}),
        ("serving: {store_wait_ms: 7}", set()),  # no stage reads it, and of a share of 0.02 DVC has the outputs
    ):
        file.write_text(f"{before}{more}\n")
        assert ran(desk) == stages, more
    git(desk, "add", "-A")
    git(desk, "commit", "-qm", "one")
    output = dvc(desk, "exp", "run", "validate", "-S", "++validation.quarantine_floor_rows=3")
    assert (
        "Running stage 'ingest'" in output
        and json.loads(values.read_text())["validation"]["quarantine_floor_rows"] == 3
    )
    assert "quarantine_floor_rows: 3" in file.read_text()


@dataclass(frozen=True)
class Bundling(Pumps):
    """The toy, whose data lie in files of its own."""

    folder: Path = Path()

    def bundled_files(self) -> list[Path]:
        return list(self.folder.iterdir())


def test_a_changed_bundled_file_affects_ingest_only(toy: Context, tmp_path: Path) -> None:
    data = tmp_path / "bundled"
    data.mkdir()
    (data / "readings.csv").write_text("pump\n1\n")
    context = Context(toy.settings, toy.params, Bundling(folder=data))

    def written() -> dict[str, str]:
        answer({"out": str(tmp_path / "code")}, context)
        return {step: (tmp_path / "code" / f"{step}.json").read_text() for step in DESK}

    before = written()
    assert written() == before
    (data / "readings.csv").write_text("pump\n2\n")
    after = written()
    assert [step for step in DESK if after[step] != before[step]] == ["ingest"]
    (data / "makers.csv").write_text("pump\n")
    assert written()["ingest"] != after["ingest"]


def test_the_flights_name_the_files_that_they_read(flights: Context) -> None:
    bundled = grounds("ingest", flights)["bundled"]
    names = {name.partition(".")[0] for name, _ in bundled}
    assert names >= {table.name for table in flights.usecase.tables}
    assert "bundled" not in grounds("validate", flights)


def test_the_files_of_a_source_have_versions(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n")
    source = FileSource(Files(kind="files", uri=f"{tmp_path}/{{table}}.csv"), "UTC")
    table = RawTable("t", ("id",), {"id": "int64"})
    window = Window(date(2024, 1, 1), date(2024, 1, 2), "UTC")
    before = source.versions(table, window)
    assert len(before) == 1 and source.versions(table, window) == before
    (tmp_path / "t.csv").write_text("id\n12\n")
    assert source.versions(table, window) != before
