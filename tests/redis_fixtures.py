"""A Redis of our own, on a free port, for a whole module; its tests are skipped where none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from benchmarks.redis_server import running_redis
from tests.services import missing


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that keeps nothing and wants a password."""
    if not shutil.which("redis-server"):
        missing("redis-server", "redis-server")
    with running_redis(tmp_path_factory.mktemp("redis"), "--requirepass", "se=cr3t:@") as port:
        yield f"redis://:se%3Dcr3t%3A%40@127.0.0.1:{port}"
