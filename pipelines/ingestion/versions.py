"""Data versions: DVC's hash of the raw folder (`<md5>.dir`), their short names, and the number of their rows."""

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

SHORT = 12  # characters of a version in tables and messages


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


def resolve(text: str, versions: Collection[str]) -> str:
    """The version that `text` names, in full or by a unique prefix.

    Raises:
        InvalidInput: if there is none, or more than one, listing the versions.
    """
    prefix = text.strip().removesuffix(".dir").lower()
    matches = [version for version in versions if prefix and version.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    among = matches or list(versions)
    listing = ", ".join(short(version) for version in among[-10:]) or "none; run the snapshot step first"
    count = f"{len(among)} versions" if len(among) > 10 else "versions"
    problem = "is the beginning of several" if matches else "is no version"
    raise InvalidInput(f"{text!r} {problem}; {count} that there are: {listing}")


def is_version(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}\.dir", text) is not None


def short(version: str) -> str:
    return version[:SHORT]


def footer(path: Path, name: str) -> tuple[int, pa.Schema]:
    """The number of rows and the schema of a Parquet file, from its footer.

    Args:
        name: the file's name in messages.

    Raises:
        CorruptData: if it has no footer.
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
    """The rows of a version, counted by its difference from another, so that only files that differ are opened.

    Args:
        tree: path -> hash of every file.
        fetch: returns the paths of objects, by hash.
        before: path -> hash of every file of the other version.
        rows_before: the rows of the other version.
    """
    gain, loss = Counter(tree.values()), Counter(before.values())
    gain, loss = gain - loss, loss - gain
    names = {value: path for path, value in [*before.items(), *tree.items()]}
    where = fetch([*gain, *loss])
    rows = {value: footer(where[value], names[value])[0] for value in where}
    return (
        rows_before
        + sum(n * rows[value] for value, n in gain.items())
        - sum(n * rows[value] for value, n in loss.items())
    )
