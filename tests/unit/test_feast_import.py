"""Feast is imported without torch and without its type checks; declarations are still checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import InvalidInput
from pipelines.offline.repository import declarations
from tests.conftest import ROOT

IMPORT = """
import sys
import typeguard
checked = typeguard.typechecked
import pipelines
import feast
from feast.torch_wrapper import get_torch
assert "torch" not in sys.modules
assert typeguard.typechecked is checked and checked.__module__.startswith("typeguard")
assert feast.Entity.__init__.__code__.co_filename == feast.entity.__file__
assert not hasattr(feast.Entity.__init__, "__typeguard_ignore__") and feast.Entity(name="pump").name == "pump"
assert get_torch().tensor([1]).item() == 1
"""


def test_torch_is_loaded_on_demand_and_type_checks_of_other_libraries_are_kept() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


GOOD = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

source = FileSource(name="heat", path="features/heat", timestamp_field="known_at")
pump = Entity(name="pump", join_keys=["pump"], value_type=ValueType.STRING)
heat = Field(name="heat", dtype=Float32)
view = FeatureView(name="heat", entities=[pump], ttl=timedelta(1), schema=[heat], source=source, description="heat")
service = FeatureService(name="pumps", features=[view])
"""


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [
        ('Entity(name="pump"', "Entity(name=1", "Entity 1"),
        ("dtype=Float32", 'dtype="Float32"', "FeatureView 'heat'"),
        ("ttl=timedelta(1)", "ttl=5", "FeatureView 'heat'"),
        ("entities=[pump]", 'entities=["pump"]', r"one\.py"),
        ("source=source", 'source="heat"', r"one\.py"),
        ('description="heat"', "description=3", "FeatureView 'heat'"),
        ('path="features/heat"', "path=3", "FeatureView 'heat'"),
        ('FeatureService(name="pumps"', "FeatureService(name=3", "FeatureService 3"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_by_the_name_of_the_declaration(
    tmp_path: Path, good: str, bad: str, named: str
) -> None:
    file = tmp_path / "one.py"
    file.write_text(GOOD)
    assert len(declarations(tmp_path)) == 3
    file.write_text(GOOD.replace(good, bad))
    with pytest.raises(InvalidInput, match=rf"{named}.*; correct"):
        declarations(tmp_path)
