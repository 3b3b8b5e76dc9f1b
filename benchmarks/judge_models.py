"""The models in whose rollouts the judge is measured, and their scores of all later flights.

The project's own steps train them (two minutes a feature service on two cores) in a folder that keeps the scores. Every
scored day lies after the training of every model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines import chains
from pipelines.context import Context, build_context
from pipelines.instants import midnight
from pipelines.steps import execute
from pipelines.walk import walk

SERVICES = ("flight_delay_v3", "flight_delay_v2", "flight_delay_v1")
SEEN, START, END = (
    date(2013, 5, 1),
    date(2013, 6, 3),
    date(2014, 1, 1),
)  # the pair's scatter is estimated from days before START
MONTH = timedelta(days=31)
log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    as_of: date = date(2013, 6, 1)
    family: str = "hist_gradient_boosting"
    seed: int = 1
    train_days: int | None = None  # as params.yaml where None


MODELS = {
    "mlp_1": Recipe(family="mlp"),
    "mlp_2": Recipe(family="mlp", seed=2),
    "trees": Recipe(),
    "trees_old": Recipe(as_of=date(2013, 5, 1)),  # trained a month earlier
    "trees_short": Recipe(train_days=60),  # on another window
}


def prepare(home: Path, services: tuple[str, ...] = SERVICES, models: Mapping[str, Recipe] = MODELS) -> dict[str, Path]:
    """Run the chain over 2013 in `home`, and save label, day and every model's score of each matured example."""
    files = {service: home / f"scores_{service}.npz" for service in services}
    if all(file.exists() for file in files.values()):
        return files
    context = build_context(Path(__file__).parent.parent / "params.yaml", home)
    window = {"start": context.usecase.start.isoformat(), "end": context.usecase.end.isoformat()}
    steps = (*chains.FEATURES, "snapshot")
    outputs = walk(chains.data, {**window, "run": None}, partial(execute, context=context), only=steps)
    for service, file in files.items():
        if not file.exists():
            columns: dict[str, Any] = {}
            for name, recipe in models.items():
                log.info("%s of %s", name, service)
                uri = _trained(context, service, name, recipe, outputs["snapshot"]["data_version"])
                columns |= _scored(context, f"{service}_{name}", name, uri)
            np.savez_compressed(file, **columns)
    return files


def _trained(context: Context, service: str, name: str, recipe: Recipe, version: str) -> str:
    """The folder of the model."""
    if recipe.train_days:
        splits = context.params.splits.model_copy(update={"train_days": recipe.train_days})
        context = replace(context, params=context.params.model_copy(update={"splits": splits}))
    inputs = {
        "as_of": midnight(recipe.as_of, context.usecase.timezone).isoformat(),
        "run": f"{service}_{name}",
        "feature_service": service,
        "families": [recipe.family],
        "trials": 1,
        "seed": recipe.seed,
    }
    steps, known = ("build_training_set", "train"), {"snapshot": {"data_version": version}}
    outputs = walk(chains.training, inputs, partial(execute, context=context), only=steps, previous=known)
    return str(outputs["train"][0]["model_uri"])


def _scored(context: Context, run: str, name: str, model_uri: str) -> dict[str, np.ndarray]:
    """Score and outcome of every example, a month at a time, in order of the example's id."""
    import pandas as pd

    parts, start = [], SEEN
    while start < END:
        end = min(start + MONTH, END)
        as_of = midnight(END + timedelta(days=7), context.usecase.timezone).isoformat()
        inputs = {"start": start.isoformat(), "end": end.isoformat(), "as_of": as_of, "run": f"{run}_{start}"}
        known = {"resolve_model": {"version": "1", "model_uri": model_uri, "sha256": None}}
        steps = ("score", "join_outcomes")
        outputs = walk(chains.monitoring, inputs, partial(execute, context=context), only=steps, previous=known)
        parts.append(context.data.store.read_table(outputs["join_outcomes"]["outcomes_uri"]).to_pandas())
        start = end
    frame = pd.concat(parts).dropna(subset=["label"]).sort_values("example_id")
    return {
        "label": frame["label"].to_numpy(np.float64),
        "day": pd.to_datetime(frame["local_day"]).to_numpy("datetime64[D]").astype(np.int64),
        "known_at": frame["label_known_at"].astype("int64").to_numpy(),
        "carrier": frame["carrier"].to_numpy(str),
        name: frame["score"].to_numpy(np.float64),
    }
