"""Built feature rows against their declaration: the columns of their Feast view, and one row a key and instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import CorruptData
from pipelines.usecase import KNOWN_AT, FeatureTable, UseCase

if TYPE_CHECKING:
    from feast import FeatureView


def views_of(usecase: UseCase) -> dict[str, FeatureView]:
    """The views that hold feature tables, by name. It imports Feast, which takes seconds."""
    from feast import FeatureView

    from pipelines.offline.repository import declarations_of

    return {one.name: one for one in declarations_of(usecase) if isinstance(one, FeatureView)}


def column_problems(
    feature_table: FeatureTable, names: Sequence[str], views: Mapping[str, FeatureView]
) -> Iterator[str]:
    """Problems with the names of a table's columns, which must be those of its view."""
    from pipelines.offline.sources import keys_of, source_of

    view, what = views.get(feature_table.name), f"feature table {feature_table.name}"
    if view is None:
        yield f"{what} has no view; declare one of that name in feature_repo (there are {', '.join(views) or 'none'})"
        return
    source = source_of(view)
    if set(keys_of(view)) != set(feature_table.keys):
        yield f"{what} has the keys {list(feature_table.keys)}, and its view {keys_of(view)}; declare the same"
    optional = {source.created} - {None}
    fields = (*keys_of(view), source.timestamp, *(field.name for field in view.features), *optional)
    stored = {source.stored.get(name, name): name for name in fields}
    if lacking := [one for one, name in stored.items() if one not in names and name not in optional]:
        yield f"{what} lacks {', '.join(lacking)}, which its view declares; let `build` give it, or correct the view"
    if strange := [name for name in names if name not in (*stored, KNOWN_AT)]:
        yield f"{what} has {', '.join(strange)}, which its view does not declare; declare it, or leave it out"
    if KNOWN_AT not in stored:
        yield f"{what}: its view's timestamp_field is {source.timestamp}; make it {KNOWN_AT}"


def require_columns(feature_table: FeatureTable, rows: pa.Table, usecase: UseCase) -> None:
    """Refuse rows whose columns are not those that the Feast view declares.

    Raises:
        CorruptData: naming the first column that is missing, or not declared.
    """
    for problem in column_problems(feature_table, rows.column_names, views_of(usecase)):
        raise CorruptData(problem)


def require_distinct(feature_table: FeatureTable, rows: pa.Table) -> None:
    """Refuse two rows of one key that are known at the same instant: their order would decide which one counts.

    Rows without a key, or without an instant, belong to no entity.

    Raises:
        CorruptData: if the table lacks a key or KNOWN_AT, or naming the key and the instant.
    """
    columns = (KNOWN_AT, *feature_table.keys)
    if lacking := set(columns) - set(rows.column_names):
        raise CorruptData(f"feature table {feature_table.name} lacks {', '.join(sorted(lacking))}; let `build` give it")
    if _is_increasing(
        rows.select(columns)
    ):  # most tables are built in this order: checking it is twenty times faster than sorting
        return
    codes = np.zeros(rows.num_rows, dtype=np.int64)
    whole = np.ones(rows.num_rows, dtype=bool)
    for name in columns:
        whole &= np.asarray(rows[name].is_valid())
        encoded = rows[name].combine_chunks().dictionary_encode()
        if codes.max(initial=0) > np.iinfo(np.int64).max // (len(encoded.dictionary) + 1):
            codes = np.unique(codes, return_inverse=True)[1]
        codes = codes * max(len(encoded.dictionary), 1) + np.asarray(encoded.indices.fill_null(0))
    ordered = np.sort(codes[whole])
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        row = rows.slice(int(np.flatnonzero(whole & (codes == ordered[twice[0]]))[1]), 1).to_pylist()[0]
        key = ", ".join(f"{name} {row[name]}" for name in feature_table.keys)
        raise CorruptData(
            f"feature table {feature_table.name} has two rows of {key or 'its only entity'} with {KNOWN_AT} "
            f"{row[KNOWN_AT].isoformat()} ({len(twice)} such pairs); give one row a key and instant"
        )


def _is_increasing(rows: pa.Table) -> bool:
    """Whether rows are strictly increasing by their columns in order; nulls have no order."""
    if rows.num_rows < 2:
        return True
    above, level = pa.scalar(False), pa.scalar(True)
    try:
        for column in rows.columns:
            before, after = column.slice(0, rows.num_rows - 1), column.slice(1)
            above = pc.or_(above, pc.and_(level, pc.less(before, after)))
            level = pc.and_(level, pc.equal(before, after))
    except pa.ArrowNotImplementedError:  # such as categories
        return False
    return bool(pc.all(above, skip_nulls=False).as_py())
