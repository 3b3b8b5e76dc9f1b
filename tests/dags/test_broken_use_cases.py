"""A broken use case: DAGs and pages of the others load, and an import error says what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipelines.configuration import load
from pipelines.errors import InvalidInput
from pipelines.roster import read_roster
from pipelines.usecase_import import load_usecase
from tests.conftest import ROOT, TOY
from tests.dags.test_dags import FLIGHTS, PARTS

PARAMS = load(TOY).in_force()
PLACE = "broken_use_cases.py"
SOUND = """
from dataclasses import replace
from tests.toy import USECASE as TOY
USECASE = replace(TOY, name="NAME")
"""
RAISING = """
from tests.toy import USECASE as TOY
class Broken:
    name = "NAME"
    def __getattribute__(self, what):
        if what == "WHAT":
            raise RuntimeError("no WHAT today")
        return object.__getattribute__(self, what) if what == "name" else getattr(TOY, what)
USECASE = Broken()
"""
MODULES = {  # the source of a use case's module, and the import error about it
    "syntax": ("def (", "SyntaxError"),
    "value": ("import datetime\ndatetime.date(2013, 2, 30)", "ValueError: day"),
    "absent": ("import no_such_library", "No module named 'no_such_library'"),
    "leaves": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "says_nothing": ("raise RuntimeError", "RuntimeError at "),
    "limit": ("class Limit(BaseException): pass\nraise Limit('cut short')", "Limit: cut short"),
    "nothing": ("X = 1", "has no attribute 'USECASE'"),
    "nameless": (RAISING.replace("WHAT", "name"), "no name today"),
    "unread": (RAISING.replace("WHAT", "model_inputs"), "no model_inputs today"),
    "no_dag_id": (SOUND + "USECASE = replace(USECASE, name='no dag id!')", "no dag id!_data"),
    "moved": (SOUND + "from pathlib import Path\nUSECASE = replace(USECASE, feature_repo=Path('/gone'))", "is /gone"),
}
# parsed by Airflow; the others are checked without it, which is cheaper
PARSED = ("syntax", "leaves", "limit", "nothing", "nameless", "unread", "no_dag_id", "moved")
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a params file with a use case of its own, and gives the file."""
    monkeypatch.syspath_prepend(tmp_path)

    def params_of(name: str, module: str = SOUND, edit: Edit = lambda params: None) -> Path:
        (tmp_path / f"case_{name}.py").write_text(module.replace("NAME", name))
        params = {**deepcopy(PARAMS), "usecase": f"case_{name}"}
        edit(params)
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps(params))
        return file

    return params_of


