"""Rollouts on real servers, after the story: a label-shuffled challenger among kills, an abort, a champion by hand."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from infra.airflow_client import AirflowClient, Run
from infra.deck import REPO, Deck, environment
from infra.processes import Session, members
from infra.supervisor import read_state
from pipelines.artifacts.manifest import Manifest
from pipelines.context import Context
from pipelines.records import DecisionKind
from pipelines.registration.evaluation import read_evaluated_model
from pipelines.registration.lineage import data_tags
from pipelines.usecase import LABEL
from tests.conftest import run_candidates
from tests.e2e.conftest import module
from tests.predictions import read_log

pytestmark = pytest.mark.e2e
TASK = re.compile(r"^airflow worker -- [0-9a-f-]{36}$")


def shuffled_version(context: Context, training_set_uri: str) -> str:
    """A version trained on permuted labels and registered without the gate; the alias is set as a person would."""
    store, uri = context.data.store, context.data.uri("training_sets", "shuffled")
    manifest, draw, hashes = Manifest.read(store, training_set_uri), np.random.default_rng(7), {}
    for name in ("train", "validation", "test"):
        frame = store.read_table(f"{training_set_uri}/{name}.parquet").to_pandas()
        if name != "test":
            frame[LABEL] = draw.permutation(frame[LABEL])
        table = pa.Table.from_pandas(frame, preserve_index=False)
        hashes[name] = store.write_table(f"{uri}/{name}.parquet", table)
    manifest.model_copy(update={"sha256": {**manifest.files, **hashes}}).write(store, uri)
    outputs = run_candidates(context, uri, "shuffled", "hist_gradient_boosting")
    evaluated = read_evaluated_model(store, outputs["evaluate"][0]["evaluation_uri"])
    tags = data_tags(evaluated.uri, evaluated.evaluation, evaluated.model)
    registered = context.models.register(outputs["log_candidates"]["runs"]["hist_gradient_boosting"], tags)
    return context.models.nominate(registered.version).version


def until(what: str, poll: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := poll()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.2)
    return value


def in_force(context: Context, version: str) -> str:
    """The name of this version's rollout, once it is in shadow."""

    def named() -> str | None:
        plan = context.plans.current()
        return plan.rollout if plan is not None and plan.challenger == version else None

    return str(until(f"a rollout of version {version}", named))


def ended(airflow: AirflowClient) -> Run:
    newest = airflow.runs("flights_deployment")[-1]
    return airflow.wait("flights_deployment", newest.run_id, timeout=600)


class Replayed:
    """The replayer as a process of its own, whose clock only moves forward."""

    def __init__(self, deck: Deck, context: Context, env: dict[str, str], days: int, log: Path) -> None:
        start = context.clock.now().date()
        window = ("--start", str(start), "--end", str(start + timedelta(days)))
        self.command = [sys.executable, "-m", "pipelines.replay", *window, "--server", deck.serving_url]
        self.command += ["--every", "30", "--while-rollout"]
        self.env, self.log = environment(deck, env), log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=REPO, env=self.env, stdout=log, stderr=log)

    def over(self) -> bool:
        return self.process.poll() not in (None, -signal.SIGKILL)


