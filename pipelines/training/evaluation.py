"""The measurements of a model on its test frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.artifacts.card import CleaningFacts
from pipelines.artifacts.evaluation import AlarmThreshold, BehaviourResult, Slice, WorstSlice, further_column
from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.scorer import ModelScorer, model_arrays
from pipelines.blocks import blocks_of
from pipelines.metric_names import BEHAVIOUR_FAILURES, FURTHER, further_metric
from pipelines.metrics.costs import mean_cost, row_costs, thin_cost_curve
from pipelines.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from pipelines.metrics.scores import Sample, intervals, jsonable
from pipelines.metrics.scores import measure as measure_scores
from pipelines.metrics.slices import slice_metrics, worst_slice
from pipelines.params import Params
from pipelines.training.behaviour import check_behaviour, failures
from pipelines.training.cleaning import from_card, totals
from pipelines.training.frames import numeric_inputs
from pipelines.training.importance import permutation_importance
from pipelines.usecase import BLOCK, DAY, LABEL, MONTH, UseCase, slices_of


@dataclass(frozen=True)
class Subject:
    """The subject of an evaluation: a model on the test frame of its training set.

    Attributes:
        scores: (N,) in [0, 1].
        further: (N, k), the further outputs.
        others: rows of the test window that have further labels only.
    """

    scorer: ModelScorer
    manifest: Manifest
    test: pd.DataFrame
    scores: NDArray[np.float64]
    further: NDArray[np.float64]
    others: pd.DataFrame

    @property
    def scored(self) -> pd.DataFrame:
        columns = {further_column(name): self.further[:, n] for n, name in enumerate(self.scorer.further)}
        return self.test.assign(score=self.scores, **columns)


@dataclass(frozen=True)
class Measurements:
    """The figures of an evaluation.

    Attributes:
        days: number of days that have rows.
        blocks: number of blocks that were resampled; None where they are the days.
        curves: tables by name: roc, precision_recall, calibration, cost, importance.
        cleaned: the fitted cleaning, and the values that it changes in each window; `cleaning` has their shares.
    """

    days: int
    blocks: int | None
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]]
    slices: dict[str, tuple[Slice, ...]]
    worst_slice: WorstSlice | None
    threshold: AlarmThreshold
    behaviour: tuple[BehaviourResult, ...]
    curves: Mapping[str, pd.DataFrame]
    cleaned: CleaningFacts

    @property
    def cleaning(self) -> dict[str, dict[str, float]]:
        return {name: totals(counts) for name, counts in self.cleaned.counts.items()}


def measure(subject: Subject, usecase: UseCase, params: Params) -> Measurements:
    """Measure a model; every draw is seeded by `training.seed`."""
    settings, costs, seed, scorer = params.evaluation, params.costs, params.training.seed, subject.scorer
    labels, scores, days = subject.test[LABEL], subject.scored["score"], subject.test[DAY].astype(str)
    blocks = blocks_of(subject.test)
    sample = Sample.of(labels, scores, blocks, settings.calibration_bins)
    threshold = scorer.model.card.threshold.value
    cost = row_costs(labels, scores, threshold, costs)
    cost_mean, cost_range = mean_cost(cost, blocks, settings.bootstrap, seed)
    behaviour = check_behaviour(params.behaviour, subject.test, scorer.inputs, scorer.score, seed)
    own = {**sample.measure(), "cost": cost_mean, BEHAVIOUR_FAILURES: failures(behaviour)}
    resampled_intervals = intervals(sample.resample(settings.bootstrap, seed), sample.blocks)
    with_month = subject.test.assign(**({} if MONTH in subject.test else {MONTH: days.str[:7]}))
    slices = slice_metrics(with_month, slices_of(usecase), labels, scores, settings.min_slice)
    curves = {
        "roc": roc_curve(labels, scores),
        "precision_recall": precision_recall_curve(labels, scores),
        "calibration": calibration_curve(labels, scores, settings.calibration_bins),
        "cost": thin_cost_curve(labels, scores, costs),
        "importance": permutation_importance(
            model_arrays(subject.test, scorer.inputs),
            scorer.inputs.names,
            labels.to_numpy(),
            scorer.score_arrays,
            settings.importance,
            seed,
        ),
    }
    return Measurements(
        days=days.nunique(),
        blocks=sample.blocks if BLOCK in subject.test else None,
        metrics=jsonable({**own, **further_metrics(subject)}),
        intervals=jsonable({**resampled_intervals, "cost": cost_range}),
        slices=slices,
        worst_slice=worst_slice(slices),
        threshold=AlarmThreshold(value=threshold, costs=costs.model_dump(), alarms=float((scores >= threshold).mean())),
        behaviour=behaviour,
        curves=curves,
        cleaned=cleaned_by(subject),
    )


def further_metrics(subject: Subject) -> dict[str, float]:
    """The metrics of each further output, over all rows of the test window that have its label."""
    scorer, values = subject.scorer, dict[str, float]()
    outputs = np.concatenate([subject.further, scorer.score_all(subject.others)[1]])
    for n, name in enumerate(scorer.further):
        labels = np.concatenate([frame[name].to_numpy(dtype=np.float64) for frame in (subject.test, subject.others)])
        known = ~np.isnan(labels)
        figures = measure_scores(labels[known], outputs[known, n])
        values |= {further_metric(name, metric): figures[metric] for metric in FURTHER}
    return values


def cleaned_by(subject: Subject) -> CleaningFacts:
    """The model's fitted cleaning, and the values that it changes in the frames of training and test."""
    card = subject.scorer.model.card
    test = from_card(card).count(numeric_inputs(subject.test, subject.manifest.model_inputs.inputs))
    return CleaningFacts(columns=card.cleaning.columns, counts={**card.cleaning.counts, "test": test})
