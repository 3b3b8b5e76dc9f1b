"""What the supervisor removes, and its one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.deck import REPO, BadSetting, Deck, load_deck
from infra.supervisor import clean, main


def test_a_failing_supervisor_command_ends_with_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", "notforlogs")
    (tmp_path / "file").write_text("no folder")
    for variables, words, status in (
        ({"FLIGHTDECK_HOME": str(tmp_path / "file" / "notforlogs")}, "FLIGHTDECK_HOME=", 1),
        ({"FLIGHTDECK_HOME": str(tmp_path / "$HOME")}, "variable's value", 2),
        ({"FLIGHTDECK_HOME": str(tmp_path), "FLIGHTDECK_PARAMS": "nowhere.yaml"}, "nowhere.yaml does not exist", 2),
        (
            {"FLIGHTDECK_HOME": str(tmp_path), "FLIGHTDECK_RECORDS_URI": "notforlogs", "FLIGHTDECK_MLFLOW_PORT": "x"},
            "MLFLOW_PORT",
            2,
        ),
    ):
        with monkeypatch.context() as caller:
            for name, value in variables.items():
                caller.setenv(name, value)
            assert main(["up"]) == status
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("flightdeck: ") and words in line and "notforlogs" not in line


def test_clean_removes_only_what_up_made(deck: Deck, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadSetting, match="existed before Flightdeck"):
        clean(deck)
    assert deck.home.exists()
    (deck.home / ".flightdeck").touch()
    assert clean(deck) == 0
    assert not deck.home.exists()


def test_clean_never_removes_the_repository() -> None:
    with pytest.raises(BadSetting):
        clean(load_deck({"FLIGHTDECK_HOME": str(REPO)}))
