"""Truncated or broken sources stop the chain with a line that names them, and nothing is half-written."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.configuration import load
from pipelines.context import Context, build_context
from pipelines.errors import CheckFailed, CorruptData, MissingData
from pipelines.steps import execute
from pipelines.usecases.flights.bundled import folder as bundled
from tests.conftest import ROOT
from tests.flights.sources import files, write_source

WINDOW = {"start": "2013-01-01", "end": "2013-01-08"}


@pytest.fixture
def over(tmp_path: Path) -> Callable[[Path], Context]:
    """A context whose source is a folder."""

    def make(source: Path) -> Context:
        params = load(ROOT / "params.yaml").in_force()
        params["source"] = files(source)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return build_context(tmp_path / "params.yaml", tmp_path / "home")

    return make


def test_days_missing_from_the_source_stop_validation(over: Callable[[Path], Context], tmp_path: Path) -> None:
    """Cut at the end of a line, a CSV is still a CSV."""
    context = over(write_source(tmp_path / "source", lambda flights: flights, "2013-01-06"))
    execute("ingest", WINDOW, context)
    with pytest.raises(CheckFailed, match="flights has no rows on 2 days, the first 2013-01-06"):
        execute("validate", WINDOW, context)
    assert not context.data.periods("validated", "flights")


def test_an_optional_table_may_lack_days(tmp_path: Path) -> None:
    """The weather feed ends a day before the flights do."""
    context = build_context(ROOT / "params.yaml", tmp_path / "home")
    last = {"start": "2013-12-30", "end": "2014-01-01"}
    execute("ingest", last, context)
    outputs = execute("validate", last, context)
    assert outputs["verdict"] == "PASS" and "weather has no rows on 1 days" in " ".join(outputs["reasons"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text[: len(text) // 2 - 20], "cannot be read"),
        (lambda text: text.replace("dep_delay", "delay", 1), "dep_delay"),
        (
            lambda text: text.replace("\n2013,1,1,", "\n2013,1,one,", 1),
            r"column day: expected int32, found string \(such as 'one'\)",
        ),
        (lambda text: "", "cannot be read"),
    ],
    ids=["cut in a line", "a column renamed", "another type", "empty"],
)
def test_a_broken_file_is_named(
    over: Callable[[Path], Context], tmp_path: Path, harm: Callable[[str], str], message: str
) -> None:
    source = write_source(tmp_path / "source", lambda flights: flights, "2013-01-08")
    file = source / "flights.csv"
    file.write_text(harm(file.read_text()))
    context = over(source)
    with pytest.raises(CorruptData, match=message) as raised:
        execute("ingest", WINDOW, context)
    assert "flights.csv" in str(raised.value) and not Path(context.data.uri()).exists()


def test_a_truncated_archive_is_named(over: Callable[[Path], Context], tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", lambda flights: flights, "2013-01-02")
    (source / "flights.csv").unlink()
    whole = (bundled() / "flights.csv.zip").read_bytes()
    assert zipfile.is_zipfile(bundled() / "flights.csv.zip")
    (source / "flights.csv.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptData, match=r"flights\.csv\.zip cannot be read"):
        execute("ingest", WINDOW, over(source))


def test_a_missing_file_is_named(over: Callable[[Path], Context], tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", lambda flights: flights, "2013-01-02")
    (source / "planes.csv").unlink()
    with pytest.raises(MissingData, match=r"planes\.csv\* does not exist"):
        execute("ingest", WINDOW, over(source))
