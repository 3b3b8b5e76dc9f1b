"""A result is stale exactly when its ground has changed; no page quotes a stale result as current."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from benchmarks import digests, figures, ground, report
from benchmarks.ground import Ground
from pipelines import reach
from tests.conftest import ROOT

FILES = {
    "toybench/__init__.py": "",
    "toybench/speed.py": "from toybench.sums.add import add\n\n\ndef main() -> None:\n    add(1, 2)\n",
    "toybench/sums/__init__.py": "",
    "toybench/sums/add.py": 'def add(a: int, b: int) -> int:\n    """Their sum."""\n    return a + b\n',
    "toybench/apart.py": "ALONE = 1\n",
    "params.yaml": "usecase: toybench.sums\nsplits: {days: 1, embargo: 2}\ngate: {floors: []}\n",
    "toydeclared.py": """from types import SimpleNamespace
from pipelines.usecase import ModelInputs
from pipelines.declare import Events, count, Over, trailing
from datetime import timedelta
view = trailing("v", ("k",), Over(Events("rows", "at"), {"n": count()}, (timedelta(days=3),)))
USECASE = SimpleNamespace(
    feature_tables=(view,),
    model_inputs={"first": ModelInputs(("n_3d",), ()), "second": ModelInputs(("other",), ())},
)
""",
}
TODAY = datetime.now(UTC).date()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A benchmark with its own ground, and its result."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for folder in ("results", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text("# Toy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    # a compiled file stays in force after a change within the same second
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(ground, "ROOT", tmp_path)
    monkeypatch.setattr(digests, "params", lambda file: yaml.safe_load(file.read_text()))  # of no use case
    monkeypatch.setattr(ground, "DECLARATIONS", "toydeclared")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results")
    reach.source.cache_clear()
    report.save(
        tmp_path / "results" / "speed.md", "# Speed\n\n3 s\n", Ground("toybench.speed", ("splits",), (), ("first",))
    )
    yield tmp_path
    sys.modules.pop("toydeclared", None)
    reach.source.cache_clear()


def change(place: Path, name: str, old: str, new: str) -> None:
    text = (place / name).read_text()
    assert old in text
    (place / name).write_text(text.replace(old, new))
    sys.modules.pop("toydeclared", None)
    importlib.invalidate_caches()


def changes(place: Path) -> dict[str, list[str]]:
    result = figures.load(place / "results" / "speed.md")
    assert result is not None
    return result.changes


def figures_of(place: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr("sys.argv", ["figures", *options])
    return figures.main()


def test_a_result_says_what_it_rests_on(place: Path) -> None:
    record = ground.read((place / "results" / "speed.md").read_text())
    assert record is not None and record.measured == TODAY
    assert record.ground == Ground("toybench.speed", ("splits",), (), ("first",))
    assert set(record.digests["code"]) == {
        "pipelines",
        "pipelines/feast_import",
        "toybench",
        "toybench/speed",
        "toybench/sums",
    }
    assert changes(place) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("toybench/sums/add.py", "a + b", "b + a", {"code": ["toybench/sums"]}),
        ("toybench/speed.py", "add(1, 2)", "add(1, 3)", {"code": ["toybench/speed"]}),
        ("params.yaml", "days: 1", "days: 2", {"params": ["splits"]}),
        ("toydeclared.py", '"rows"', '"lines"', {"services": ["first"]}),
        ("params.yaml", "splits", "parts", {"params": ["splits"]}),
        ("toydeclared.py", '"first"', '"third"', {"services": ["first"]}),
    ],
)
def test_what_has_changed_is_named(place: Path, name: str, old: str, new: str, changed: dict[str, list[str]]) -> None:
    change(place, name, old, new)
    assert changes(place) == changed


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("toybench/sums/add.py", "return a + b", "return (\n        a + b  # in this order\n    )"),
        ("toybench/sums/add.py", "Their sum", "The sum of both"),
        ("toybench/apart.py", "1", "2"),
        ("params.yaml", "floors: []", "floors: [1]"),
        ("params.yaml", "days: 1, embargo: 2}", "embargo: 2, days: 1} # whole ones"),
        ("toydeclared.py", '"other"', '"another"'),
    ],
)
def test_a_change_elsewhere_leaves_the_result_current(place: Path, name: str, old: str, new: str) -> None:
    change(place, name, old, new)
    assert changes(place) == {}


def test_the_result_of_a_deleted_benchmark_is_stale(place: Path) -> None:
    (place / "toybench" / "speed.py").unlink()
    reach.source.cache_clear()
    assert changes(place) == {"code": ["toybench.speed, or what it runs, is gone"]}


def test_a_mark_is_added_once_and_removed_when_the_result_is_current_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place / "results" / "speed.md"
    fresh = file.read_text()
    change(place, "toybench/sums/add.py", "a + b", "a - b")
    assert figures_of(place, monkeypatch) == 0
    stale = file.read_text()
    mark = f"> **Stale**: measured on {TODAY}; changed since then: code: toybench/sums."
    assert stale == fresh.replace("# Speed\n", f"# Speed\n\n{mark}\n", 1)
    assert figures_of(place, monkeypatch) == 0 and file.read_text() == stale
    change(place, "toybench/sums/add.py", "a - b", "a + b")
    assert figures_of(place, monkeypatch) == 0 and file.read_text() == fresh


def test_a_check_writes_nothing_and_fails_on_a_missing_mark(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / "results" / "speed.md"
    assert figures_of(place, monkeypatch, "--check") == 0
    change(place, "params.yaml", "days: 1", "days: 2")
    before = file.read_text()
    assert figures_of(place, monkeypatch, "--check") == 1 and file.read_text() == before
    assert figures_of(place, monkeypatch) == figures_of(place, monkeypatch, "--check") == 0
    change(place, "params.yaml", "days: 2", "days: 1")
    assert figures_of(place, monkeypatch, "--check") == 1


def test_a_mark_names_all_that_has_changed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "results" / "speed.md"
    for name, old, new, mark in (
        ("toybench/sums/add.py", "a + b", "a - b", "code: toybench/sums."),
        ("params.yaml", "days: 1", "days: 2", "code: toybench/sums; params: splits."),
        ("toybench/sums/add.py", "a - b", "a + b", "params: splits."),
    ):
        change(place, name, old, new)
        assert figures_of(place, monkeypatch, "--check") == 1
        assert "speed.md has no mark that names what has changed" in capsys.readouterr().err
        assert figures_of(place, monkeypatch) == figures_of(place, monkeypatch, "--check") == 0
        assert f"changed since then: {mark}\n" in file.read_text()


def test_every_result_says_what_it_rests_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "results" / "bare.md").write_text("# Bare\n\n1 s\n")
    assert figures_of(place, monkeypatch) == 1


@pytest.mark.parametrize("name", ["splits.weeks", "third"])
def test_a_ground_that_does_not_exist_is_refused(place: Path, name: str) -> None:
    parts = {"params": ("splits", name)} if "." in name else {"services": (name,)}
    with pytest.raises(LookupError, match=name):
        report.save(place / "results" / "other.md", "# Other\n", Ground("toybench.speed", **parts))
    assert not (place / "results" / "other.md").exists()


LINK = "[its table](../benchmarks/results/speed.md)"
OTHER = "2001-02-03"


@pytest.mark.parametrize(
    ("page", "fresh", "stale"),
    [
        (f"3 s: {LINK}.", True, False),
        (f"3 s: {LINK}; stale.", True, True),
        (f"3 s, measured\non {TODAY}: {LINK}.", True, True),
        (f"Measured on {TODAY}: 3 s ({LINK}).", True, True),
        (f"3 s, measured on {OTHER}: {LINK}.", False, False),
        (f"Measured on {TODAY}.\n\n3 s: {LINK}.", True, False),
        (f"- 1 s, measured on {TODAY}\n- 3 s: {LINK}", True, False),
        (f"| what | where |\n|---|---|\n| 1 s | measured on {TODAY} |\n| 3 s | {LINK} |", True, False),
        ("3 s: `benchmarks/results/other.md`", False, False),
        ("3 s by hand.", True, True),
    ],
)
def test_a_page_dates_the_results_that_it_quotes(
    place: Path, monkeypatch: pytest.MonkeyPatch, page: str, fresh: bool, stale: bool
) -> None:
    (place / "docs" / "page.md").write_text(page)
    assert figures_of(place, monkeypatch) == (0 if fresh else 1)
    change(place, "toybench/sums/add.py", "a + b", "a - b")
    assert figures_of(place, monkeypatch) == (0 if stale else 1)


def test_steps_and_programs_that_a_benchmark_names_are_part_of_its_ground(monkeypatch: pytest.MonkeyPatch) -> None:
    quality, streaming, served = (
        set(Ground(f"benchmarks.{name}").digests()["code"]) for name in ("quality", "streaming_windows", "serving")
    )
    assert {"benchmarks/year", "pipelines/ingestion", "pipelines/training", "pipelines/usecases"} <= quality
    assert "pipelines/usecases" in streaming and not {"pipelines/steps", "pipelines/training"} & streaming
    assert "pipelines/serving" in served and "pipelines/serving" not in quality
    assert not {"pipelines/deployment", "pipelines/monitoring"} & quality, "steps of a chain that it walks in part"
    assert "pipelines/deployment" in set(Ground("benchmarks.verify").digests()["code"]), "it walks one as a whole"
    assert not {"benchmarks/ground", "benchmarks/report"} & (quality | streaming | served)


def test_no_benchmark_imports_a_test() -> None:
    for file in (ROOT / "benchmarks").glob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", file.read_text(), re.MULTILINE), file.name
