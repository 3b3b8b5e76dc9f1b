"""Values of command-line options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.__main__ import read_value
from pipelines.configuration import load_params
from pipelines.errors import InvalidInput

PARAMS = load_params("params.yaml")


def test_a_value_is_text_json_or_an_earlier_output(tmp_path: Path) -> None:
    file = tmp_path / "evaluate.json"
    file.write_text(json.dumps({"evaluation_uri": "e/1"}))
    output = f"@{file}:evaluation_uri"
    assert read_value(output, PARAMS) == "e/1"
    assert read_value(json.dumps([output, "e/2", 3, "null"]), PARAMS) == ["e/1", "e/2", 3, "null"]
    assert read_value('{"mlp": "r1"}', PARAMS) == {"mlp": "r1"}
    assert read_value("null", PARAMS) is None and read_value("7", PARAMS) == "7"
    for text in (f"@{file}:gone", f'["@{file}:gone"]'):
        with pytest.raises(InvalidInput, match="no output 'gone' in"):
            read_value(text, PARAMS)
    with pytest.raises(InvalidInput, match="not JSON"):
        read_value("[1", PARAMS)


def test_a_list_of_params_makes_a_list_of_values(tmp_path: Path) -> None:
    for family in PARAMS.training.families:
        (tmp_path / f"{family}.json").write_text(json.dumps({"uri": family}))
    assert read_value(f"@{tmp_path}/{{training.families}}.json:uri", PARAMS) == list(PARAMS.training.families)
    with pytest.raises(InvalidInput, match=r"training\.seed is not a list"):
        read_value("@{training.seed}.json:uri", PARAMS)
