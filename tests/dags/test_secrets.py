"""What Airflow's tasks and triggers tell of services that cannot be used: the address, and no password or token."""

from __future__ import annotations

import os
import subprocess
import sys
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
    operator = JudgeOperator(
        task_id="judge", rollout="r", stage="1", params_file={params!r}, poll_seconds=1, deadline_hours=1
    )
    operator.execute({{}})
except BaseException:
    traceback.print_exc()
else:
    sys.exit("it did not fail")
"""
TRIGGERS = """
import asyncio, logging, sys
from datetime import UTC, datetime, timedelta
from rollout import AliasTrigger, PulseTrigger
logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

class Ear(logging.Handler):
    def __init__(self):
        super().__init__()
        self.heard, self.loop = asyncio.Event(), asyncio.get_running_loop()
        logging.getLogger().addHandler(self)

    def emit(self, record):
        if {told!r} in record.getMessage():
            self.loop.call_soon_threadsafe(self.heard.set)

async def look(trigger):
    await anext(trigger.run())

async def both():
    ear = Ear()
    pulse, alias = PulseTrigger({params!r}, "r", "seen", 60, late), AliasTrigger({params!r}, "challenger", 60)
    looks = [asyncio.create_task(look(trigger)) for trigger in (pulse, alias)]
    await asyncio.wait_for(ear.heard.wait(), 60)
    await asyncio.wait(looks, timeout=2)  # the other may have something to say as well

asyncio.run(both())
"""
MLFLOW = {"FLIGHTDECK_MLFLOW_URI": f"http://ann:{CANARY}@{AWAY}", "MLFLOW_TRACKING_TOKEN": CANARY}
RECORDS = {"FLIGHTDECK_RECORDS_URI": f"oracle+nosuch://ann:{CANARY}@{AWAY}/records"}


@pytest.mark.parametrize(
    ("script", "away", "told"),
    [
        (TASK, MLFLOW, "MLflow at http://127.0.0.1:1 "),
        (JUDGE, RECORDS, "FLIGHTDECK_RECORDS_URI is no database URI"),
        (TRIGGERS, MLFLOW, "MLflow at http://127.0.0.1:1 "),
        (TRIGGERS, RECORDS, "FLIGHTDECK_RECORDS_URI is no database URI"),
    ],
)
def test_a_service_that_cannot_be_used_is_named_without_its_secrets(
    script: str, away: dict[str, str], told: str, tmp_path: Path, airflow: None
) -> None:
    environ = {
        **os.environ,
        **away,
        "FLIGHTDECK_HOME": str(tmp_path / "home"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "dags", ROOT / "plugins"))),
    }
    command = [sys.executable, "-c", script.format(params=str(TOY), told=told)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert told in said, said
    assert CANARY not in said
