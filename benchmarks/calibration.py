"""What calibration and the choice of a threshold bring on the test window, by family.

    python -m benchmarks.calibration TRAINING_SET_URI [FAMILY ...]

Each family is fitted once with the settings of params.yaml; every calibration is fitted on the validation window. Costs
are those of params.yaml, at one half, at the threshold that would be right for true probabilities, and at the one that
costs least on validation. Writes benchmarks/results/calibration.md.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from pipelines.artifacts.manifest import Manifest
from pipelines.context import build_context
from pipelines.metrics.costs import best_threshold, measure_cost
from pipelines.metrics.scores import Sample, intervals
from pipelines.training.calibration import fit_calibration
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.families import load_family
from pipelines.training.frames import numeric_inputs, read_frame
from pipelines.training.tuning import Frames, Task
from pipelines.usecase import DAY, LABEL

RESULT = Path(__file__).parent / "results" / "calibration.md"
HEAD = (
    "| family | calibration | ROC AUC | log loss | Brier | calibration error | cost at 0.5 | at the right one | at the "
    "chosen one | chosen |\n|---|---|---|---|---|---|---|---|---|---|"
)


def rows_of(family: str, uri: str) -> list[str]:
    context = build_context()
    params, store = context.params, context.data.store
    manifest = Manifest.read(store, uri)
    inputs = manifest.model_inputs.inputs
    train, validation, test = (read_frame(store, uri, name, manifest) for name in ("train", "validation", "test"))
    cleaning = fit_cleaning(numeric_inputs(train, inputs), inputs.numeric, family, params.cleaning)
    seed, costs = params.training.seed, params.costs
    frames = Frames(train, validation)  # without auxiliary labels, which mmoe needs
    task = Task(load_family(family), family, inputs, frames, params.cleaning, cleaning, seed)
    fitted = task.fit(getattr(params.training, family))
    held, tested = fitted.log_odds(validation), fitted.log_odds(test)
    right = costs.false_alarm / (costs.false_alarm + costs.miss - costs.true_alarm)
    rows = []
    for asked in ("none", "platt", "isotonic", "auto"):
        calibration, facts = fit_calibration(asked, held, validation[LABEL], validation[DAY])
        scores = calibration.apply(tested)
        days = test[DAY].astype(str)
        sample = Sample.of(test[LABEL], scores, days, params.evaluation.calibration_bins)
        found = sample.measure()
        ends = intervals(sample.resample(params.evaluation.bootstrap, seed), sample.blocks)["log_loss"]
        chosen = best_threshold(validation[LABEL], calibration.apply(held), costs)
        paid = [
            measure_cost(test[LABEL], scores, days, at, costs, params.evaluation.bootstrap, seed)[0]
            for at in (0.5, right, chosen)
        ]
        named = asked if asked != "auto" else f"auto: {facts['method']}"
        losses = f"{found['log_loss']:.4f} ({ends[0]:.3f} to {ends[1]:.3f})"
        rows.append(
            f"| {family} | {named} | {found['roc_auc']:.4f} | {losses} | {found['brier']:.4f} "
            f"| {found['calibration_error']:.4f} | {paid[0]:.4f} | {paid[1]:.4f} | {paid[2]:.4f} | {chosen:.3f} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    uri, families = sys.argv[1], sys.argv[2:] or ["hist_gradient_boosting", "logistic_regression", "mlp"]
    rows = [row for family in families for row in rows_of(family, uri)]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    told = (__doc__ or "").strip().split("\n")[0]
    windows = Manifest.read(build_context().data.store, uri).windows
    about = ", ".join(f"{name} {start} to {end}" for name, (start, end) in windows.items())
    RESULT.write_text(
        f"# Calibration and threshold\n\n{told}\n{about}. {machine}.\n\n{HEAD}\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    main()
