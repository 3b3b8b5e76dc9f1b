"""`flightdeck check --contract` shows every check, and fails where one does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.context import Context
from pipelines.contract.checks import CHECKS
from pipelines.steps import execute
from tests.conftest import TOY
from tests.unit.test_constraints import params_with

ASK = ("check", "--contract")


def words(home: Path, *more: str) -> list[str]:
    return [*ASK, "--params", str(TOY), "--home", str(home), *more]


def test_the_last_validated_days_are_checked(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(toy_home)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("pumps, 2024-04-25 to 2024-05-09\n") and all(f"ok  {name}" in shown for name in CHECKS)


def test_the_same_days_and_seed_give_the_same_report(toy_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for _ in range(2):
        assert main(words(toy_home, "--start", "2024-03-29", "--end", "2024-04-03", "--seed", "7", "--json")) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1] and reports[0]["seed"] == 7 and reports[0]["window"] == ["2024-03-29", "2024-04-03"]
    assert [one["check"] for one in reports[0]["checks"]] == list(CHECKS)
    marks = {one["check"]: one["mark"] for one in reports[0]["checks"]}
    assert marks == {**dict.fromkeys(CHECKS, "ok"), "outcomes": marks["outcomes"]} and marks["outcomes"] in ("ok", "-")


def test_a_broken_contract_is_shown_and_fails(
    toy_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hasty.py").write_text("from tests.unit.test_contract import Short\nUSECASE = Short()\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = str(params_with(tmp_path, {"usecase": "hasty"}))
    days = ("--start", "2024-04-01", "--end", "2024-04-08")
    assert main([*ASK, "--params", file, "--home", str(toy_home), *days]) == 3
    output = capsys.readouterr()
    assert "no  alone" in output.out and "let lookback_days (1) cover what a row reads" in output.out
    assert "the contract of pumps does not hold: alone; see above" in output.err
    assert main([*ASK, "--params", file, "--home", str(toy_home), "--json", *days]) == 3
    report = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in report["checks"] if one["mark"] == "no"] == ["alone"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "no day of readings is validated; run ingest, then validate"),
        (("--start", "2024-03-02"), "give both --start and --end, or none"),
    ],
)
def test_unreadable_arguments_are_refused(
    tmp_path: Path, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "home", *more)) == 2
    assert message in capsys.readouterr().err


def test_a_window_with_a_day_that_is_not_validated_is_refused(toy: Context, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("ingest", "validate"):
        execute(step, {"start": "2024-03-01", "end": "2024-03-04"}, toy)
    days = ("--start", "2024-03-02", "--end", "2024-03-06")
    assert main(words(toy.settings.root, *days)) == 2
    assert "2024-03-04 of the window 2024-03-02 to 2024-03-06 is not validated" in capsys.readouterr().err


def test_days_without_contract_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["check", "--params", str(TOY), "--home", str(tmp_path), "--start", "2024-03-02"]
    assert main(given) == 2
    assert "give --contract too" in capsys.readouterr().err
