"""The check of requests: a client's request for an example gives the same features as the example's own row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.contract.report import CheckReport, Skipped
from pipelines.contract.subject import CheckedUseCase
from pipelines.errors import InvalidInput
from pipelines.instants import EPOCH
from pipelines.offline.columns import to_frame
from pipelines.request_columns import computed, from_frame, from_requests, kinds_of
from pipelines.usecase import BLOCK, DAY, EXAMPLE_ID, PREDICTED_AT, Columns, UseCase

if TYPE_CHECKING:
    from pydantic import BaseModel

MOST, SINGLE = 5000, 30  # examples that are sent together, and one by one
LONGEST = 128  # characters of a split key


def requests(subject: CheckedUseCase) -> CheckReport:
    """The examples' request columns are valid requests, with the same features alone, together and as JSON."""
    from pipelines.serving.schemas import Refusal

    usecase, rows = subject.usecase, subject.examples(subject.window)
    if not rows.num_rows:
        raise Skipped(f"there is no example in {subject.window}; give another --start and --end")
    rows = rows.take(pa.array(np.sort(subject.draw().permutation(rows.num_rows)[:MOST])))
    try:
        sent = _parsed(usecase, rows)
        own = from_frame(kinds_of(usecase), to_frame(rows))
        received = {**from_requests(kinds_of(usecase), sent, EPOCH), PREDICTED_AT: own[PREDICTED_AT]}
        whole = computed(usecase, own, rows.num_rows)
        problems = [*_unequal("the request column", own, received, rows)]
        problems += _unequal("the feature", whole, computed(usecase, received, rows.num_rows), rows)
        problems += _batches(usecase, own, whole, rows)
    except (Refusal, InvalidInput) as error:
        return CheckReport([f"a request of the examples is refused: {error}"])
    return CheckReport([*problems, *_names(usecase, sent, rows)])


def _parsed(usecase: UseCase, rows: pa.Table) -> list[dict[str, object]]:
    """The examples as the model server gets them: through JSON and the request model."""
    from pipelines.serving.schemas import prediction_envelope

    sent = [
        {name: _plain(value) for name, value in row.items()} for row in rows.select(usecase.request_columns).to_pylist()
    ]
    envelope = prediction_envelope(usecase, len(sent))
    items: list[BaseModel] = envelope.parse(json.dumps({envelope.key: sent}, default=_text).encode())
    return [item.model_dump(exclude={"id"}) for item in items]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _unequal(what: str, own: Columns, other: Columns, rows: pa.Table) -> Iterator[str]:
    for name in own:
        if name not in other:
            yield f"{what} {name} is missing in requests; give the same names whatever the batch"
        elif (row := _first(own[name], other[name])) is not None:
            yield (
                f"{what} {name} of example {rows[EXAMPLE_ID][row]} is {own[name][row]!r}, and {other[name][row]!r} "
                "as a request; let request_model and the examples have the same types and values"
            )


def _batches(usecase: UseCase, own: Columns, whole: Columns, rows: pa.Table) -> Iterator[str]:
    """Features that change when requests come in another order, or one by one."""
    count = rows.num_rows
    backwards = computed(usecase, {name: values[::-1] for name, values in own.items()}, count)
    singles = [
        computed(usecase, {name: values[n : n + 1] for name, values in own.items()}, 1)
        for n in range(min(count, SINGLE))
    ]
    for name, values in whole.items():
        row = _first(values, backwards[name][::-1])
        for n, single in enumerate(singles):
            if row is None and _first(values[n : n + 1], single[name]) is not None:
                row = n
        if row is not None:
            yield (
                f"the feature {name} of example {rows[EXAMPLE_ID][row]} depends on the requests beside it; let "
                "request_features compute each row from itself"
            )


def _names(usecase: UseCase, sent: list[dict[str, object]], rows: pa.Table) -> Iterator[str]:
    """Blocks that have another name in the examples, and invalid split keys; the first of each."""
    at, ids, days = (rows[name].to_pylist() for name in (PREDICTED_AT, EXAMPLE_ID, DAY))
    blocks = rows[BLOCK].to_pylist() if BLOCK in rows.column_names else [day.isoformat() for day in days]
    for request, instant, expected, example in zip(sent, at, blocks, ids, strict=True):
        block = usecase.block(request, instant)
        if (name := block.name if block else None) != expected:
            yield f"`block` calls the block of example {example} {name!r}, and the examples {expected!r}; use one name"
            break
    keys = {example: usecase.split_key(request) for request, example in zip(sent, ids, strict=True)}
    for example, key in keys.items():
        if not 0 < len(key) <= LONGEST or not key.isprintable():
            yield f"split_key of example {example} is {key!r}; give 1 to {LONGEST} printable characters"
            break


def _first(one: NDArray[Any], other: NDArray[Any]) -> int | None:
    """The first place where two columns differ; missing equals missing."""
    for n, (a, b) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
        if not (a == b or (a != a and b != b)):  # NaN
            return n
    return None
