"""What Airflow's tasks and triggers print about unusable services: the address, and no password or token."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOY

CANARY = "notforlogs"
AWAY = "127.0.0.1:1"
TASK = """
import sys, traceback
import bridge
try:
    bridge.run("resolve_model", {{}}, {params!r})
except BaseException:
    traceback.print_exc()
else:
    sys.exit("it did not fail")
"""
JUDGE = """
import sys, traceback
from rollout import JudgeOperator
try:
    operator = JudgeOperator(task_id="judge", rollout="r", stage="1", params_file={params!r})
    operator.execute({{}})
except BaseException:
    traceback.print_exc()
else:
    sys.exit("it did not fail")
"""
TRIGGERS = """
import asyncio, logging, sys
from datetime import UTC, datetime
from rollout import AliasTrigger, JudgeTrigger
logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)

async def look(trigger):
    try:
        await asyncio.wait_for(anext(trigger.run()), 100)
    except TimeoutError:
        pass

async def both():
    judge = JudgeTrigger({params!r}, "r", "1", "seen", datetime.now(UTC).isoformat())
    alias = AliasTrigger({params!r}, "challenger", 60)
    await asyncio.gather(look(judge), look(alias))

asyncio.run(both())
"""
MLFLOW = {"FLIGHTDECK_MLFLOW_URI": f"http://ann:{CANARY}@{AWAY}", "MLFLOW_TRACKING_TOKEN": CANARY}
RECORDS = {"FLIGHTDECK_RECORDS_URI": f"oracle+nosuch://ann:{CANARY}@{AWAY}/records"}


THEN = "--- and the triggers:"


@pytest.mark.parametrize(
    ("task", "away", "address"),
    [
        (TASK, MLFLOW, "MLflow at http://127.0.0.1:1 "),
        (JUDGE, RECORDS, "FLIGHTDECK_RECORDS_URI is not a database URI"),
    ],
)
def test_a_service_that_cannot_be_used_is_named_without_its_secrets(
    task: str, away: dict[str, str], address: str, tmp_path: Path, airflow: None
) -> None:
    """By a task, and then by triggers, in one process: importing Airflow takes the longest."""
    script = f"{task}print({THEN!r}, file=sys.stderr, flush=True)\n{TRIGGERS}"
    environ = {
        **os.environ,
        **away,
        "FLIGHTDECK_HOME": str(tmp_path / "home"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "dags", ROOT / "plugins"))),
    }
    command = [sys.executable, "-c", script.format(params=str(TOY))]
    log = tmp_path / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(command, env=environ, stdout=sink, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 110
    while process.poll() is None and time.monotonic() < deadline and address not in log.read_text().partition(THEN)[2]:
        time.sleep(0.2)
    time.sleep(1)  # triggers retry until they are stopped
    process.kill()
    process.wait(60)
    output = log.read_text()
    by_task, then, by_triggers = output.partition(THEN)
    assert then and address in by_task and address in by_triggers, output
    assert CANARY not in output
