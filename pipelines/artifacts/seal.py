"""JSON files with a digest of their own, and files that another names by digest: reading one notices a change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.errors import CorruptData
from pipelines.json_text import JsonObject

if TYPE_CHECKING:
    from pipelines.store import Store

DIGESTS = "sha256"  # the key: of the files that a file names, and of itself


def sealed(value: Mapping[str, object], name: str) -> JsonObject:
    """The value with the digest of all else in it as DIGESTS[name]; sealed again it is the same.

    Args:
        name: of the file.
    """
    body = json.loads(json.dumps(dict(value)))  # as it will be read: lists, and keys that are strings
    others = {file: digest for file, digest in body.get(DIGESTS, {}).items() if file != name}
    body[DIGESTS] = others
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {**body, DIGESTS: {**others, name: digest}}


def write_sealed(store: Store, uri: str, value: Mapping[str, object]) -> None:
    store.write_json(uri, sealed(value, _name(uri)))


def read_sealed(store: Store, uri: str, remedy: str) -> JsonObject:
    """A file that `write_sealed` wrote.

    Args:
        remedy: what makes the file anew, as a person is told.

    Raises:
        MissingData: if it is not there.
        CorruptData: if it has no digest of its own, or is not what that says.
    """
    value = store.read_json(uri)
    if not is_sealed(value, _name(uri)):
        raise CorruptData(f"{uri} carries no digest of its own; {remedy}")
    return unaltered(value, uri, remedy)


def is_sealed(value: Any, name: str) -> bool:
    """Whether the content of a JSON file carries a digest of its own."""
    digests = value.get(DIGESTS) if isinstance(value, dict) else None
    return isinstance(digests, dict) and name in digests


def unaltered(value: JsonObject, uri: str, remedy: str) -> JsonObject:
    """A sealed value that is what its own digest says, or CorruptData."""
    name = _name(uri)
    if value[DIGESTS][name] != sealed(value, name)[DIGESTS][name]:
        raise CorruptData(f"{uri} was altered: it is not what its digest says; restore it, or {remedy}")
    return dict(value)


def read_named(store: Store, uri: str, sha256: str | None, by: str, remedy: str) -> bytes:
    """The bytes of a file that another file names by its digest.

    Args:
        sha256: what the other file says; None where it does not name the file.
        by: name of that other file.

    Raises:
        MissingData: if it is not there.
        CorruptData: if it is another file.
    """
    content = store.read_bytes(uri)
    if store.sha256(content) != sha256:
        raise CorruptData(f"{uri} is not the file that {by} names; {remedy}")
    return content


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]
