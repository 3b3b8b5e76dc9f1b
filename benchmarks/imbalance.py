"""Effects of class weights, the focal loss and resampling on ranking and on calibration, by family.

    python -m benchmarks.imbalance [--families NAME ...] [--rows N] [--home DIR]

One training set of the flights, as of 2013-09-01, and the settings of params.yaml. Only rows of the training window are
resampled, after its cleaning was fitted; validation and test stay as they are. Calibration is fitted on validation by
the rule of `auto`. Needs the extra `bench` (imbalanced-learn). Writes benchmarks/results/imbalance.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import year
from benchmarks.ground import FLIGHTS, SPLIT, Ground
from benchmarks.report import RESULTS, machine, save
from pipelines.artifacts.manifest import Manifest
from pipelines.context import Context, build_context
from pipelines.metrics.scores import measure
from pipelines.training.calibration import Uncalibrated, fit_calibration
from pipelines.training.cleaning import Cleaning, fit_cleaning
from pipelines.training.families import load_family
from pipelines.training.frames import numeric_inputs, read_frame
from pipelines.training.tasks import Frames, Task
from pipelines.usecase import DAY, LABEL, ModelInputs

PARAMS = (*SPLIT, "cleaning", "training")
AS_OF = "2013-09-01T04:00:00Z"
MISSING = "(missing)"
HEAD = (
    "| family | treatment | rows | of label 1 | ROC AUC | PR AUC | log loss, raw | calibrated | calibration error, raw "
    "| calibrated | chosen |\n" + "|---" * 11 + "|"
)

Resampled = Callable[[pd.DataFrame, ModelInputs, Cleaning, int], pd.DataFrame]


def as_they_are(train: pd.DataFrame, inputs: ModelInputs, cleaning: Cleaning, seed: int) -> pd.DataFrame:
    return train


def undersampled(train: pd.DataFrame, inputs: ModelInputs, cleaning: Cleaning, seed: int) -> pd.DataFrame:
    """As many rows of label 0, drawn at random, as there are of label 1."""
    from imblearn.under_sampling import RandomUnderSampler

    sampler = RandomUnderSampler(random_state=seed)
    sampler.fit_resample(np.zeros((len(train), 1)), train[LABEL])
    return train.iloc[np.sort(sampler.sample_indices_)].reset_index(drop=True)


def smote(train: pd.DataFrame, inputs: ModelInputs, cleaning: Cleaning, seed: int) -> pd.DataFrame:
    """As many rows of label 1 as of label 0; the added rows lie between neighbours (SMOTE-NC, Chawla 2002).

    Neighbours are searched among capped and standardised numbers, gaps filled by the mean. Strings, and the places of
    gaps, are those of most neighbours: synthetic rows without gaps would show the model that a gap means label 0.
    """
    from imblearn.over_sampling import SMOTENC

    numbers = cleaning.capped(numeric_inputs(train, inputs)).astype(np.float64)
    mean, deviation = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
    deviation[deviation == 0] = 1.0
    filled, gaps = np.nan_to_num((numbers - mean) / deviation), np.isnan(numbers)
    gapped = np.flatnonzero(gaps.any(axis=0) & ~gaps.all(axis=0))
    strings = train[list(inputs.categorical)].fillna(MISSING)
    codes = {name: pd.factorize(strings[name]) for name in strings}
    matrix = np.column_stack([filled, gaps[:, gapped], *(code for code, _ in codes.values())])
    width, first = filled.shape[1], filled.shape[1] + len(gapped)
    sampler = SMOTENC(categorical_features=list(range(width, matrix.shape[1])), random_state=seed)
    made, labels = (part[len(train) :] for part in sampler.fit_resample(matrix, train[LABEL].to_numpy()))
    values = (made[:, :width] * deviation + mean).astype(np.float32)
    values[:, gaps.all(axis=0)] = np.nan
    values[:, gapped] = np.where(made[:, width:first] > 0, np.nan, values[:, gapped])
    rows = pd.DataFrame(values, columns=list(inputs.numeric))
    for place, (name, (_, known)) in enumerate(codes.items(), first):
        chosen = np.asarray(known, dtype=object)[made[:, place].astype(int)]
        rows[name] = pd.Series(np.where(chosen == MISSING, None, chosen), dtype=object)
    return pd.concat([train, rows.assign(**{LABEL: labels})], ignore_index=True)


@dataclass(frozen=True)
class Treatment:
    """A treatment of the few rows of label 1."""

    name: str
    settings: Mapping[str, Any]
    resample: Resampled = as_they_are


TREATMENTS = (
    Treatment("none", {}),
    Treatment("class weights", {"positive_weight": "balanced"}),
    Treatment("focal loss, gamma 2", {"focal_gamma": 2.0}),
    Treatment("undersampling", {}, undersampled),
    Treatment("SMOTE", {}, smote),
)


def row(family: str, task: Task, treatment: Treatment, declared: Any, test: pd.DataFrame) -> str:
    frames = task.frames
    train = treatment.resample(frames.train, task.inputs, task.cleaning, task.seed)
    settings = declared.model_copy(update=treatment.settings)
    fitted = load_family(family).fit(replace(task, frames=replace(frames, train=train)), settings)
    held, odds = frames.validation, fitted.log_odds(test)
    calibration, facts = fit_calibration("auto", fitted.log_odds(held), held[LABEL], held[DAY])
    raw, calibrated = (measure(test[LABEL], how.apply(odds)) for how in (Uncalibrated(), calibration))
    pairs = (raw["log_loss"], calibrated["log_loss"], raw["calibration_error"], calibrated["calibration_error"])
    return (
        f"| `{family}` | {treatment.name} | {len(train):,} | {train[LABEL].mean():.2f} | {raw['roc_auc']:.4f} "
        f"| {raw['pr_auc']:.4f} | {' | '.join(f'{value:.4f}' for value in pairs)} | {facts.method} |"
    )


def rows_of(context: Context, family: str, uri: str, rows: int | None) -> list[str]:
    params, store = context.params, context.data.store
    manifest = Manifest.read(store, uri)
    inputs, seed = manifest.model_inputs.inputs, params.training.seed
    train, validation, test = (read_frame(store, uri, name, manifest) for name in ("train", "validation", "test"))
    if rows:
        train = train.sample(rows, random_state=seed).sort_index().reset_index(drop=True)
    cleaning = fit_cleaning(numeric_inputs(train, inputs), inputs.numeric, family, params.cleaning)
    task = Task(Frames(train, validation), inputs, cleaning, seed)
    declared = getattr(params.training, family)
    told = []
    for treatment in TREATMENTS:
        if set(treatment.settings) <= set(type(declared).model_fields):
            told.append(row(family, task, treatment, declared, test))
            print(told[-1], flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["logistic_regression", "hist_gradient_boosting", "dcn_v2"])
    parser.add_argument("--rows", type=int, help="of the training window, drawn at random; all by default")
    parser.add_argument("--home", type=Path, help="folder to work in; a temporary one by default")
    asked = parser.parse_args()
    context = build_context(home=asked.home or tempfile.mkdtemp(prefix="imbalance-"))
    year.prepare(context)
    uri = year.training_set(context, AS_OF, "imbalance")
    lines = [line for family in asked.families for line in rows_of(context, family, uri, asked.rows)]
    windows = Manifest.read(context.data.store, uri).windows
    spans = ", ".join(f"{name} {start} to {end}" for name, (start, end) in windows.items())
    command = f"python -m benchmarks.imbalance --families {' '.join(asked.families)}"
    command += f" --rows {asked.rows}" if asked.rows else ""
    text = "\n\n".join(
        [
            "# Imbalance",
            "What class weights, the focal loss and resampling of the training window do, on the test window.\n"
            f"As of {AS_OF}: {spans}; {context.params.features.service}. Raw scores, and calibrated by `auto`.",
            HEAD + "\n" + "\n".join(lines),
            f"`{command}`, {machine('imbalanced-learn', 'scikit-learn', 'torch')}.",
        ]
    )
    ground = Ground("benchmarks.imbalance", PARAMS, FLIGHTS, (context.params.features.service,))
    save(RESULTS / "imbalance.md", text, ground)


if __name__ == "__main__":
    main()
