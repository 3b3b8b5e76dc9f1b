"""`flightdeck serve`: its environment, arguments and error messages."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipelines.serving import __main__ as command
from tests.conftest import TOY


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out `settle`: this process continues after a server has run in it."""
    monkeypatch.setattr(command, "settle", lambda: None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Config]:
    """The configurations that would have been served."""
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(command, "create_app", lambda _: None)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: configs.append(uvicorn.Config(app, **options)))
    return configs


def serve(home: Path, *arguments: str) -> int:
    return command.main(["--params", str(TOY), "--home", str(home), *arguments])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_variables_of_uvicorn_do_not_reach_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[uvicorn.Config]
) -> None:
    for name, value in {"WEB_CONCURRENCY": "2", "FORWARDED_ALLOW_IPS": "*", "UVICORN_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    port = free_port()
    assert serve(tmp_path, "--port", str(port)) == 0
    (config,) = started
    assert (config.workers, config.port, config.host) == (1, port, "127.0.0.1")
    assert not config.proxy_headers, "no proxy headers are trusted"
    assert config.timeout_graceful_shutdown == command.END_WITHIN, "no client keeps the server from stopping"


@pytest.mark.parametrize("port", ["0", "-1", "65536", "70000"])
def test_a_port_out_of_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], started: list[uvicorn.Config], port: str
) -> None:
    assert serve(tmp_path, "--port", port) == 2 and not started
    assert capsys.readouterr().err == f"flightdeck: --port {port}: choose one of 1 to 65535\n"


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_port_in_use_is_a_one_line_error_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, started: list[Any], by: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("FLIGHTDECK_SERVING_PORT", port if by == "variable" else "8090")
        assert serve(tmp_path, *(["--port", port] if by == "flag" else [])) == 1 and not started
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"flightdeck: cannot listen at 127.0.0.1:{port} (Address already in use); ")
    assert line.endswith("with --port or FLIGHTDECK_SERVING_PORT")


def test_a_host_of_another_machine_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    monkeypatch.setenv("FLIGHTDECK_SERVING_HOST", "192.0.2.1")
    assert serve(tmp_path) == 1 and not started
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flightdeck: cannot listen at 192.0.2.1:8090 (")


def test_a_server_that_uvicorn_stops_exits_with_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: Any, **__: Any) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(command, "create_app", lambda _: None)
    monkeypatch.setattr(uvicorn, "run", ended)
    assert serve(tmp_path, "--port", str(free_port())) == 1
