"""Blocks other than days, from the examples to the intervals of an evaluation and of the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.artifacts.evaluation import Evaluation, read_scored
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.blocks import blocks_of
from pipelines.context import build_context
from pipelines.metrics.scores import Sample, differences, intervals
from pipelines.point_in_time import feature_frame, load_examples
from pipelines.registration.champion import compare
from pipelines.steps import execute
from pipelines.usecase import BLOCK, DAY, EXAMPLE_ID, LABEL, inputs_of
from tests.conftest import TOY
from tests.synthetic import context_over, frame, write_training_set

KINDS: Mapping[str, tuple[Callable[[pd.DataFrame], Any], int]] = {
    "finer than days": (lambda rows: rows[DAY].astype(str) + "T" + (np.arange(len(rows)) % 24).astype(str), 240),
    "by a key and a day": (lambda rows: rows["site"] + "/" + rows[DAY].astype(str), 289),
    "rows": (lambda rows: None, 1000),
    "some are independent": (lambda rows: rows[DAY].astype(str).where(rows["x"] > 0), 512),
}


def test_blocks_of_examples_reach_the_training_frames(toy_home: Path) -> None:
    context = build_context(TOY, toy_home)
    start = context.usecase.start
    examples = load_examples(context, context.window(start, start.replace(day=4)))
    names = [None if n % 7 == 0 else f"block {n % 5}" for n in range(examples.num_rows)]
    examples = examples.append_column(BLOCK, pa.array(names, pa.string()))
    service = context.params.features.service
    features = feature_frame(context, examples, service, inputs_of(context.usecase, service))
    expected = blocks_of(examples.to_pandas().set_index(EXAMPLE_ID, drop=False))
    assert blocks_of(features).tolist() == expected[features[EXAMPLE_ID]].tolist()
    assert set(blocks_of(features)) > {"block 1"} and len(set(blocks_of(features))) > 6


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_and_the_gate_resample_the_blocks_of_the_examples(tmp_path: Path, kind: str) -> None:
    context = context_over(tmp_path)
    store, settings, seed = context.data.store, context.params.evaluation, context.params.training.seed
    test = frame(1000, 201, "2024-03-01")
    name, count = KINDS[kind]
    uri = write_training_set(context, "s", rows=1500, test=test.assign(**{BLOCK: name(test)}))
    inputs = {"family": "logistic_regression", "training_set_uri": uri, "run": "r"}
    model_uri = execute("train", inputs, context)["model_uri"]
    outputs = execute("evaluate", {"model_uri": model_uri, "training_set_uri": uri, "run": "r"}, context)
    evaluation = Evaluation.read(store, outputs["evaluation_uri"])
    scored = read_scored(store, outputs["evaluation_uri"], evaluation)
    assert BLOCK in scored and (evaluation.days, evaluation.blocks) == (10, count)

    def sample(scores: object, of: pd.Series) -> Sample:
        return Sample.of(scored[LABEL], scores, of, settings.calibration_bins)  # type: ignore[arg-type]

    def brier(of: pd.Series) -> tuple[float, float]:
        one = sample(scored["score"], of)
        return intervals(one.resample(settings.bootstrap, seed), one.blocks)["brier"]

    assert evaluation.intervals["brier"] == brier(blocks_of(scored)) != brier(scored[DAY].astype(str))
    other = scored.assign(score=np.clip(scored["score"] + 0.1, 0, 1))
    compared = compare(other, ModelRef(model_uri), store, settings, seed)
    champion_scores = load_scorer(store, ModelRef(model_uri)).score(scored)
    ours, theirs = (sample(scores, blocks_of(scored)) for scores in (other["score"], champion_scores))
    assert compared.deltas == differences(ours, theirs, settings.bootstrap, seed)


def test_an_evaluation_of_examples_without_blocks_mentions_none(tmp_path: Path) -> None:
    context = context_over(tmp_path)
    uri = write_training_set(context, "s", rows=1500)
    inputs = {"family": "logistic_regression", "training_set_uri": uri, "run": "r"}
    model_uri = execute("train", inputs, context)["model_uri"]
    outputs = execute("evaluate", {"model_uri": model_uri, "training_set_uri": uri, "run": "r"}, context)
    evaluation = Evaluation.read(context.data.store, outputs["evaluation_uri"])
    assert evaluation.days == 8 and "blocks" not in evaluation.as_json()
