"""Shared by the tests of data versions: partitions that hold a number, and restored versions."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.context import Context, build_context
from pipelines.ingestion.versions import version_of
from tests.conftest import TOY, tree_hashes


def raw(context: Context) -> Path:
    return Path(context.data.uri("raw"))


def write(context: Context, table: str, day: str, number: int, rows: int = 3, **columns: Any) -> None:
    """A partition as ingestion writes it: atomically replaced."""
    content = pa.table({"number": [number] * rows, **columns})
    context.data.store.write_table(context.data.uri("raw", table, f"{day}.parquet"), content)


def cache(home: Path) -> Path:
    return home / "data" / ".dvc" / "cache"


def objects(folder: Path) -> list[Path]:
    """The objects in a cache or a remote."""
    return [path for path in (folder / "files").rglob("*") if path.is_file()]


def drop_cache(home: Path) -> None:
    shutil.rmtree(cache(home))


def flightdeck(home: Path, *words: str) -> int:
    command = words[:2] if words[0] == "data" else words[:1]
    return main([*command, "--params", str(TOY), "--home", str(home), *words[len(command) :]])


def data_output(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """The JSON output of a `data` command."""
    capsys.readouterr()
    assert flightdeck(home, "data", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def refusal(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The error line of a command that must fail; libraries may print lines before it."""
    capsys.readouterr()
    assert flightdeck(home, *words) in (1, 2)
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("flightdeck: ")
    return line


def restore(home: Path, version: str, to: Path) -> dict[str, str]:
    """Restore a version and give sha256 by path; DVC must compute the same version from the files."""
    assert flightdeck(home, "data", "restore", version, "--to", str(to)) == 0
    assert version_of(to)[0] == version
    return tree_hashes(to)


def sound(home: Path) -> bool:
    """Check that every object of the cache has the hash in its name, but for unfinished copies (`.NAME.tmp`)."""
    files = [path for path in objects(cache(home)) if not path.name.startswith(".")]
    names = {path: (path.parent.name + path.name).removesuffix(".dir") for path in files}
    return bool(files) and all(hashlib.md5(path.read_bytes()).hexdigest() == name for path, name in names.items())


def toy_at(home: Path) -> Context:
    return build_context(TOY, home)
