"""Data versions: DVC's hash of the raw folder (`<md5>.dir`), how a person names one, and how many rows it has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import LocalFileSystem

from pipelines.errors import CorruptData, InvalidInput, MissingData

SHOWN = 12  # characters of a version in tables and messages


def version_of(folder: Path) -> tuple[str, int]:
    """DVC's hash of a folder and the number of its files, computed without writing anything.

    Raises:
        MissingData: if there is no such folder.
    """
    if not folder.is_dir():
        raise MissingData(f"{folder} does not exist; ingest a window first")
    filesystem = LocalFileSystem()
    nowhere = HashFileDB(filesystem, str(folder.parent / ".unused"))
    _, _, tree = build(nowhere, str(folder), filesystem, "md5", dry_run=True)
    return str(tree.hash_info.value), len(tree)


def named(text: str, known: Collection[str]) -> str:
    """The version that `text` names: in full, or by a beginning that no other has.

    Raises:
        InvalidInput: if there is none, or more than one, naming those that there are.
    """
    wanted = text.strip().removesuffix(".dir").lower()
    found = [version for version in known if wanted and version.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    among = found or list(known)
    told = ", ".join(short(version) for version in among[-10:]) or "none; run the snapshot step first"
    count = f"{len(among)} versions" if len(among) > 10 else "versions"
    problem = "is the beginning of several" if found else "is no version"
    raise InvalidInput(f"{text!r} {problem}; {count} that there are: {told}")


def is_version(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}\.dir", text) is not None


def short(version: str) -> str:
    return version[:SHOWN]


def footer(path: Path, name: str) -> tuple[int, pa.Schema]:
    """Rows and columns of a Parquet file, from its footer.

    Raises:
        CorruptData: if it has none, calling the file `name`.
    """
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptData(f"{name} is not a whole Parquet file ({error}); ingest it again") from None
    return metadata.num_rows, metadata.schema.to_arrow_schema()


def count_rows(
    tree: Mapping[str, str],
    fetch: Callable[[Collection[str]], Mapping[str, Path]],
    before: Mapping[str, str],
    rows_before: int,
) -> int:
    """Rows of a version, counted from those of another so that only files in which they differ are opened.

    Args:
        tree: path -> hash of every file; `before` likewise, with `rows_before` rows in all.
        fetch: where objects lie, by hash.
    """
    added, removed = Counter(tree.values()), Counter(before.values())
    added, removed = added - removed, removed - added
    names = {value: path for path, value in [*before.items(), *tree.items()]}
    where = fetch([*added, *removed])
    rows = {value: footer(where[value], names[value])[0] for value in where}
    return (
        rows_before
        + sum(n * rows[value] for value, n in added.items())
        - sum(n * rows[value] for value, n in removed.items())
    )
