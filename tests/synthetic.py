"""Training sets drawn from a known rule, written as `build_training_set` writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter

from pipelines.configuration import load_params
from pipelines.context import Context
from pipelines.params import Params
from pipelines.params.behaviour import Behaviours
from pipelines.settings import Settings
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT, ModelInputs
from tests.artifacts import manifest

BEHAVIOUR = [
    {"name": "noise", "kind": "invariance", "change": {"y": {"add": 0.01}}, "tolerance": 0.1, "max_share": 0.02},
    {"name": "larger", "kind": "direction", "change": {"x": {"add": 0.5}}, "moves": "up"},
    {
        "name": "ranks",
        "kind": "minimum",
        "where": {"kind": "a"},
        "bar": {"metric": "roc_auc", "direction": "at_least", "threshold": 0.6},
    },
]
AS_OF = datetime(2024, 4, 1, tzinfo=UTC)
AUXILIARY = "second"  # an auxiliary label, which follows y
INPUTS = ModelInputs(numeric=("x", "y", "gappy"), categorical=("kind", "site"))


def frame(rows: int, seed: int, first_day: str = "2024-01-01", rows_a_day: int = 100) -> pd.DataFrame:
    """Labels depend on x, kind and whether `gappy` is missing; y and most sites are noise."""
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(2, rows)).astype(np.float32)
    gap = draw.random(rows) < 0.2
    kind = draw.choice(["a", "b", "c", "d"], rows)
    site = draw.choice([f"s{n:02}" for n in range(30)], rows)
    effect = pd.Series(kind).map({"a": -1.0, "b": 0.6, "c": -0.3, "d": 1.2}).to_numpy()
    odds = 1.1 * x + effect + 0.8 * gap - 0.8
    at = pd.Timestamp(first_day, tz="UTC") + pd.to_timedelta(np.arange(rows) // rows_a_day, unit="D")
    return pd.DataFrame(
        {
            EXAMPLE_ID: [f"{first_day}-{n}" for n in range(rows)],
            PREDICTED_AT: at,
            DAY: at.date,
            LABEL: (draw.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64),
            LABEL_KNOWN_AT: at + pd.Timedelta(days=1),
            "x": x,
            "y": y,
            "gappy": np.where(gap, np.nan, draw.normal(size=rows)).astype(np.float32),
            "kind": np.where(draw.random(rows) < 0.03, np.array(None, dtype=object), kind),
            "site": site,
            AUXILIARY: (draw.random(rows) < 1 / (1 + np.exp(-(1.2 * y - 1.0)))).astype(np.float64),
        }
    )


NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (16,)},
    "dcn_v2": {"hidden": (16,), "rank": 4},
    "ft_transformer": {"embedding_dim": 8, "feedforward": 8, "epochs": 6, "batch_size": 128},
    "mmoe": {"experts": 3, "expert_hidden": (16,), "tower_hidden": (8,)},
}


def small_params() -> Params:
    """The project's params with models that fit in a second."""
    params = load_params("params.yaml")
    tree = params.training.hist_gradient_boosting.model_copy(update={"max_iter": 25, "min_samples_leaf": 20})
    fast = {"epochs": 4, "batch_size": 256, "learning_rate": 0.01}
    nets = {
        name: getattr(params.training, name).model_copy(update={**fast, **small}) for name, small in NETWORKS.items()
    }
    training = params.training.model_copy(update={"hist_gradient_boosting": tree, **nets})
    importance = params.evaluation.importance.model_copy(update={"rows": 500, "repeats": 1})
    evaluation = params.evaluation.model_copy(update={"bootstrap": 40, "min_slice": 100, "importance": importance})
    behaviour = TypeAdapter(Behaviours).validate_python(BEHAVIOUR)
    return params.model_copy(update={"training": training, "evaluation": evaluation, "behaviour": behaviour})


def context_over(home: Any, name: str = "pumps", **settings: Any) -> Context:
    usecase: Any = SimpleNamespace(name=name, slices=("kind",), timezone="UTC")
    return Context(Settings(home=home, **settings), small_params(), usecase)


def write_training_set(context: Context, run: str, seed: int = 1, rows: int = 3000, **changes: Any) -> str:
    """Three frames and their manifest; gives the folder's URI."""
    folder = context.data.uri("training_sets", run)
    frames = {
        "train": frame(rows, seed, "2024-01-01"),
        "validation": frame(rows // 3, seed + 100, "2024-02-01"),
        "test": frame(rows // 2, seed + 200, "2024-03-01"),
    }
    unlabelled: dict[str, Any] = {LABEL: np.nan, LABEL_KNOWN_AT: pd.NaT}
    frames["train_auxiliary"] = frame(rows // 10, seed + 300, "2024-01-01").assign(**unlabelled)
    frames.update({name: changes.pop(name) for name in list(changes) if name in frames})
    hashes = {
        name: context.data.store.write_table(
            f"{folder}/{name}.parquet", pa.Table.from_pandas(table, preserve_index=False)
        )
        for name, table in frames.items()
    }
    lengths = {name: len(table) for name, table in frames.items()}
    whole = {"as_of": AS_OF.isoformat(), "rows": lengths, "auxiliary": [AUXILIARY], "sha256": hashes, **changes}
    manifest(INPUTS, **whole).write(context.data.store, folder)
    return folder
