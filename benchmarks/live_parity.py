"""Live scores of a replay against scores from point-in-time features for the same requests.

    make demo && make stop
    python -m benchmarks.live_parity [--home var] [--work DIR]

Reads the prediction log of HOME, builds all features of the source in DIR (kept; a temporary folder by default),
scores every logged day with every version that scored it, and writes benchmarks/results/live_parity.md.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from benchmarks.year import prepare
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.steps import execute
from pipelines.usecase import EXAMPLE_ID

PARAMS = (*SPLIT, "cleaning", "training", "costs", "evaluation", "behaviour", "gate", "monitoring", "rollout")
LIVE = (
    "pipelines.serving.app",
    "pipelines.serving.protocol",
    "pipelines.replay.__main__",
    "pipelines.training.train",
    "pipelines.features.push",
)
DAYS = timedelta(days=31)


def live(deck: Context) -> pd.DataFrame:
    """Every score in the log: prediction_id, day, version, score."""
    rows = [
        (one.prediction_id, date.fromisoformat(one.block), version, score)  # the flights' blocks are their days
        for one in deck.predictions.all()
        for version, score in one.scores.items()
    ]
    return pd.DataFrame(rows, columns=[EXAMPLE_ID, "day", "version", "score"]).dropna()


def point_in_time(context: Context, version: str, model: dict[str, str], days: pd.Series) -> pd.Series:
    """Scores of every example of these days and the one after, by id, a month at a time."""
    usecase, start = context.usecase, days.min()
    last = min(days.max() + timedelta(days=2), usecase.end)
    as_of = midnight(usecase.end + timedelta(days=7), usecase.timezone).isoformat()
    parts = []
    while start < last:
        end = min(start + DAYS, last)
        inputs: dict[str, Any] = {"start": str(start), "end": str(end), "as_of": as_of, "run": f"v{version}-{start}"}
        made = execute("score", {**inputs, **model, "model_version": version}, context)
        parts.append(context.data.store.read_table(made["predictions_uri"]).to_pandas())
        start = end
    scores: pd.Series = pd.concat(parts).set_index(EXAMPLE_ID)["score"]
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", default="var")
    parser.add_argument("--work", default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        deck, own = build_context(home=asked.home), build_context(home=Path(asked.work or temporary).absolute())
        prepare(own)
        plan = deck.plans.current()
        assert plan is not None, "nothing was live: run the demo first"
        seen, lines = live(deck), []
        ledger = {entry.version: entry for entry in deck.ledger.entries()}
        for version, rows in seen.groupby("version"):
            model = model_of(deck, str(version), [entry.key.split(":")[0] for entry in ledger.values()])
            scores = point_in_time(own, str(version), model, rows["day"])
            apart = (rows["score"] - rows[EXAMPLE_ID].map(scores)).abs()
            days = f"{rows['day'].min()} to {rows['day'].max()}"
            lines.append(f"| {version} | {days} | {len(rows):,} | {int(apart.isna().sum())} | {apart.max():.2g} |")
    text = "\n".join(
        [
            "# Live scores against point-in-time scores",
            f"\n`python -m benchmarks.live_parity` after `make demo`. Machine: {machine('feast', 'onnxruntime')}.\n",
            "| version | days | live scores | without a counterpart | largest difference |",
            "|---|---|---|---|---|",
            *lines,
        ]
    )
    ground = Ground("benchmarks.live_parity", PARAMS, FLIGHTS, (own.params.features.service,), LIVE)
    save(RESULTS / "live_parity.md", text, ground)


def model_of(deck: Context, version: str, rollouts: list[str]) -> dict[str, str]:
    """The folder and the sha256 of a version's model, as the plans name them."""
    for name in rollouts:
        for plan in deck.plans.of(name):
            if version == plan.champion:
                return {"model_uri": plan.champion_uri, "model_sha256": plan.champion_sha256}
            if version == plan.challenger:
                return {"model_uri": str(plan.challenger_uri), "model_sha256": str(plan.challenger_sha256)}
    raise LookupError(f"no plan names version {version}")


if __name__ == "__main__":
    main()
