"""One small window through the command line and through Airflow writes the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.context import build_context
from tests.conftest import TOY, tree_hashes
from tests.services import thorough

START, END = date(2024, 3, 1), date(2024, 4, 20)
WATCHED = START + timedelta(50)
AS_OF = "2024-04-19T22:00:00+00:00"  # midnight of the 20th in Berlin
ZONES = (
    "raw",
    "validated",
    "quarantine",
    "features",
    "reports",
    "training_sets",
    "models",
    "evaluations",
    "predictions",
)


def written(home: Path) -> dict[str, str]:
    return {
        path: digest for path, digest in tree_hashes(home / "data" / "pumps").items() if path.split("/")[0] in ZONES
    }


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(step: str, **inputs: Any) -> dict[str, Any]:
        flags = []
        for name, value in inputs.items():
            flags += [
                f"--{name.replace('_', '-')}",
                "null" if value is None else value if isinstance(value, str) else json.dumps(value),
            ]
        out = tmp_path / "outputs.json"
        assert main([step, "--params", str(TOY), "--home", str(tmp_path / "home"), "--out", str(out), *flags]) == 0
        return dict(json.loads(out.read_text()))

    return call


@thorough
def test_airflow_and_the_command_line_write_the_same_bytes(
    load: Callable[..., Any],
    cli: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    dags = load(TOY, home=home).dags
    for dag, conf in (
        ("pumps_data", {"start": str(START), "end": str(END)}),
        ("pumps_training", {"as_of": str(END), "trials": 2}),
        ("pumps_data", {"start": str(END), "end": str(END + timedelta(8))}),
        ("pumps_monitoring", {"start": str(WATCHED), "end": str(WATCHED + timedelta(8)), "request_retraining": "no"}),
    ):
        assert dags[dag].test(run_conf=conf).state == "success", (dag, conf)
    by_airflow = written(home)
    context = build_context(TOY, home)
    decided = {row["id"]: row["verdict"] for row in context.decisions.all()}
    (run,) = context.data.store.names(context.data.uri("training_sets"))
    (watch,) = context.data.store.names(context.data.uri("predictions"))
    taken = context.snapshots.taken()
    assert [(one.start, one.end) for one in taken] == [(START, END), (None, None), (END, END + timedelta(8))]
    assert taken[1].run == run and all(one.run for one in taken)
    shutil.rmtree(home)  # the same place again, since documents name their neighbours by path
    monkeypatch.setenv("FLIGHTDECK_MLFLOW_URI", f"sqlite:///{tmp_path / 'again.db'}")  # MLflow keeps the other open

    by_command_line(cli, run, watch)

    assert written(home) == by_airflow
    assert len(by_airflow) > 150
    assert {row["id"]: row["verdict"] for row in build_context(TOY, home).decisions.all()} == decided


def by_command_line(cli: Callable[..., dict[str, Any]], run: str, watch: str) -> None:
    """The steps of the four runs, one after the other.

    Args:
        run: of the training DAG.
        watch: the run of the monitoring DAG.
    """
    data(cli, START, END)
    version = cli("snapshot")["data_version"]
    training_set = cli("build_training_set", as_of=AS_OF, data_version=version, run=run)
    shared = {"training_set_uri": training_set["training_set_uri"], "run": run}
    uris = []
    for family in ("hist_gradient_boosting", "mlp"):
        model = cli("train", family=family, trials="2", seed="1", **shared)
        uris.append(cli("evaluate", model_uri=model["model_uri"], **shared)["evaluation_uri"])
    logged = cli("log_candidates", evaluation_uris=uris)
    gated = cli("gate", evaluation_uris=uris, champion_uri=None, as_of=AS_OF, run=run)
    chosen = {key: gated[key] for key in ("verdict", "decision_id", "model_uri", "evaluation_uri")}
    cli("register", **chosen, training_set_uri=training_set["training_set_uri"], runs=logged["runs"])

    data(cli, END, END + timedelta(8))
    champion = cli("resolve_model", alias="champion")
    as_of = "2024-04-28T22:00:00+00:00"  # a day of labels later
    window = {"start": str(WATCHED), "end": str(WATCHED + timedelta(8)), "as_of": as_of}
    named = {"run": watch, "model_version": champion["version"], "model_sha256": champion["sha256"]}
    scored = cli("score", **window, **named, model_uri=champion["model_uri"])
    joined = cli("join_outcomes", **window, run=watch, predictions_uri=scored["predictions_uri"])
    report = {"evaluation_uri": champion["evaluation_uri"], "outcomes_uri": joined["outcomes_uri"]}
    reported = cli("report_drift", **window, **named, **report)
    decision = {"summary_uri": reported["summary_uri"], "model_version": champion["version"]}
    cli("decide_retraining", **window, **decision)


def data(cli: Callable[..., dict[str, Any]], start: date, end: date) -> None:
    window = {"start": str(start), "end": str(end)}
    for step in ("ingest", "snapshot", "validate", "build_features", "check_features", "apply_features"):
        cli(step, **(window if step != "apply_features" else {}))
    as_of = cli("materialize", as_of=f"{end - timedelta(1)}T22:00:00+00:00")["as_of"]
    cli("check_parity", as_of=as_of)
