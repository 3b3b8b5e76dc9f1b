"""The loop behind `up`: starts parts once those that they need are healthy, restarts dead ones, and ends them all."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.deck import REPO, Deck, environment
from infra.parts import GATE, Part
from infra.processes import Session, members, session_of, stop

QUICK = 30.0  # seconds; a part that dies sooner counts towards giving up
GIVE_UP = 5  # quick deaths in a row
PAUSE = 1.0  # seconds before the first new start; doubled after every quick death
LOG_LIMIT = 20_000_000  # bytes; a larger log is set aside when its part starts
POOLS = {
    "dvc": "One DVC command at a time: it locks its repository",
    "feast": "One writer at a time of Feast's registry and online store",
}


@dataclass
class Life:
    """The state of one part: waiting, starting, healthy, dead (to be started again) or failed (given up)."""

    part: Part
    log: Path
    state: str = "waiting"
    process: subprocess.Popen[bytes] | None = None
    session: Session | None = None
    since: float = 0.0  # epoch seconds
    again_at: float = 0.0
    quick_deaths: int = 0
    restarts: int = 0

    def report(self) -> dict[str, Any]:
        return {
            "label": self.part.label,
            "state": self.state,
            "session": asdict(self.session) if self.session else None,
            "url": self.part.url,
            "port": self.part.port[1] if self.part.port else None,
            "restarts": self.restarts,
            "log": str(self.log),
        }


class Watch:
    """Runs the parts of one deck until it is stopped (TERM, Ctrl-C), or until one of them cannot be started."""

    def __init__(self, deck: Deck, parts: list[Part], say: Callable[[str], None] = lambda _: None) -> None:
        self.deck = deck
        self.lives = {part.name: Life(part, deck.logs / f"{part.name}.log") for part in parts}
        self.say = say
        self.stopping = False
        self.status = "starting"
        self.reason = ""
        self.written = ""

    def run(self) -> int:
        """Returns 0 after an orderly stop, 1 if the start failed."""
        with open(self.deck.run / "supervisor.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._stop)
            self._gate.unlink(missing_ok=True)
            env = {**environment(self.deck), GATE: str(self._gate)}
            try:
                while not self.stopping and self.status != "failed":
                    self.tick(env)
                    time.sleep(0.2 if self.status == "starting" else 1.0)
            finally:
                self.end()
        return 1 if self.status == "failed" else 0

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def tick(self, env: Mapping[str, str]) -> None:
        """Check every part once."""
        now = time.time()
        for life in self.lives.values():
            if life.process and life.process.poll() is not None:
                self._handle_end(life, life.process.returncode, now)
            if life.state == "waiting" and self._are_healthy(life.part.needs):
                self._start(life, env)
            elif life.state == "dead" and now >= life.again_at:
                life.restarts += 1
                self._start(life, env)
            elif life.state == "starting" and not life.part.once and life.part.healthy(life.since):
                self._healthy(life)
            if (
                life.part.gated
                and not self._gate.exists()
                and self._are_healthy(life.part.gated)
                and make_pools(self.deck)
            ):
                self._gate.touch()
        if self.status == "starting" and all(life.state == "healthy" for life in self.lives.values()):
            self.status = "up"
            self.say("Flightdeck is up; Ctrl-C stops it.")
        self.write()

    def _are_healthy(self, names: Sequence[str]) -> bool:
        return all(self.lives[name].state == "healthy" for name in names)

    def _start(self, life: Life, env: Mapping[str, str]) -> None:
        if life.log.exists() and life.log.stat().st_size > LOG_LIMIT:
            life.log.replace(life.log.with_suffix(".log.1"))
        with open(life.log, "ab") as log:
            life.process = subprocess.Popen(
                life.part.command,
                cwd=REPO,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        life.session = session_of(life.process.pid)
        life.since, life.state = time.time(), "starting"
        self.write()  # at once, so that whoever stops the deck knows this session

    def _healthy(self, life: Life) -> None:
        life.state = "healthy"
        self.say(f"{life.part.label:22} {life.part.url or 'ready'}")

    def _handle_end(self, life: Life, code: int, now: float) -> None:
        """End what is left of its session (workers hold the port); then start the part again, or give it up."""
        if life.session and members([life.session]):
            stop([life.session], grace=2)
        life.process = life.session = None
        if life.part.once and code == 0:
            self._healthy(life)
            return
        life.quick_deaths = life.quick_deaths + 1 if now - life.since < QUICK else 1
        life.state, life.again_at = "dead", now + PAUSE * 2 ** (life.quick_deaths - 1)
        if life.quick_deaths >= GIVE_UP or life.part.once:
            life.state = "failed"
            times = "" if life.part.once else f" {life.quick_deaths} times in a row"
            self.reason = f"{life.part.label} ended with status {code}{times}; see {life.log}"
            if self.status == "starting":
                self.status = "failed"
            self.say(self.reason)
        else:
            self.say(f"{life.part.label} ended with status {code}; it is started again")

    def end(self) -> None:
        """End every part: first those that start work, so that they can still report, then the servers."""
        servers = ("mlflow", "airflow-api", "airflow-execution-api")
        for first in (True, False):
            group = [x.session for n, x in self.lives.items() if x.session and (n not in servers) == first]
            stop(group, grace=8 if first else 5, reap=self._reap)
        self._reap()  # those that ended at once
        if self.status == "failed":
            self.write()  # `up` reads why
        else:
            self._file.unlink(missing_ok=True)

    def _reap(self) -> None:
        for life in self.lives.values():
            if life.process:
                life.process.poll()

    @property
    def _gate(self) -> Path:
        return self.deck.run / "gate"

    @property
    def _file(self) -> Path:
        return self.deck.run / "supervisor.json"

    def write(self) -> None:
        is_degraded = self.status == "up" and any(life.state != "healthy" for life in self.lives.values())
        state = {
            "supervisor": os.getpid(),
            "status": "degraded" if is_degraded else self.status,
            "reason": self.reason,
            "params": self.deck.params,
            "parts": {name: life.report() for name, life in self.lives.items()},
        }
        text = json.dumps(state, indent=2)
        if text != self.written:
            fresh = self._file.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self._file)
            self.written = text


def make_pools(deck: Deck) -> bool:
    """Create missing pools before any task needs one; false if the API does not answer yet."""
    from infra.airflow_client import AirflowClient, AirflowError

    with suppress(AirflowError), AirflowClient.of(deck) as airflow:
        for name, description in POOLS.items():
            airflow.pool(name, slots=1, description=description)
        return True
    return False
