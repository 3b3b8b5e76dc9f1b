"""A small client for Airflow's REST API (v2): start runs, follow them, and read their results."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any, Self

import httpx

from infra.deck import Deck, DeckError

FINISHED = frozenset({"success", "failed"})
ATTEMPTS = 8  # of a request that the server cannot handle now (it answers 500 while SQLite is locked)
POLL = 1.0  # seconds

States = Mapping[str, str]  # task id -> state ("none" before it is scheduled); mapped tasks as "task[0]"


class AirflowError(DeckError):
    """Airflow refused a request, or something did not happen in time."""


@dataclass(frozen=True)
class Run:
    """One DAG run in its present or final state."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    conf: Mapping[str, Any]
    seconds: float | None  # from start to end
    tasks: States

    @property
    def ok(self) -> bool:
        return self.state == "success"


class AirflowClient:
    """Requests as one user. A request is repeated after a server error, so every new run is posted with its own id."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.user, self.password = user, password
        # no proxy and no netrc: the address is of this machine
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    @classmethod
    def of(cls, deck: Deck, user: str = "admin") -> Self:
        """A client for this deck, with the password from its file.

        Raises:
            AirflowError: if the deck has never been started.
        """
        try:
            return cls(deck.airflow_url, user, json.loads(deck.passwords_file.read_text())[user])
        except (FileNotFoundError, KeyError):
            raise AirflowError(
                f"no password of {user!r} in {deck.passwords_file}; start the deck first (make up)"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def request(self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of the answer; None if its body is empty.

        Raises:
            AirflowError: with Airflow's reason, on 4xx; or if the server does not answer.
        """
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(0.2 * 2**attempt, 3))
            try:
                if "Authorization" not in self.http.headers:
                    self._log_in()
                answer = self.http.request(method, f"/api/v2{path}", json=json, params=params)
            except httpx.TransportError as error:
                reason = repr(error)
                continue
            if answer.status_code == 401:
                self.http.headers.pop("Authorization", None)
            elif answer.status_code < 400:
                return answer.json() if answer.content else None
            elif answer.status_code < 500:
                raise AirflowError(f"{method} {path}: {answer.status_code} {_reason(answer)}")
            reason = f"{answer.status_code} {_reason(answer)}"
        raise AirflowError(f"{method} {path}: no answer after {ATTEMPTS} attempts ({reason})")

    def _log_in(self) -> None:
        answer = self.http.post("/auth/token", json={"username": self.user, "password": self.password})
        if answer.status_code >= 500:
            raise httpx.ConnectError(f"/auth/token answered {answer.status_code}")
        if answer.status_code >= 400:
            raise AirflowError(f"Airflow does not accept the password of {self.user!r} ({answer.status_code})")
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    # ---- DAGs

    def dags(self) -> list[str]:
        return [dag["dag_id"] for dag in self._pages("/dags", "dags")]

    def import_errors(self) -> dict[str, str]:
        """DAG file -> traceback."""
        return {e["filename"]: e["stack_trace"] for e in self._pages("/importErrors", "import_errors")}

    def wait_for_dags(self, dag_ids: Sequence[str], timeout: float = 120) -> None:
        """Wait until the DAG processor has read all of these. Import errors may be of others, or of an earlier file.

        Raises:
            AirflowError: naming the DAGs that were not read in time, and the present import errors.
        """
        deadline = time.monotonic() + timeout
        while missing := sorted(set(dag_ids) - set(self.dags())):
            if time.monotonic() > deadline:
                errors = "".join(f"; {file}: {_error_message(trace)}" for file, trace in self.import_errors().items())
                raise AirflowError(
                    f"DAGs {missing} were not read within {timeout:.0f} s{errors}; see dag-processor.log"
                )
            time.sleep(POLL)

    def unpause(self, dag_id: str, paused: bool = False) -> None:
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": paused}, params={"update_mask": "is_paused"})

    def pool(self, name: str, slots: int, description: str = "") -> None:
        """Create the pool if there is none; an existing one stays as it is."""
        if name not in {pool["name"] for pool in self._pages("/pools", "pools")}:
            body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self.request("POST", "/pools", json=body)

    # ---- runs

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None, **fields: Any
    ) -> str:
        """Start a run and return its id; an existing run with this id is left as it is.

        Args:
            fields: further fields of the request, such as `logical_date` or `partition_key`.

        Raises:
            AirflowError: with the reason, if the DAG is unknown or a parameter is not accepted.
        """
        run_id = run_id or f"manual__{uuid.uuid4().hex[:12]}"
        body = {"logical_date": None, **fields, "conf": dict(conf or {}), "dag_run_id": run_id}
        try:
            self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)
        except AirflowError as error:
            if ": 409 " not in str(error):  # our first attempt may have succeeded although it was answered with 500
                raise
        return run_id

    def run(self, dag_id: str, run_id: str) -> Run:
        return self._run(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str, run_type: str | None = None) -> list[Run]:
        """Runs of a DAG, oldest first, without their tasks. `run_type`: manual, scheduled, asset_triggered, ..."""
        pages = self._pages(f"/dags/{dag_id}/dagRuns", "dag_runs", {"order_by": "id"})
        return [self._run(raw, tasks={}) for raw in pages if run_type in (None, raw["run_type"])]

    def wait(
        self, dag_id: str, run_id: str, on_progress: Callable[[States], None] | None = None, timeout: float = 1800
    ) -> Run:
        """Wait until the run has ended, successfully or not.

        Args:
            on_progress: called with every task's state whenever one of them changes.

        Raises:
            AirflowError: if it has not ended in time.
        """
        deadline = time.monotonic() + timeout
        reported: States = {}
        while True:
            run = self.run(dag_id, run_id)
            if on_progress and run.tasks != reported:
                on_progress(run.tasks)
            reported = run.tasks
            if run.state in FINISHED:
                return run
            if time.monotonic() > deadline:
                raise AirflowError(f"{dag_id} {run_id} is still {run.state} after {timeout:.0f} s: {dict(reported)}")
            time.sleep(POLL)

    def retry(self, run: Run) -> None:
        """Clear the failed tasks of a run, so that it continues from them with the present DAG."""
        body = {"dry_run": False, "only_failed": True, "run_on_latest_version": True}
        self.request("POST", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/clear", json=body)

    def triggered_by(self, source: Run, dag_id: str, timeout: float = 60) -> Run:
        """The run of `dag_id` that an asset event of the run `source` started.

        Raises:
            AirflowError: if there is none in time.
        """
        deadline = time.monotonic() + timeout
        query = {"source_dag_id": source.dag_id, "source_run_id": source.run_id}
        while True:
            for event in self._pages("/assets/events", "asset_events", query):
                for child in event["created_dagruns"]:
                    if child["dag_id"] == dag_id:
                        return self.run(dag_id, child["run_id"])
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"no asset event of {source.dag_id} {source.run_id} started {dag_id} in {timeout:.0f} s"
                )
            time.sleep(POLL)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """An XCom of a task."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"deserialize": False, "stringify": False})["value"]

    def log_tail(self, dag_id: str, run_id: str, task_id: str, lines: int = 20) -> str:
        """The last lines of the log of the task's latest try."""
        task = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        attempt = self.request("GET", task)["try_number"] or 1
        content = self.request("GET", f"{task}/logs/{attempt}", params={"full_content": True})["content"]
        return "\n".join([text for entry in content for text in _log_lines(entry)][-lines:])

    def failures(self, run: Run, lines: int = 20) -> dict[str, str]:
        """Failed task -> tail of its log."""
        tasks = [task for task, state in run.tasks.items() if state == "failed"]
        return {task: self.log_tail(run.dag_id, run.run_id, task.partition("[")[0], lines) for task in tasks}

    def _run(self, raw: Mapping[str, Any], tasks: States | None = None) -> Run:
        dag_id, run_id = raw["dag_id"], raw["dag_run_id"]
        if tasks is None:
            instances = self._pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")
            tasks = {_task_name(instance): instance["state"] or "none" for instance in instances}
        return Run(dag_id, run_id, raw["state"], raw["run_type"], raw["conf"] or {}, raw["duration"], tasks)

    def _pages(self, path: str, key: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self.request("GET", path, params={**(params or {}), "limit": 100, "offset": offset})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return


def _task_name(instance: Mapping[str, Any]) -> str:
    index = instance["map_index"]
    return str(instance["task_id"]) if index < 0 else f"{instance['task_id']}[{index}]"


def _reason(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
    return detail if isinstance(detail, str) else json.dumps(detail)[:500]


def _error_message(trace: str) -> str:
    """The message of an error in one line: the text after the frames of its traceback."""
    lines = trace.rstrip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    message = list(
        dropwhile(lambda line: line.startswith("    "), after)
    )  # skips the frame's line of code and its markers
    return " ".join(" ".join(message).split())


def _log_lines(entry: Any) -> list[str]:
    """A structured log entry as lines: its event, and its error with the innermost frame."""
    if isinstance(entry, str):
        return [entry]
    event = entry.get("event")
    lines = [] if event is None else [f"{entry.get('level', 'info'):8} {event}"]
    for error in entry.get("error_detail") or ():
        frame = (error.get("frames") or [{}])[-1]
        lines.append(
            f"{error.get('exc_type')}: {error.get('exc_value')} ({frame.get('filename')}:{frame.get('lineno')})"
        )
    return lines
