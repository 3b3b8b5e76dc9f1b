"""Names, texts and files in DuckDB's SQL, quoted so that any character is literal. A leaf.

DuckDB reads `*`, `?` and `[` in a path as a pattern and `a=b` as a partition column; names are case-insensitive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.errors import InvalidInput

VIRTUAL = ("file_row_number", "file_index")  # columns that DuckDB gives the rows of a file, unless the file has them
_PATTERN = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


def quoted(name: str) -> str:
    """The name of a column, table or view, as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text, as SQL."""
    return "'" + text.replace("'", "''") + "'"


def pattern(file: str) -> str:
    """A file pattern, as SQL, that matches exactly this file.

    Raises:
        InvalidInput: if there is none: in a pattern DuckDB reads a backslash as a path separator.
    """
    text = file.translate(_PATTERN)
    if text != file and "\\" in file:
        raise InvalidInput(
            f"{file} has a backslash and one of * ? [ in it, which DuckDB cannot read; rename the folder"
        )
    return literal(text)


def parquet(files: Sequence[str], unite: bool = True, **options: str) -> str:
    """The rows of several Parquet files, as SQL.

    Args:
        unite: a column has the widest of its types, and is null where a file lacks it; else all have the first schema.
        options: further options of `read_parquet`, as SQL.
    """
    patterns = ", ".join(map(pattern, files))
    more = "".join(f", {name} = {value}" for name, value in options.items())
    return f"read_parquet([{patterns}], union_by_name = {str(unite).lower()}, hive_partitioning = false{more})"


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ only in the case of letters; None where there are none."""
    by_lower_case: dict[str, str] = {}
    for name in names:
        other = by_lower_case.setdefault(name.lower(), name)
        if other != name:
            return other, name
    return None
