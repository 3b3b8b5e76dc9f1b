"""Entity keys and values in the encoding of Feast's online stores, many at a time.

Keys are encoded as in `feast.infra.key_encoding_utils`, values as the protobuf message `Value`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa
    from feast.value_type import ValueType
    from numpy.typing import NDArray

KINDS: Mapping[str, Callable[[Any], bytes]] = {  # the encoders of the types that keys may have
    "STRING": str.encode,
    "BYTES": bytes,
    "INT32": struct.Struct("<i").pack,
    "INT64": struct.Struct("<q").pack,
}
FLOATS = {
    "FLOAT": (b"\x35", "<f4", struct.Struct("<f")),
    "DOUBLE": (b"\x29", "<f8", struct.Struct("<d")),
}  # tag and size
UNPACK = {(tag[0], size.size + 1): size.unpack_from for tag, _, size in FLOATS.values()}


class EntityKeys:
    """Entity keys of one view.

    Args:
        types: the type of each join key, by name; empty for a view without entities.

    Attributes:
        names: of the join keys.
        kinds: names and types in the order of an encoded key; two views with the same have the same keys.
    """

    def __init__(self, types: Mapping[str, ValueType]) -> None:
        from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
        from feast.infra.key_encoding_utils import serialize_entity_key_prefix
        from feast.value_type import ValueType

        self.names = tuple(types)
        self._constant = () if types else (DUMMY_ENTITY_VAL,)
        ordered = dict(sorted(types.items())) or {DUMMY_ENTITY_ID: ValueType.STRING}
        self._places = [self.names.index(name) for name in ordered] if types else [0]
        self.kinds = tuple(ordered.items())
        self.prefix = serialize_entity_key_prefix(list(ordered))

    def encode(self, values: Sequence[Any]) -> bytes | None:
        """The key of an entity, from values in the order of `names`; None where one is empty, since no entity has it.

        Raises:
            InvalidInput: if a value does not have its key's type.
        """
        parts = [self.prefix]
        key_values = self._constant or values
        for (name, kind), place in zip(self.kinds, self._places, strict=True):
            value = key_values[place]
            if value is None:
                return None
            try:
                packed = KINDS[kind.name](value)
            except KeyError:
                raise InvalidInput(f"key {name}: {kind.name} cannot be a key; choose from {', '.join(KINDS)}") from None
            except (TypeError, struct.error) as error:
                raise InvalidInput(f"key {name}: {value!r} is no {kind.name} ({error}); correct it") from None
            parts.append(struct.pack("<II", kind.value, len(packed)) + packed)
        return b"".join(parts)

    def holds(self, key: bytes) -> bool:
        """Whether bytes are exactly one key of this view."""
        place = len(self.prefix)
        if not key.startswith(self.prefix):
            return False
        for _ in self.kinds:
            if len(key) < place + 8:
                return False
            place += 8 + int(struct.unpack_from("<I", key, place + 4)[0])
        return place == len(key)


def encode_column(column: pa.ChunkedArray, kind: ValueType) -> tuple[list[bytes], list[str | None]]:
    """A column's values as protobuf, and as the text in Feast's SQL stores; missing and NaN values are empty."""
    if kind.name in FLOATS and _numeric(column):
        tag, dtype, size = FLOATS[kind.name]
        numbers = column.to_numpy().astype(dtype)
        raw, width = numbers.tobytes(), size.size
        floats = numbers.astype("<f8").tolist()
        starts = range(0, len(raw), width)
        values = [b"" if x != x else tag + raw[n : n + width] for x, n in zip(floats, starts, strict=True)]
        return values, [None if x != x else str(x) for x in floats]
    if not len(column):
        return [], []
    from feast.infra.online_stores.helpers import extract_text_and_num
    from feast.type_map import python_values_to_proto_values

    protos = python_values_to_proto_values(_values(column, kind), kind)
    return [proto.SerializeToString() for proto in protos], [extract_text_and_num(proto, False)[0] for proto in protos]


def _values(column: pa.ChunkedArray, kind: ValueType) -> NDArray[Any]:
    """A column's values as Feast accepts them. Integers with nulls become objects: as floats they would lose digits."""
    import numpy as np
    import pyarrow as pa

    from pipelines.graph_inputs import string_column

    if kind.name == "STRING" and not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return string_column(column.to_pandas(integer_object_nulls=True), "a feature declared as text", missing=None)
    if pa.types.is_integer(column.type) and column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy()  # type: ignore[no-any-return]


def _numeric(column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(column.type) or pa.types.is_integer(column.type))


def decode_value(value: bytes | None) -> Any:
    """A value in Python's type; None where it is missing."""
    if not value:
        return None
    if unpack := UNPACK.get((value[0], len(value))):
        return unpack(value, 1)[0]
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    return feast_value_type_to_python_type(Value.FromString(value))
