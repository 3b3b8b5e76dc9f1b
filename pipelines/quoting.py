"""Names, texts and files in DuckDB's SQL, taken literally whatever characters they have. A leaf.

DuckDB takes `*`, `?` and `[` of a path for patterns and `a=b` for a column; of names it tells no `a` from `A`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.errors import InvalidInput

VIRTUAL = ("file_row_number", "file_index")  # columns that DuckDB gives the rows of a file, unless the file has them
_PATTERN = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


def quoted(name: str) -> str:
    """A name of a column, table or view."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text."""
    return "'" + text.replace("'", "''") + "'"


def pattern(file: str) -> str:
    """A text that DuckDB takes for a pattern of files, and that is met by this one.

    Raises:
        InvalidInput: if there is none: within a pattern DuckDB takes a backslash for the end of a folder's name.
    """
    made = file.translate(_PATTERN)
    if made != file and "\\" in file:
        raise InvalidInput(
            f"{file} has a backslash and one of * ? [ in it, which DuckDB cannot read; rename the folder"
        )
    return literal(made)


def parquet(files: Sequence[str], unite: bool = True, **options: str) -> str:
    """The rows of several files.

    Args:
        unite: a column has the widest of its types, and is null where a file lacks it; else all files are as the first.
        options: more of `read_parquet`, as SQL.
    """
    listed = ", ".join(map(pattern, files))
    more = "".join(f", {name} = {value}" for name, value in options.items())
    return f"read_parquet([{listed}], union_by_name = {str(unite).lower()}, hive_partitioning = false{more})"


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in the case of letters only; None where all can be told apart."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            return other, name
    return None
