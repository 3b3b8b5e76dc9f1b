"""Quality month by month: every family trained on the data known before a month, and tested on that month.

    python -m benchmarks.quality [--families NAME ...] [--months 9 10 11 12] [--curve 60 120 240] [--home DIR]

September to December 2013, with the registered steps and the settings of params.yaml; only the test window is set, to
the month. Training sets, models and evaluations stay in DIR, where the year is built if it is not there yet; results
for the same training set and settings are not measured again. With `--curve`, a further table has the
first family trained on the given numbers of last days only. Writes benchmarks/results/quality.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from statistics import fmean
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from benchmarks import year
from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines import chains
from pipelines.artifacts.manifest import Manifest
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.params import Importance
from pipelines.params.training import FAMILIES
from pipelines.steps import execute
from pipelines.usecase import LABEL_KNOWN_AT, PREDICTED_AT
from pipelines.walk import walk

METRICS = ("roc_auc", "log_loss", "calibration_error")
FLOOR = {"roc_auc": 0.735, "log_loss": 0.426}
GOAL = {"roc_auc": 0.74, "log_loss": 0.424}
PARAMS = (*SPLIT, "cleaning", "training", "costs", "evaluation")


@dataclass(frozen=True)
class Run:
    """One family, tested on one month."""

    family: str
    month: date
    rows: int  # that it was trained on
    metrics: Mapping[str, float]
    seconds: float  # CPU time of `train`


def over(context: Context, month: date, train_days: int | None = None) -> Context:
    """The context with a test window of one month."""
    splits = context.params.splits.model_copy(update={"test_days": (following(month) - month).days})
    if train_days:
        splits = splits.model_copy(update={"train_days": train_days})
    untold = Importance(rows=100, repeats=1)
    evaluation = context.params.evaluation.model_copy(update={"importance": untold})
    return replace(context, params=context.params.model_copy(update={"splits": splits, "evaluation": evaluation}))


def following(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def training_set(context: Context, month: date, run: str) -> str:
    """A training set tested on a month; all of it but the test window was known before the month began.

    It is as of the end of the day after the month: by then almost all labels of the month are known.
    """
    zone = ZoneInfo(context.usecase.timezone)
    as_of = datetime.combine(following(month), clock.max, zone).isoformat()
    uri = year.training_set(context, as_of, run)
    require_known_before(context, uri, month)
    return uri


def require_known_before(context: Context, uri: str, month: date) -> None:
    """Check that every label and every instant of prediction, and so every feature, lies before the month.

    Features are joined as of the prediction, by the instant from which they were known.
    """
    began = midnight(month, context.usecase.timezone)
    for name in ("train", "validation"):
        frame = context.data.store.read_table(f"{uri}/{name}.parquet").to_pandas()
        for column in (LABEL_KNOWN_AT, PREDICTED_AT):
            latest = pd.Timestamp(frame[column].max())
            assert latest < began, f"{name}: {column} goes up to {latest}, and the month begins at {began}"
    test = context.data.store.read_table(f"{uri}/test.parquet").to_pandas()
    assert test[PREDICTED_AT].min() >= began - timedelta(hours=1), "the test window begins before the month"


def measured(context: Context, family: str, month: date, uri: str, run: str) -> Run:
    store, params, manifest = context.data.store, context.params, Manifest.read(context.data.store, uri)
    decides = [
        manifest.files,
        params.training.model_dump(include={family, "trials", "calibration", "refit", "seed"}),
    ]
    key = hashlib.sha256(json.dumps([*decides, params.cleaning.model_dump()], default=str).encode()).hexdigest()
    kept = context.data.uri("quality", run, f"{family}.json")
    if store.exists(kept) and (told := store.read_json(kept))["key"] == key:
        return Run(family, month, **told["run"])
    metrics, seconds = fitted(context, family, uri, run)
    count = manifest.rows["train"] + (manifest.rows["validation"] if params.training.refit else 0)
    found = Run(family, month, count, {name: float(metrics[name]) for name in METRICS}, seconds)
    values = {"rows": found.rows, "metrics": dict(found.metrics), "seconds": found.seconds}
    store.write_json(kept, {"key": key, "run": values})
    print(family, month, count, *(f"{name} {value:.4f}" for name, value in found.metrics.items()), flush=True)
    return found


def fitted(context: Context, family: str, uri: str, run: str) -> tuple[Mapping[str, float], float]:
    """The metrics of a family on a training set, and the CPU time of `train`."""
    seconds = {}

    def run_step(step: str, inputs: dict[str, Any]) -> dict[str, Any]:
        began = time.process_time()
        outputs = execute(step, inputs, context)
        seconds[step] = time.process_time() - began
        return outputs

    given = {"families": [family], "run": run, "trials": None, "seed": None}
    known = {"build_training_set": {"training_set_uri": uri}}
    outputs = walk(chains.training, given, run_step, only=("train", "evaluate"), previous=known)
    return outputs["evaluate"][0]["metrics"], seconds["train"]


def mean(runs: Sequence[Run], metric: str) -> float:
    return fmean(run.metrics[metric] for run in runs)


def table(runs: Sequence[Run], months: Sequence[date], metric: str) -> str:
    """Families by row, months by column."""
    lines = [f"| family | {' | '.join(f'{month:%B}' for month in months)} | mean |", "|---" * (len(months) + 2) + "|"]
    for family in dict.fromkeys(run.family for run in runs):
        its = {run.month: run for run in runs if run.family == family}
        values = " | ".join(f"{its[month].metrics[metric]:.4f}" for month in months)
        lines.append(f"| `{family}` | {values} | **{mean(list(its.values()), metric):.4f}** |")
    return "\n".join(lines)


def curve_table(curve: Mapping[int, Sequence[Run]]) -> str:
    lines = ["| days | rows, on average | ROC AUC | log loss | calibration error |", "|---|---|---|---|---|"]
    for days, runs in curve.items():
        means = " | ".join(f"{mean(runs, metric):.4f}" for metric in METRICS)
        lines.append(f"| {days} | {fmean(run.rows for run in runs):,.0f} | {means} |")
    return "\n".join(lines)


def report(context: Context, runs: Sequence[Run], months: Sequence[date], curve: str, command: str) -> str:
    best = min(
        dict.fromkeys(run.family for run in runs), key=lambda f: mean([r for r in runs if r.family == f], "log_loss")
    )
    its = [run for run in runs if run.family == best]
    reached = {
        name: all((mean(its, m) >= bar) if m == "roc_auc" else (mean(its, m) <= bar) for m, bar in bars.items())
        for name, bars in (("floor", FLOOR), ("goal", GOAL))
    }
    said = ", ".join(f"{name} {'reached' if met else 'missed'}" for name, met in reached.items())
    params = context.params
    settings = {
        "features": params.features.service,
        "splits": params.splits.model_dump(exclude={"test_days"}),
        "refit": params.training.refit,
        "calibration": params.training.calibration,
        best: getattr(params.training, best).model_dump(exclude={"search"}),
    }
    seconds = ", ".join(
        f"`{family}` {fmean(run.seconds for run in runs if run.family == family):.0f}"
        for family in dict.fromkeys(run.family for run in runs)
    )
    bars = [f"{bar['roc_auc']} and {bar['log_loss']}" for bar in (FLOOR, GOAL)]
    parts = [
        "# Quality month by month",
        "Each model was trained on what was known before the month began, with the embargo, and tested on all\n"
        "flights of the month whose label is known on the day after it. Predicted one hour before departure.",
        f"Floor of mean ROC AUC and mean log loss: {bars[0]}. Goal: {bars[1]}.\n"
        f"Best by log loss: `{best}`, {mean(its, 'roc_auc'):.4f} and {mean(its, 'log_loss'):.4f}: {said}.",
        *("## ROC AUC", table(runs, months, "roc_auc")),
        *("## Log loss", table(runs, months, "log_loss")),
        *("## Expected calibration error", table(runs, months, "calibration_error")),
        *(
            (f"## Learning curve of `{runs[0].family}`", "The last so many days before validation.", curve)
            if curve
            else ()
        ),
        "## Settings of the best",
        f"```json\n{json.dumps(settings, indent=1)}\n```",
        f"CPU seconds of `train`, on average: {seconds}.",
        f"`{command}`, {machine('scikit-learn', 'torch')}.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--months", nargs="+", type=int, default=[9, 10, 11, 12])
    parser.add_argument("--curve", nargs="+", type=int, default=[], metavar="DAYS")
    parser.add_argument("--home", type=Path, help="folder to work in; a temporary one by default")
    parser.add_argument("--out", type=Path, default=RESULTS / "quality.md")
    asked = parser.parse_args()
    context = build_context(home=asked.home or tempfile.mkdtemp(prefix="quality-"))
    year.prepare(context)
    months = [date(2013, month, 1) for month in asked.months]

    def measure_months(family: str, train_days: int | None = None) -> list[Run]:
        runs = []
        for month in months:
            name = f"quality-{month:%Y-%m}" + (f"-{train_days}" if train_days else "")
            at = over(context, month, train_days)
            uri = sets.get(name) or training_set(at, month, name)
            sets[name] = uri
            runs.append(measured(at, family, month, uri, name))
        return runs

    sets: dict[str, str] = {}
    runs: list[Run] = []
    curve: dict[int, list[Run]] = {}
    for family in asked.families:
        runs += measure_months(family)
        save_so_far(context, runs, months, curve, asked.out)
    for days in asked.curve:
        curve[days] = measure_months(asked.families[0], days)
        save_so_far(context, runs, months, curve, asked.out)


def save_so_far(
    context: Context, runs: Sequence[Run], months: Sequence[date], curve: Mapping[int, Sequence[Run]], out: Path
) -> None:
    """Write the results measured so far."""
    families = dict.fromkeys(run.family for run in runs)
    command = f"python -m benchmarks.quality --families {' '.join(families)}"
    command += f" --curve {' '.join(map(str, curve))}" if curve else ""
    ground = Ground("benchmarks.quality", PARAMS, FLIGHTS, (context.params.features.service,))
    save(out, report(context, runs, months, curve_table(curve) if curve else "", command), ground)


if __name__ == "__main__":
    main()
