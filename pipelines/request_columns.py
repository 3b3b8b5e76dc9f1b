"""The columns of requests as arrays, of the types that the request model declares: alike for requests and examples.

Training, monitoring and the model server compute the features of the request from them. A leaf: imports no step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.instants import micros
from pipelines.instants.arrow import NAT
from pipelines.usecase import PREDICTED_AT, Columns, Request, UseCase

if TYPE_CHECKING:
    import pandas as pd


LISTS = (list, tuple, Sequence)  # not sets, whose order changes from process to process


class Kind(Enum):
    """The type of a column: (N,) datetime64[us] in UTC, float64, or objects; missing are NaT, NaN and None.

    The objects of LIST are lists, whatever sequence the request model declares.
    """

    INSTANT = "instant"
    NUMBER = "number"
    LIST = "list"
    OTHER = "other"


def kinds_of(usecase: UseCase) -> dict[str, Kind]:
    """The type of each of the `request_columns`, as their field of the request model declares it, and PREDICTED_AT."""
    fields = usecase.request_model().model_fields
    return {name: _kind(fields[name].annotation) for name in usecase.request_columns} | {PREDICTED_AT: Kind.INSTANT}


def _kind(annotation: Any) -> Kind:
    types = set(_types(annotation)) - {type(None)}
    if types and types <= {*LISTS}:
        return Kind.LIST
    if types and types <= {int, float}:
        return Kind.NUMBER
    return Kind.INSTANT if types == {datetime} else Kind.OTHER


def _types(annotation: Any) -> Iterator[Any]:
    """The types of the values that an annotation allows; of a list, that of the list."""
    if get_origin(annotation) in LISTS:
        yield get_origin(annotation)
    elif get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    elif get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif parts := get_args(annotation):
        for part in parts:
            yield from _types(part)
    else:
        yield annotation


def from_requests(kinds: Mapping[str, Kind], requests: Sequence[Request], at: datetime) -> Columns:
    """The columns of validated requests that are predicted at `at`."""
    sent = {name: kind for name, kind in kinds.items() if name != PREDICTED_AT}
    columns = {name: _column(kind, [request[name] for request in requests]) for name, kind in sent.items()}
    return {**columns, PREDICTED_AT: np.full(len(requests), micros(at)).view("datetime64[us]")}


def _column(kind: Kind, values: list[Any]) -> NDArray[Any]:
    if kind is Kind.INSTANT:
        ticks = [NAT if value is None else micros(value) for value in values]
        return np.array(ticks, dtype=np.int64).view("datetime64[us]")
    if kind is Kind.NUMBER:
        try:
            return np.array(values, dtype=np.float64)  # None becomes NaN
        except OverflowError:  # whole numbers of hundreds of digits
            return np.array([_float(value) for value in values])
    if kind is Kind.LIST:
        return _lists(values)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _lists(values: Iterable[Any]) -> NDArray[np.object_]:
    """One by one, since numpy would take lists of one length for the rows of a matrix."""
    lists = [_list(value) for value in values]
    column = np.empty(len(lists), dtype=object)
    for place, one in enumerate(lists):
        column[place] = one
    return column


def _list(value: Any) -> list[Any] | None:
    """A sequence as a list; None where it is missing, which pandas may have made NaN."""
    if isinstance(value, np.ndarray):
        return value.tolist()  # type: ignore[no-any-return]
    if isinstance(value, LISTS) and not isinstance(value, str | bytes):
        return [*value]
    if value is None or value != value:
        return None
    raise InvalidInput(f"{value!r} is no list, which the request model declares; let `examples` give lists")


def _float(value: Any) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.nan


def from_frame(kinds: Mapping[str, Kind], frame: pd.DataFrame) -> Columns:
    """Those of the columns that a frame has."""
    return {name: _from_series(kind, frame[name]) for name, kind in kinds.items() if name in frame.columns}


def _from_series(kind: Kind, values: pd.Series[Any]) -> NDArray[Any]:
    import pandas as pd

    if kind is Kind.INSTANT:
        return pd.to_datetime(values, utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    if kind is Kind.NUMBER:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if kind is Kind.LIST:
        return _lists(values)
    objects = values.astype(object)
    return objects.where(values.notna(), None).to_numpy()


def computed(usecase: UseCase, columns: Columns, rows: int) -> Columns:
    """The features that a use case computes from the columns of so many requests.

    Raises:
        InvalidInput: if one is no array with a value for each request, or a key among them is not computed.
    """
    features = usecase.request_features(columns)
    for name, values in features.items():
        if getattr(values, "shape", None) != (rows,):
            raise InvalidInput(
                f"request_features of {usecase.name} gives {name} in the shape {getattr(values, 'shape', None)}; it "
                f"must give an array of a value for each of the {rows} requests"
            )
    if lacking := set(usecase.request_keys) - set(features):
        raise InvalidInput(f"request_features of {usecase.name} lacks the request_keys {sorted(lacking)}; compute them")
    return features


def with_features(usecase: UseCase, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of examples with the features that the use case computes from the request alone."""
    return frame.assign(**computed(usecase, from_frame(kinds_of(usecase), frame), len(frame)))
