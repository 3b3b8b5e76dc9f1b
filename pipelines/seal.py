"""JSON files that carry their own digest: whatever changes in one is noticed when it is read. A leaf."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipelines.errors import CorruptData
from pipelines.store import Store

DIGESTS = "sha256"  # the key: of the files that a file names, and of itself


def sealed(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The value with the digest of all else in it as DIGESTS[name]; sealed again it is the same.

    Args:
        name: of the file.
    """
    body = json.loads(json.dumps(dict(value)))  # as it will be read: lists, and keys that are strings
    others = {file: digest for file, digest in body.get(DIGESTS, {}).items() if file != name}
    body[DIGESTS] = others
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {**body, DIGESTS: {**others, name: digest}}


def write_sealed(store: Store, uri: str, value: Mapping[str, Any]) -> None:
    store.write_json(uri, sealed(value, _name(uri)))


def read_sealed(store: Store, uri: str, remedy: str) -> dict[str, Any]:
    """A file that `write_sealed` wrote.

    Args:
        remedy: what makes the file anew, as a person is told.

    Raises:
        MissingData: if it is not there.
        CorruptData: if it has no digest of its own, or is not what that says.
    """
    value, name = store.read_json(uri), _name(uri)
    digests = value.get(DIGESTS) if isinstance(value, dict) else None
    if not (isinstance(digests, dict) and name in digests):
        raise CorruptData(f"{uri} carries no digest of its own; {remedy}")
    if digests[name] != sealed(value, name)[DIGESTS][name]:
        raise CorruptData(f"{uri} was altered: it is not what its digest says; restore it, or {remedy}")
    return dict(value)


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]
