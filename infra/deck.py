"""A deck, one installation of Flightdeck: its home, its ports, and the environment that its processes share.

Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.environment import ACCESS, build_environment, notice, overridden
from pipelines.errors import FlightdeckError
from pipelines.sqlite import mlflow_uri_of, uri_of

REPO = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
USERS = {"admin": "admin", "viewer": "viewer"}  # name -> role
PORTS = {
    "airflow": ("FLIGHTDECK_AIRFLOW_PORT", 8080),
    "execution": ("FLIGHTDECK_AIRFLOW_EXECUTION_PORT", 8081),
    "mlflow": ("FLIGHTDECK_MLFLOW_PORT", 5000),
    "serving": ("FLIGHTDECK_SERVING_PORT", 8090),
}
FORBIDDEN = ("AIRFLOW_", "_AIRFLOW_")  # another Airflow's


class DeckError(FlightdeckError):
    """Something outside the deck must change first; the message says what, in one line."""


class BadSetting(DeckError):
    """A variable or a port cannot be used; nothing was started."""

    exit_code = 2


@dataclass(frozen=True)
class Deck:
    """One deck: its home and its ports. Decks with different homes and ports can run side by side."""

    home: Path
    params: str
    airflow_port: int
    execution_port: int
    mlflow_port: int
    serving_port: int  # of the first use case's model server; the next one's is one more
    mlflow_elsewhere: str = ""  # a tracking server that is not ours

    @property
    def airflow_url(self) -> str:
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def execution_url(self) -> str:
        return f"http://{HOST}:{self.execution_port}/execution/"

    @property
    def mlflow_url(self) -> str:
        return self.mlflow_elsewhere or f"http://{HOST}:{self.mlflow_port}"

    @property
    def serving_url(self) -> str:
        return f"http://{HOST}:{self.serving_port}"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def passwords_file(self) -> Path:
        return self.home / "secrets" / "airflow_passwords.json"


def load_deck(environ: Mapping[str, str] | None = None) -> Deck:
    """The deck that these variables describe (by default this process's).

    Raises:
        BadSetting: naming the variable, if a port is not a number from 1 to 65535, or is given twice.
    """
    env = build_environment(os.environ if environ is None else environ)
    ports = {name: _port(env, variable, default) for name, (variable, default) in PORTS.items()}
    if len(set(ports.values())) < len(ports):
        settings = ", ".join(f"{PORTS[name][0]}={port}" for name, port in ports.items())
        raise BadSetting(f"two parts cannot share a port: {settings}")
    mlflow_uri = env.get("FLIGHTDECK_MLFLOW_URI", "").rstrip("/")
    ours = {f"http://{host}:{ports['mlflow']}" for host in (HOST, "localhost")}
    params = env.get("FLIGHTDECK_PARAMS") or "params.yaml"
    return Deck(
        home=_absolute(env.get("FLIGHTDECK_HOME") or "var"),
        params=os.pathsep.join(str(_absolute(file)) for file in params.split(os.pathsep)),
        airflow_port=ports["airflow"],
        execution_port=ports["execution"],
        mlflow_port=ports["mlflow"],
        serving_port=ports["serving"],
        mlflow_elsewhere="" if mlflow_uri in ours else mlflow_uri,
    )


def check_params(deck: Deck) -> None:
    """Read every params file and its use case, as the DAG files will.

    Raises:
        BadSetting: naming the file and what is wrong with it.
    """
    from pipelines.context import build_context

    for file in deck.params.split(os.pathsep):
        try:
            build_context(file)
        except FlightdeckError as error:
            raise BadSetting(f"{error}. Nothing was started.") from None


def _absolute(path: str) -> Path:
    return (REPO / Path(path).expanduser()).absolute()


def _port(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable) or str(default)
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise BadSetting(f"{variable}={text!r} is not a port; set it to a number from 1 to 65535, or unset it")
    return int(text)


def environment(deck: Deck, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every part, and of commands that act as one. It contains secrets: never print it.

    It has the caller's variables that `pipelines.environment` passes, without those of another Airflow;
    FLIGHTDECK_AIRFLOW__* and FLIGHTDECK_MLFLOW__* override ours. The first call creates the secrets, in files of mode
    0600 in the deck's home.
    """
    env = os.environ if environ is None else environ
    excluded = {*(ACCESS if not deck.mlflow_elsewhere else ()), "PYTHONDONTWRITEBYTECODE"}
    inherited = {k: v for k, v in build_environment(env).items() if not k.startswith(FORBIDDEN) and k not in excluded}
    path = [str(REPO / "infra" / "airflow"), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS: the DAG processor forks
        "FLIGHTDECK_HOME": str(deck.home),
        "FLIGHTDECK_PARAMS": deck.params,
        "FLIGHTDECK_MLFLOW_URI": deck.mlflow_url,
        "MLFLOW_TRACKING_URI": deck.mlflow_url,
        "MLFLOW_BACKEND_STORE_URI": mlflow_uri_of(deck.home / "mlflow" / "mlflow.db"),  # for its server
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes for features that we do not use
        "TQDM_DISABLE": "1",
        **_airflow(deck),
        **overridden(env),
    }


def notice_ignored(environ: Mapping[str, str]) -> str:
    """A notice about the caller's variables for another Airflow, which are ignored; empty where there are none.

    Notices about other variables come from `pipelines.environment`, wherever a context is built.
    """
    names = sorted(name for name in environ if name.startswith(FORBIDDEN) and name != "AIRFLOW_HOME")
    return f"{notice(names)}; Airflow's are FLIGHTDECK_AIRFLOW__SECTION__KEY" if names else ""


def _airflow(deck: Deck) -> dict[str, str]:
    home = deck.home / "airflow"
    settings = {
        "CORE__DAGS_FOLDER": REPO / "dags",
        "CORE__PLUGINS_FOLDER": REPO / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,  # a deck that is started should run its DAGs
        "CORE__PARALLELISM": 4,  # also the number of processes that the scheduler forks up front
        "CORE__EXECUTION_API_SERVER_URL": deck.execution_url,
        "CORE__FERNET_KEY": _secret(deck, "fernet_key", lambda: base64.urlsafe_b64encode(os.urandom(32)).decode()),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": _passwords(deck),
        "API__HOST": HOST,
        "API__PORT": deck.airflow_port,
        "API__BASE_URL": deck.airflow_url,
        "API__SECRET_KEY": _secret(deck, "api_secret_key", lambda: secrets.token_hex(32)),
        "API_AUTH__JWT_SECRET": _secret(deck, "jwt_secret", lambda: secrets.token_urlsafe(96)),
        "DATABASE__SQL_ALCHEMY_CONN": uri_of(home / "airflow.db"),
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 60,  # seconds until a task whose process is gone is tried again
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        "DAG_PROCESSOR__REFRESH_INTERVAL": 5,  # new files show up within seconds
        "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": 1,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 30,
    }
    return {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{key}": str(value) for key, value in settings.items()}}


def _passwords(deck: Deck) -> Path:
    """The file of the users' passwords, written before Airflow starts, which would print passwords that it creates."""
    _secret(deck, deck.passwords_file.name, lambda: json.dumps({name: secrets.token_urlsafe(18) for name in USERS}))
    return deck.passwords_file


def _secret(deck: Deck, name: str, make: Callable[[], str]) -> str:
    """A secret of this deck, created once."""
    folder = deck.home / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / name
    fresh = folder / f".{name}.{os.getpid()}"
    if not file.exists():
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(make())
        with suppress(FileExistsError):  # another process was first: its secret counts
            os.link(fresh, file)
        fresh.unlink()
    return file.read_text()
