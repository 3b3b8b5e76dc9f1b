"""Starts, watches and stops a deck: MLflow, model servers and the parts of Airflow, on this machine's address only.

    python -m infra.supervisor up [--foreground] | down | status | clean | exec COMMAND...

`up` leaves a detached process that restarts a part that dies. Its state is in `run/supervisor.json` in the deck's home.
Standard library only, so that `down` and `clean` work where nothing is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from infra.deck import REPO, BadSetting, Deck, DeckError, check_params, environment, load_deck, notice_ignored
from infra.parts import parts, require_free
from infra.processes import Session, members, stop
from infra.watch import Watch
from pipelines import failure
from pipelines.arguments import Parser
from pipelines.redaction import redact

START_TIMEOUT = 300.0  # seconds; a first start compiles every library's bytecode
MARKER = ".flightdeck"


def main(argv: list[str] | None = None) -> int:
    top = Parser(prog="python -m infra.supervisor", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start everything, wait until it is healthy, and return")
    start.add_argument("--foreground", action="store_true", help="stay, and stop everything on Ctrl-C")
    commands.add_parser("down", help="stop everything that `up` started")
    commands.add_parser("status", help="say what runs; exit status 0 if all is healthy, 3 if nothing runs")
    commands.add_parser("clean", help="stop, then remove the deck's home")
    act = commands.add_parser("exec", help="run a command in the environment of the parts (airflow ..., mlflow ...)")
    act.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("watch")  # what `up` leaves running
    arguments = top.parse_args(argv)
    try:
        deck = load_deck()
        match arguments.command:
            case "up":
                return up(deck, arguments.foreground)
            case "watch":
                return Watch(deck, parts(deck)).run()
            case "down":
                return down(deck)
            case "status":
                return status(deck)
            case "clean":
                return clean(deck)
            case _:
                return execute(deck, arguments.argv)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return failure.report(error)


def up(deck: Deck, foreground: bool = False) -> int:
    """Start the deck, or report that it is up.

    Raises:
        BadSetting: if a port is taken; nothing was started.
        DeckError: if a part keeps dying or is not healthy in time; everything is stopped again.
    """
    if notice := notice_ignored(os.environ):
        print(notice, file=sys.stderr)
    check_params(deck)
    _prepare(deck)
    with _lock(deck.run / "up.lock"):  # a second `up` waits here, and then finds the deck of the first
        failed_parts = [p["label"] for p in read_state(deck).get("parts", {}).values() if p["state"] == "failed"]
        if running(deck) and failed_parts:
            _say(f"{', '.join(failed_parts)} was given up; everything is started again.")
            down(deck, quiet=True)
        if running(deck):
            if foreground:
                raise DeckError("already running; stop it first (make stop)")
            if (params := read_state(deck).get("params", deck.params)) != deck.params:
                raise DeckError(f"already running with FLIGHTDECK_PARAMS={params}; stop it first (make stop)")
            if read_state(deck).get("status") == "up":
                print(f"Flightdeck is already up.\n{_where(deck)}")
                return 0
            return _follow(deck)
        _stop_leftovers(deck)
        for part in parts(deck):
            if part.port:
                require_free(*part.port)
        if foreground:
            return Watch(deck, parts(deck), say=_say).run()
        command = [sys.executable, "-m", "infra.supervisor", "watch"]
        with open(deck.logs / "supervisor.log", "ab") as log:
            watch = subprocess.Popen(
                command, cwd=REPO, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return _follow(deck, watch)


def _prepare(deck: Deck) -> None:
    try:
        ours = not deck.home.exists() or not any(deck.home.iterdir())
        for folder in (deck.run, deck.logs, deck.home / "mlflow", deck.home / "airflow"):
            folder.mkdir(parents=True, exist_ok=True)
        config = deck.home / "airflow" / "airflow.cfg"
        if not config.exists():  # else Airflow writes its own, from several processes at once
            config.write_text("# Every setting is a variable: see environment() in infra/deck.py.\n")
        if ours:
            (deck.home / MARKER).write_text("Flightdeck made this folder; `make clean` removes it.\n")
    except OSError as error:
        raise DeckError(
            f"FLIGHTDECK_HOME={deck.home} cannot be used ({error.strerror}); set it to a folder of yours"
        ) from None


def _follow(deck: Deck, watch: subprocess.Popen[bytes] | None = None) -> int:
    """Show the progress of the watch until everything is healthy."""
    begin = last_line = time.monotonic()
    reported: set[str] = set()
    while True:
        state = read_state(deck)
        current = state if watch is None or state.get("supervisor") == watch.pid else {}
        for name, part in current.get("parts", {}).items():
            if part["state"] == "healthy" and name not in reported:
                reported.add(name)
                last_line = time.monotonic()
                _say(f"[{last_line - begin:3.0f} s] {part['label']:22} {part['url'] or 'ready'}")
        if current.get("status") == "up":
            _say(f"Flightdeck is up after {time.monotonic() - begin:.0f} s.\n{_where(deck)}")
            return 0
        late = time.monotonic() - begin > START_TIMEOUT
        if (
            late
            or current.get("status") == "failed"
            or (not running(deck) and (watch is None or watch.poll() is not None))
        ):
            reason = current.get("reason") or (
                f"not healthy after {START_TIMEOUT:.0f} s; see {deck.logs}" if late else "it was stopped while starting"
            )
            down(deck, quiet=True)
            raise DeckError(f"{reason}. Everything was stopped again.")
        if time.monotonic() - last_line > 10:
            last_line = time.monotonic()
            waiting = [p["label"] for n, p in current.get("parts", {}).items() if n not in reported]
            _say(f"[{last_line - begin:3.0f} s] waiting for {', '.join(waiting) or 'the supervisor'}")
        time.sleep(0.2)


def down(deck: Deck, quiet: bool = False) -> int:
    """Stop everything that `up` started, including processes of a killed supervisor."""
    state = read_state(deck)
    was_running = running(deck)
    if was_running and state:
        with suppress(ProcessLookupError):
            os.kill(state["supervisor"], signal.SIGTERM)
        deadline = time.monotonic() + 40
        while running(deck) and time.monotonic() < deadline:
            time.sleep(0.1)
        if running(deck):
            os.kill(state["supervisor"], signal.SIGKILL)
    leftovers = _stop_leftovers(deck)
    if not quiet:
        print("Flightdeck is stopped." if was_running or leftovers else "Flightdeck was not running.")
    return 0


def _stop_leftovers(deck: Deck) -> int:
    """End the processes of a supervisor that is gone, and remove its state. Returns how many processes there were."""
    sessions = [Session(**part["session"]) for part in read_state(deck).get("parts", {}).values() if part["session"]]
    processes = members(sessions)
    if survivors := stop(sessions, grace=5) if processes else []:
        raise DeckError(f"processes {survivors} do not end, not even on KILL; see {_state_file(deck)}")
    _state_file(deck).unlink(missing_ok=True)
    return len(processes)


def status(deck: Deck) -> int:
    state = read_state(deck)
    if not running(deck):
        sessions = [Session(**part["session"]) for part in state.get("parts", {}).values() if part["session"]]
        leftovers = len(members(sessions))
        print(
            "Flightdeck is not running"
            + (f", but {leftovers} of its processes are; `make stop` ends them." if leftovers else ".")
        )
        return 3
    print(f"Flightdeck is {state.get('status', 'starting')} (supervisor {state.get('supervisor')}).")
    for part in state.get("parts", {}).values():
        restarts = f"  {part['restarts']} restarts, see {part['log']}" if part["restarts"] else ""
        pid = part["session"]["leader"] if part["session"] else "-"
        print(f"  {part['label']:22} {part['state']:9} {pid!s:>8}  {part['url']}{restarts}")
    return 0 if state.get("status") == "up" else 1


def clean(deck: Deck) -> int:
    """Stop the deck, and remove its home: the repository's `var`, or a folder that was empty at the first `up`.

    Raises:
        BadSetting: if the home is neither.
    """
    home = deck.home.resolve()
    if home.exists() and home != (REPO / "var").resolve() and not (home / MARKER).exists():
        raise BadSetting(
            f"{home} existed before Flightdeck used it, so it is not removed; remove by hand what is not needed"
        )
    if home == REPO or home in REPO.parents:
        raise BadSetting(f"{home} holds this repository; set FLIGHTDECK_HOME to the folder to remove")
    if home.exists():
        down(deck)
        shutil.rmtree(home)
        print(f"Removed {home}.")
    return 0


def execute(deck: Deck, argv: list[str]) -> int:
    """Replace this process by the command, in the parts' environment; the deck's programs come first in its PATH."""
    if not argv:
        raise BadSetting("exec needs a command, such as: exec airflow dags list")
    env = environment(deck)
    env["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), env.get("PATH", os.defpath)])
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 - what a person typed, without a shell
    except OSError as error:
        raise BadSetting(f"cannot run {argv[0]!r}: {error.strerror}") from None


def running(deck: Deck) -> bool:
    """Whether a supervisor lives: it holds a lock while it lives, which is safer than its pid."""
    try:
        with open(deck.run / "supervisor.lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def read_state(deck: Deck) -> dict[str, Any]:
    try:
        state = json.loads(_state_file(deck).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _state_file(deck: Deck) -> Path:
    return deck.run / "supervisor.json"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another start is under way; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _where(deck: Deck) -> str:
    rows = [
        f"  Airflow  {deck.airflow_url}  user admin, password in {deck.passwords_file}",
        f"  MLflow   {redact(deck.mlflow_url)}",
        f"  Models   {deck.serving_url}  POST /v1/predictions once one is deployed",
        f"  Logs     {deck.logs}",
    ]
    return "\n".join(rows)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
