"""With outcomes permuted in the raw records there is no signal: validation ROC AUC falls to chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from pipelines import chains
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.configuration import load
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.steps import execute
from pipelines.usecase import LABEL
from pipelines.walk import walk
from tests.conftest import ROOT
from tests.flights.sources import files, write_source
from tests.services import thorough

START = date(2013, 1, 1)


@dataclass(frozen=True)
class Period:
    """Days since START, and how they are split after the first ones.

    Attributes:
        chance: bar for the distance of a ROC AUC to 0.5, five times its standard deviation by chance.
    """

    days: int
    train: int
    validation: int
    test: int
    chance: float

    @property
    def end(self) -> date:
        return START + timedelta(self.days)


PERIODS = [  # of the validation rows, 24 % are late
    pytest.param(Period(26, 9, 4, 2, chance=0.059), id="26 days"),  # of 3,300 rows
    pytest.param(Period(51, 24, 12, 4, chance=0.033), id="51 days", marks=pytest.mark.soak),  # of 10,000 rows
    pytest.param(Period(109, 60, 31, 7, chance=0.02), id="109 days", marks=pytest.mark.soak),  # of 28,000 rows
]


def permuted(flights: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """The flights with outcomes permuted among them; both delays of a flight stay together.

    Clock times and time in the air follow, since validation would refuse records that contradict themselves.
    """
    order = np.random.default_rng(seed).permutation(len(flights))
    dealt = flights.assign(**{column: flights[column].array[order] for column in ("dep_delay", "arr_delay")})
    clocks = {
        actual: clock(dealt[planned], dealt[delay])
        for actual, planned, delay in (
            ("dep_time", "sched_dep_time", "dep_delay"),
            ("arr_time", "sched_arr_time", "arr_delay"),
        )
    }
    flown = dealt.air_time.fillna((dealt.distance / 7).round().astype("Int64")).where(dealt.arr_delay.notna())
    return dealt.assign(**clocks, air_time=flown)


def clock(planned: pd.Series, delay: pd.Series) -> pd.Series:
    """HHMM of a planned HHMM and a delay in minutes."""
    minutes = (planned // 100 * 60 + planned % 100 + delay) % 1440
    return minutes // 60 * 100 + minutes % 60


def context_over(tmp_path: Path, source: Path | None, period: Period) -> Context:
    params = load(ROOT / "params.yaml").in_force()
    params["source"] = files(source) if source else {"kind": "bundled"}
    lengths = {"train_days": period.train, "validation_days": period.validation, "test_days": period.test}
    params["splits"] |= lengths
    params["training"]["hist_gradient_boosting"] |= {"max_iter": 60}
    params["training"]["refit"] = False  # the model is scored on its validation window
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return build_context(tmp_path / "params.yaml", tmp_path / "home")


def validation_auc(context: Context, period: Period) -> float:
    run_step = partial(execute, context=context)
    walk(chains.data, {"start": str(START), "end": str(period.end)}, run_step, only=chains.FEATURES)
    as_of = midnight(period.end - timedelta(1), context.usecase.timezone).isoformat()
    budget = {"families": ["hist_gradient_boosting"], "trials": 1, "seed": 1}
    given = {"as_of": as_of, "run": "leak", "feature_service": None, **budget}
    steps, known = ("build_training_set", "train"), {"snapshot": {"data_version": "permuted"}}
    outputs = walk(chains.training, given, run_step, only=steps, previous=known)
    training_set_uri = outputs["build_training_set"]["training_set_uri"]
    frame = context.data.store.read_table(f"{training_set_uri}/validation.parquet").to_pandas()
    scorer = load_scorer(context.data.store, ModelRef(outputs["train"][0]["model_uri"]))
    return float(roc_auc_score(frame[LABEL], scorer.score(frame)))


@thorough
@pytest.mark.parametrize("period", PERIODS)
def test_permuted_outcomes_bring_the_auc_to_chance(tmp_path: Path, period: Period) -> None:
    source = write_source(tmp_path / "source", permuted, str(period.end))
    auc = validation_auc(context_over(tmp_path, source, period), period)
    assert auc == pytest.approx(0.5, abs=period.chance)


@thorough
@pytest.mark.parametrize("period", PERIODS)
def test_true_outcomes_give_a_much_higher_auc(tmp_path: Path, period: Period) -> None:
    """The same chain on the same days, so the test above can fail."""
    assert validation_auc(context_over(tmp_path, None, period), period) > 0.65
