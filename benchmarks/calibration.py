"""The gain from calibration and from the choice of a threshold on the test window, by family.

    python -m benchmarks.calibration [--families NAME ...] [--home DIR]

One training set of the flights, as of 2013-09-01. Each family is fitted once with the settings of params.yaml; every
calibration is fitted on the validation window. Costs are those of params.yaml, at 0.5, at the threshold that would
be right for true probabilities, and at the one that costs least on validation. Writes
benchmarks/results/calibration.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import year
from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.artifacts.manifest import Manifest
from pipelines.blocks import blocks_of
from pipelines.context import Context, build_context
from pipelines.metrics.costs import best_threshold, mean_cost, row_costs
from pipelines.metrics.scores import Sample, intervals
from pipelines.training.calibration import fit_calibration
from pipelines.training.cleaning import fit_cleaning
from pipelines.training.families import load_family
from pipelines.training.frames import numeric_inputs, read_frame
from pipelines.training.tasks import Frames, Task
from pipelines.usecase import DAY, LABEL

AS_OF = "2013-09-01T04:00:00Z"
PARAMS = (*SPLIT, "cleaning", "training", "costs", "evaluation")
HEAD = (
    "| family | calibration | ROC AUC | log loss | Brier | calibration error | cost at 0.5 | at the right one | at the "
    "chosen one | chosen |\n|---|---|---|---|---|---|---|---|---|---|"
)


def rows_of(context: Context, family: str, uri: str) -> list[str]:
    params, store = context.params, context.data.store
    manifest = Manifest.read(store, uri)
    inputs = manifest.model_inputs.inputs
    train, validation, test = (read_frame(store, uri, name, manifest) for name in ("train", "validation", "test"))
    cleaning = fit_cleaning(numeric_inputs(train, inputs), inputs.numeric, family, params.cleaning)
    seed, costs = params.training.seed, params.costs
    frames = Frames(train, validation)  # without the auxiliary labels that mmoe needs
    fitted = load_family(family).fit(Task(frames, inputs, cleaning, seed), params.training.settings_of(family))
    held, tested = fitted.log_odds(validation), fitted.log_odds(test)
    right = costs.false_alarm / (costs.false_alarm + costs.miss - costs.true_alarm)
    rows = []
    for asked in ("none", "platt", "isotonic", "auto"):
        calibration, facts = fit_calibration(asked, held, validation[LABEL], validation[DAY])
        scores = calibration.apply(tested)
        blocks = blocks_of(test)
        sample = Sample.of(test[LABEL], scores, blocks, params.evaluation.calibration_bins)
        found = sample.measure()
        ends = intervals(sample.resample(params.evaluation.bootstrap, seed), sample.blocks)["log_loss"]
        chosen = best_threshold(validation[LABEL], calibration.apply(held), costs)
        paid = [
            mean_cost(row_costs(test[LABEL], scores, at, costs), blocks, params.evaluation.bootstrap, seed)[0]
            for at in (0.5, right, chosen)
        ]
        named = asked if asked != "auto" else f"auto: {facts.method}"
        losses = f"{found['log_loss']:.4f} ({ends[0]:.3f} to {ends[1]:.3f})"
        rows.append(
            f"| {family} | {named} | {found['roc_auc']:.4f} | {losses} | {found['brier']:.4f} "
            f"| {found['calibration_error']:.4f} | {paid[0]:.4f} | {paid[1]:.4f} | {paid[2]:.4f} | {chosen:.3f} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["hist_gradient_boosting", "logistic_regression"])
    parser.add_argument("--home", type=Path, help="folder to work in; a temporary one by default")
    arguments = parser.parse_args()
    context = build_context(home=arguments.home or tempfile.mkdtemp(prefix="calibration-"))
    year.prepare(context)
    uri = year.training_set(context, AS_OF, "calibration")
    rows = [row for family in arguments.families for row in rows_of(context, family, uri)]
    windows = Manifest.read(context.data.store, uri).windows
    spans = ", ".join(f"{name} {start} to {end}" for name, (start, end) in windows.items())
    service = context.params.features.service
    text = [
        "# Calibration and threshold",
        f"What calibration and the choice of a threshold bring on the test window, by family.\n{spans}; {service}.",
        "\n".join([HEAD, *rows]),
        f"`python -m benchmarks.calibration --families {' '.join(arguments.families)}`, on "
        f"{machine('scikit-learn', 'torch')}.",
    ]
    ground = Ground("benchmarks.calibration", PARAMS, FLIGHTS, (service,))
    save(RESULTS / "calibration.md", "\n\n".join(text), ground)


if __name__ == "__main__":
    main()