def kills(deck: Deck, replayed: Replayed, over: Event, done: dict[str, int]) -> None:
    """Kill tasks of the rollout, the model server and the replayer at random moments, until it is over."""
    draw = random.Random(2013)
    while not over.wait(draw.uniform(0, 0.2)):
        scheduler = Session(**read_state(deck)["parts"]["scheduler"]["session"])
        tasks = [pid for pid in members([scheduler]) if TASK.match(command(pid))]
        if tasks and done["task"] < 3 and draw.random() < 0.3:
            done["task"] += _killed(tasks[0])
        if done["task"] == 1 and not done["server"]:
            done["server"] += _killed(read_state(deck)["parts"]["serving"]["session"]["leader"])
        if done["task"] == 2 and not done["replayer"]:
            done["replayer"] += _killed(replayed.process.pid)
            replayed.process.wait()
            replayed.start()


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip().decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _killed(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def test_a_label_shuffled_challenger_is_rolled_back_despite_kills(
    story: str, deck: Deck, airflow: AirflowClient, context: Context, env: dict[str, str], tmp_path: Path
) -> None:
    before = context.plans.current()
    assert before is not None and before.challenger is None
    (newest,) = [version for version in context.models.versions() if version.version == before.champion]
    training_set = read_evaluated_model(context.data.store, newest.evaluation_uri).evaluation.training_set_uri
    version = shuffled_version(context, training_set)
    name, began = in_force(context, version), context.clock.now()

    replayed = Replayed(deck, context, env, 26, tmp_path / "replay.log")
    over, done = Event(), {"task": 0, "server": 0, "replayer": 0}
    killer = Thread(target=kills, args=(deck, replayed, over, done))
    killer.start()
    try:
        until("the end of the replay", replayed.over, 1200)
    finally:
        over.set()
        killer.join()
        replayed.process.kill()
    assert replayed.process.returncode == 0, replayed.log.read_text()[-2000:]
    assert done["task"] >= 2 and done["server"] and done["replayer"], done

    run, (rollout,) = ended(airflow), [one for one in context.rollouts.all() if one.name == name]
    assert run.ok, airflow.failures(run)
    assert rollout.ending is not None and rollout.ending.action == "rollback", rollout.ending
    after = context.plans.current()
    assert after is not None and (after.champion, after.challenger) == (before.champion, None)
    assert context.models.aliases()["champion"] == before.champion
    assert context.models.resolve(version=version).tags["rollout.verdict"] == "rollback"  # type: ignore[union-attr]

    every = context.decisions.all(DecisionKind.ROLLOUT)
    looks = [look for look in every if look["evidence"]["subject"]["rollout"] == name]
    told_at: dict[tuple[str, str], set[str]] = {}
    for look in looks:
        told_at.setdefault((look["as_of"], look["evidence"]["pulse"]), set()).add(look["verdict"])
    assert all(len(verdicts) == 1 for verdicts in told_at.values()), (
        "a repeated look after a kill gives the same answer"
    )
    assert looks[-1]["verdict"] == "ROLLBACK" and looks[-1]["id"] == rollout.ending.decision_id

    plans = [plan.version for plan in context.plans.of(name)]
    log = read_log(context.predictions)
    answered = {row.prediction_id for row in log if row.plan in plans}
    flights = {
        flight for flight, at in expected_predictions(context, began) if at < context.clock.now() - timedelta(hours=1)
    }
    assert flights and flights <= answered, "every request of those days is in the log, once"


def expected_predictions(context: Context, since: Any) -> list[tuple[str, Any]]:
    """(id, instant) of every prediction that the replay requested from an instant until now."""
    from pipelines.replay.world import read_world
    from pipelines.usecase import EXAMPLE_ID, PREDICTED_AT

    window = context.window(since.date(), context.clock.now().date() + timedelta(1))
    examples = read_world(context, window).examples
    examples = examples[(examples[PREDICTED_AT] >= since) & (examples[PREDICTED_AT] <= context.clock.now())]
    return list(zip(examples[EXAMPLE_ID], examples[PREDICTED_AT], strict=True))


def test_an_earlier_version_set_as_challenger_by_hand_can_be_aborted_from_the_command_line(
    story: str, deck: Deck, airflow: AirflowClient, context: Context, env: dict[str, str]
) -> None:
    champion = context.models.aliases()["champion"]
    earlier = next(one.version for one in context.models.versions() if one.version != champion)
    context.tracker.client.set_registered_model_alias("flights", "challenger", earlier)
    name = in_force(context, earlier)
    aborted = module("pipelines", "rollout", "abort", "--reason", "a drill", env=environment(deck, env))
    assert aborted.returncode == 0 and name in aborted.stdout, aborted.stderr
    assert ended(airflow).ok
    last = context.ledger.entries()[-1]
    assert (last.action, last.version, last.reason) == ("abort", earlier, "a drill")
    plan = context.plans.current()
    assert plan is not None and (plan.champion, plan.challenger) == (champion, None)


def test_marking_a_run_failed_returns_the_traffic_to_the_champion(
    story: str, airflow: AirflowClient, context: Context
) -> None:
    champion = context.models.aliases()["champion"]
    earlier = next(one.version for one in context.models.versions() if one.version != champion)
    context.tracker.client.set_registered_model_alias("flights", "challenger", earlier)
    name = in_force(context, earlier)
    run = airflow.runs("flights_deployment")[-1]
    airflow.request("PATCH", f"/dags/{run.dag_id}/dagRuns/{run.run_id}", json={"state": "failed"})
    until("the end of the rollout", lambda: (plan := context.plans.current()) and plan.challenger is None)
    last = context.ledger.entries()[-1]
    assert (last.action, last.version) == ("rollback", earlier) and name in last.key


def test_a_champion_set_by_hand_is_honoured_and_recorded(story: str, airflow: AirflowClient, context: Context) -> None:
    champion = context.models.aliases()["champion"]
    earlier = next(one.version for one in context.models.versions() if one.version != champion)
    for version in (earlier, champion):
        context.tracker.client.set_registered_model_alias("flights", "champion", version)

        def forced(version: str = version) -> bool:
            last = context.ledger.entries()[-1]
            return (last.action, last.version, last.actor) == ("forced_promotion", version, "out-of-band")

        until(f"a forced promotion of {version}", forced)
        plan = context.plans.current()
        assert plan is not None and (plan.champion, plan.challenger) == (version, None)