@pytest.fixture
def parse(airflow: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Parses the DAG folder for these params files; gives the bag, import errors included."""

    def parsed(*params: Path) -> Any:
        from airflow.dag_processing.dagbag import DagBag

        monkeypatch.setenv("FLIGHTDECK_PARAMS", os.pathsep.join(map(str, params)))
        monkeypatch.setenv("FLIGHTDECK_HOME", str(tmp_path / "home"))
        return DagBag(str(ROOT / "dags"), bundle_path=ROOT / "dags")

    return parsed


def dags_of(*names: str) -> set[str]:
    return {f"{name}_{part}" for name in names for part in PARTS}


def import_error_of(bag: Any) -> str:
    """The text of the only import error."""
    assert set(bag.import_errors) == {PLACE}
    return str(bag.import_errors[PLACE])


def line_of(file: Path, error: str) -> str:
    (line,) = [line for line in error.splitlines() if line.startswith(f"  {file.absolute()}")]
    return line


@pytest.fixture
def broken(write: Callable[..., Path], tmp_path: Path) -> dict[Path, str]:
    """Params file -> text that its error must contain."""
    messages = {write(f"m_{name}", MODULES[name][0]): MODULES[name][1] for name in PARSED}
    (tmp_path / "yaml.yaml").write_text("a: [1\nb: {")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    messages |= {
        tmp_path / "missing.yaml": "does not exist",
        tmp_path / "yaml.yaml": "cannot be read as YAML",
        tmp_path / "list.yaml": "holds list",
        tmp_path / "folder.yaml": "cannot be read",
        tmp_path / "bytes.yaml": "cannot be read",
        write("key", edit=lambda p: p.update(trails=3)): "trails: unknown key",
        write("relative", edit=lambda p: p.update(usecase=".toy")): "usecase: '.toy' cannot be loaded",
        write(
            "late_cron", edit=lambda p: p["schedules"].update(monitoring="61 * * * *")
        ): "'61 * * * *' is not a cron expression",
        write("service", edit=lambda p: p["features"].update(service="gone_v9")): "service is gone_v9, for which",
    }
    return messages


def stored(bag: Any) -> tuple[set[str | None], set[str]]:
    """Files with import errors, and DAGs that are stale or have such errors, once Airflow has stored what it parsed."""
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    with create_session() as session:
        session.merge(DagBundleModel(name="broken"))
    with create_session() as session:
        sync_bag_to_db(bag, "broken", None, session=session)
    with create_session() as session:
        files = {one.filename for one in session.query(ParseImportError)}
        return files, {one.dag_id for one in session.query(DagModel) if one.is_stale or one.has_import_errors}


def test_other_dags_load_and_one_import_error_names_every_broken_use_case(
    parse: Callable[..., Any], write: Callable[..., Path], broken: dict[Path, str]
) -> None:
    """Airflow stores import errors by file, and deactivates the DAGs of such a file."""
    first, *rest = broken
    bag = parse(first, FLIGHTS, *rest, write("fine"), TOY)
    assert dags_of("flights", "pumps", "fine") <= set(bag.dags)
    error = import_error_of(bag)
    assert {file: message for file, message in broken.items() if message not in line_of(file, error)} == {}
    assert not any(str(file.absolute()) in error for file in (FLIGHTS, TOY))
    assert stored(bag) == ({PLACE}, set())
    # of a use case with a wrong schedule the other DAGs load: a rollout of its model can continue
    assert dags_of("late_cron") - set(bag.dags) == {"late_cron_monitoring"}
    assert dags_of("service") - set(bag.dags) == {"service_training"}
    assert not any(dag_id.startswith("m_") for dag_id in set(bag.dags) - dags_of("m_moved", "m_unread"))


def test_a_second_use_case_of_the_same_name_is_refused(parse: Callable[..., Any], write: Callable[..., Path]) -> None:
    first, second = write("one"), write("two", SOUND.replace("NAME", "one"))
    bag = parse(first, second, first)
    assert set(bag.dags) == dags_of("one")
    line = line_of(second, import_error_of(bag))
    assert str(first) in line and "a name of its own" in line
    judge = bag.dags["one_deployment"].get_task("stage_shadow.judge")
    assert judge.params_file == str(first), "the DAGs are the first's"
    other = parse(second, first)
    assert other.dags["one_deployment"].get_task("stage_shadow.judge").params_file == str(second)


def test_the_import_error_disappears_once_no_use_case_is_broken(
    parse: Callable[..., Any], write: Callable[..., Path]
) -> None:
    only = parse(write("only", "raise ValueError('why')"))
    assert only.dags == {} and "ValueError: why" in import_error_of(only) and stored(only)[0] == {PLACE}
    bag = parse(TOY, write("fine"))
    assert bag.import_errors == {} and set(bag.dags) == dags_of("pumps", "fine")
    assert all(not dag.fileloc.endswith(PLACE) for dag in bag.dags.values())
    assert stored(bag) == (set(), set()), "the import error is removed once it is fixed"


def test_pages_of_the_other_use_cases_are_served(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from data_docs import read_page

    monkeypatch.setenv("FLIGHTDECK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(
        "FLIGHTDECK_PARAMS",
        os.pathsep.join(map(str, [write("gone", "import sys\nsys.exit()"), tmp_path / "missing", TOY])),
    )
    data = read_roster().usable[str(TOY)].data
    window = "2024-03-01_2024-03-02"
    data.store.write_bytes(data.uri("reports", "validation", window, "index.html"), b"page")
    assert read_page("pumps_data", window, "index.html") == b"page"
    assert read_page("gone_data", window, "index.html") is None


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name in ("syntax", "value", "absent", "leaves", "nothing")]
)
def test_any_error_of_a_module_becomes_a_one_line_invalid_input(write: Callable[..., Path], name: str) -> None:
    module, message = MODULES[name]
    write(name, module)
    with pytest.raises(InvalidInput, match=rf"^usecase: 'case_{name}' cannot be loaded \(") as refused:
        load_usecase(f"case_{name}")
    text = str(refused.value)
    assert message in text and "\n" not in text and "exports USECASE" in text
    if name in ("value", "leaves"):
        assert f"case_{name}.py:2" in text, "the message names the line that raised it"


def test_a_keyboard_interrupt_is_not_caught(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTDECK_PARAMS", str(write("stop", "raise KeyboardInterrupt")))
    with pytest.raises(KeyboardInterrupt):
        read_roster()
