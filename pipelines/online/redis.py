"""Online rows in Redis in the layout of Feast's `RedisOnlineStore`: a hash for each entity, shared by its views."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pipelines.instants import SECOND, from_micros, micros
from pipelines.online.rows import Changed, EncodedRows, OnlineView, Span, StoredRow

if TYPE_CHECKING:
    from feast import FeatureStore

MOST = 5_000  # commands in one round trip, and entities that one announcement names
KEPT = 200  # announcements of writes; a reader needs none from before its last REREAD
REREAD = 5.0  # seconds; a reader then reads all rows anew, since other programs and killed processes announce nothing
NONE = b"0-0"  # before the first announcement
T = TypeVar("T")


class RedisRows:
    """The hashes of a Feast project in Redis. An entity's row of a view changes in one command."""

    failures: tuple[type[Exception], ...] = (RedisError,)

    def __init__(self, store: FeatureStore, patience: float | None = None) -> None:
        self._patience = patience
        self._config, self._online = store.config, store._get_provider().online_store
        self._project = str(store.config.project).encode()
        self._changes = f"flightdeck_changed:{store.config.project}"

    @cached_property
    def _redis(self) -> Any:
        """Feast's client, or one of the same place with the patience that was asked for."""
        client = self._online._get_client(self._config.online_store)
        if self._patience is None:
            return client
        pool = client.connection_pool
        timeouts = {
            "socket_timeout": self._patience,
            "socket_connect_timeout": self._patience,
            "retry": Retry(NoBackoff(), 0),
        }
        return Redis(connection_pool=ConnectionPool(pool.connection_class, **{**pool.connection_kwargs, **timeouts}))

    def read_note(self, view: str) -> str | None:
        note = self._redis.get(self._note("given", view))
        return note and str(note.decode())

    def interrupted_at(self, view: str) -> datetime | None:
        note = self._redis.get(self._note("begun", view))
        return note and datetime.fromisoformat(note.decode())

    def _note(self, kind: str, view: str) -> str:
        return f"flightdeck_{kind}:{self._config.project}:{view}"

    def put(self, view: OnlineView, rows: EncodedRows, span: Span, note: str) -> None:
        fields = [(_field(view.name, name), rows.values[name]) for name in view.features]
        known_at, last = _known_at_field(view.name), micros(span.last_at)
        self._redis.set(self._note("begun", view.name), span.last_at.isoformat())
        if span.anew:
            self._remove(view, set(rows.keys), span)
        for some in _pieces(range(len(rows.keys)), MOST):
            keys = [rows.keys[n] + self._project for n in some]
            instants = self._each([("HGET", key, known_at) for key in keys])
            commands = []
            for n, key, at in zip(some, keys, instants, strict=True):
                if at is None or _microseconds(at) <= last:
                    pairs = [part for field, values in fields for part in (field, values[n])]
                    commands.append(("HSET", key, known_at, _timestamp(rows.known_at[n]), *pairs))
            self._each(commands)
        self._redis.set(self._note("given", view.name), note)
        self._redis.delete(self._note("begun", view.name))
        self._redis.execute_command(*self._announcement(view, None if span.anew else rows.keys))

    def push(self, view: OnlineView, rows: EncodedRows) -> None:
        fields = [(_field(view.name, name), rows.values[name]) for name in view.features]
        known_at = _known_at_field(view.name)
        commands = []
        for n, key in enumerate(rows.keys):
            pairs = [part for field, values in fields for part in (field, values[n])]
            commands.append(("HSET", key + self._project, known_at, _timestamp(rows.known_at[n]), *pairs))
        self._each([*commands, self._announcement(view, rows.keys)])

    def _announcement(self, view: OnlineView, keys: Sequence[bytes] | None) -> tuple[Any, ...]:
        """The command that announces in the stream of changes whose rows of a view have been written.

        Args:
            keys: of the entities; None where it may be all of them.
        """
        entities = None if keys is None or len(keys) > MOST else [*keys]
        return ("XADD", self._changes, "MAXLEN", KEPT, "*", view.name, msgspec.msgpack.encode(entities))

    def _remove(self, view: OnlineView, keep: set[bytes], span: Span) -> None:
        """Remove the rows of a view within a span, except those of the entities in `keep`."""
        known_at = _known_at_field(view.name)
        first = micros(span.first_at) if span.first_at else -(2**62)
        last = micros(span.last_at)
        pattern = _escaped(view.keys.prefix) + b"*" + _escaped(self._project)
        for some in _pieces(self._redis.scan_iter(pattern, count=MOST), MOST):
            others = [key for key in some if self._is_of(view, key) and key.removesuffix(self._project) not in keep]
            instants = self._each([("HGET", key, known_at) for key in others])
            inside = [
                k
                for k, at in zip(others, instants, strict=True)
                if at is not None and first <= _microseconds(at) <= last
            ]
            fields = [known_at, *(_field(view.name, name) for name in view.features)]
            self._each([("HDEL", key, *fields) for key in inside])

    def _is_of(self, view: OnlineView, key: bytes) -> bool:
        """Whether a key belongs to this project; the pattern also matches projects whose names end in ours."""
        return key.endswith(self._project) and view.keys.holds(key.removesuffix(self._project))

    def changed(self, mark: object) -> tuple[object, Changed]:
        before, turn_before = mark if isinstance(mark, tuple) else (None, None)
        turn = int(time.monotonic() // REREAD)
        if before is None or turn != turn_before:
            newest = self._redis.xrevrange(self._changes, count=1)
            return (newest[0][0] if newest else NONE, turn), None
        entries = self._redis.xrange(self._changes, min=b"(" + before)
        if not entries:
            return mark, {}
        now = (entries[-1][0], turn)
        if not self._redis.xrange(self._changes, min=before, max=before):  # nor are those that came just after it
            return now, None
        by_view: dict[str, set[bytes]] = {}
        for _, announcement in entries:
            for view, content in announcement.items():
                keys = msgspec.msgpack.decode(content, type=list[bytes] | None)
                if keys is None:
                    return now, None
                by_view.setdefault(view.decode(), set()).update(keys)
        return now, by_view

    def get(self, lookups: Sequence[tuple[OnlineView, Sequence[bytes]]]) -> list[dict[bytes, StoredRow]]:
        commands: list[tuple[Any, ...]] = []
        for view, keys in lookups:
            fields = [_known_at_field(view.name), *(_field(view.name, name) for name in view.features)]
            commands += [("HMGET", key + self._project, *fields) for key in keys]
        answers = iter(self._each(commands))
        results: list[dict[bytes, StoredRow]] = []
        for view, keys in lookups:
            stored: dict[bytes, StoredRow] = {}
            for key in keys:
                at, *values = next(answers)
                if at is not None:
                    instant = from_micros(_microseconds(at))
                    stored[key] = (instant, dict(zip(view.features, values, strict=True)))
            results.append(stored)
        return results

    def _each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to several commands, MOST commands in each round trip."""
        answers: list[Any] = []
        for some in _pieces(commands, MOST):
            with self._redis.pipeline(transaction=False) as pipe:
                for command in some:
                    pipe.execute_command(*command)
                answers += pipe.execute()
        return answers


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


@lru_cache(maxsize=4096)
def _field(view: str, feature: str) -> bytes:
    from feast.infra.online_stores.helpers import _mmh3

    return bytes(_mmh3(f"{view}:{feature}"))


def _known_at_field(view: str) -> bytes:
    return f"_ts:{view}".encode()


def _timestamp(microseconds: int) -> bytes:
    from google.protobuf.timestamp_pb2 import Timestamp

    seconds, rest = divmod(microseconds, SECOND)
    return bytes(Timestamp(seconds=seconds, nanos=rest * 1000).SerializeToString())


def _microseconds(timestamp: bytes) -> int:
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp.FromString(timestamp)
    return int(stamp.seconds) * SECOND + int(stamp.nanos) // 1000


def _escaped(pattern: bytes) -> bytes:
    return b"".join(b"\\" + bytes([c]) if bytes([c]) in b"*?[]\\^-" else bytes([c]) for c in pattern)
