"""A training set with an auxiliary label: which rows are in which file, and which family reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import Context
from pipelines.metric_names import FURTHER
from pipelines.metrics.scores import measure
from pipelines.steps import execute
from pipelines.training.frames import read_auxiliary, read_frame
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, Tables
from pipelines.windows import Window
from tests.toy import Pumps

AS_OF = {"as_of": "2024-04-30T00:00:00+02:00", "data_version": "d"}


@dataclass(frozen=True)
class Worn(Pumps):
    """Every fifth pump has no label, but whether it is worn is known an hour after its reading."""

    auxiliary: tuple[str, ...] = ("worn",)

    def examples(self, tables: Tables, window: Window) -> pa.Table:
        rows = super().examples(tables, window).to_pandas()
        never = rows.pump.astype(int) % 5 == 0
        rows = rows.assign(
            worn=(rows.load > 0.5).astype("float64"), worn_known_at=rows.predicted_at + np.timedelta64(1, "h")
        )
        rows[LABEL] = rows[LABEL].mask(never)
        rows[LABEL_KNOWN_AT] = rows[LABEL_KNOWN_AT].mask(never)
        table = pa.Table.from_pandas(rows, preserve_index=False)
        instant = pa.timestamp("us", "UTC")
        fields = [field.with_type(instant) if pa.types.is_timestamp(field.type) else field for field in table.schema]
        return table.cast(pa.schema(fields))


def test_rows_without_the_label_train_the_second_task_alone(toy_home: Path, copy_of: Callable[[Path], Context]) -> None:
    plain = copy_of(toy_home)
    bare = execute("build_training_set", {**AS_OF, "run": "bare"}, plain)
    worn = Context(plain.settings, plain.params, Worn())
    training_set = execute("build_training_set", {**AS_OF, "run": "worn"}, worn)
    store, uri = plain.data.store, training_set["training_set_uri"]
    assert set(bare["rows"]) == {"train", "validation", "test"} and training_set["windows"] == bare["windows"]
    manifest = Manifest.read(store, uri)
    train, others = read_frame(store, uri, "train", manifest), read_auxiliary(store, uri, manifest)
    assert training_set["rows"]["train_auxiliary"] == len(others) and len(train) + len(others) == bare["rows"]["train"]
    assert others[LABEL].isna().all() and others["worn"].notna().all() and set(others["worn"]) == {0.0, 1.0}
    assert (others.pump.astype(int) % 5 == 0).all() and not set(train[EXAMPLE_ID]) & set(others[EXAMPLE_ID])
    assert others["heat_3d"].notna().mean() > 0.9  # point-in-time features, as for any row
    inputs = {"training_set_uri": uri, "run": "r", "family": "mmoe", "trials": 1}
    model = execute("train", inputs, worn)
    test, unlabelled = read_frame(store, uri, "test", manifest), read_auxiliary(store, uri, manifest, "test")
    assert (
        training_set["rows"]["test_auxiliary"] == len(unlabelled)
        and len(test) + len(unlabelled) == bare["rows"]["test"]
    )
    given = {"model_uri": model["model_uri"], "training_set_uri": uri, "run": "r"}
    outputs = execute("evaluate", given, worn)
    rows = pd.concat([test, unlabelled])
    scores, further = load_scorer(store, ModelRef(model["model_uri"])).score_all(rows)
    figures = measure(rows["worn"], further[:, 0])
    assert {name: outputs["metrics"][f"further.worn.{name}"] for name in FURTHER} == pytest.approx(
        {name: figures[name] for name in FURTHER}
    )
    assert figures["roc_auc"] > 0.7 and outputs["metrics"]["brier"] == pytest.approx(
        measure(test[LABEL], scores[: len(test)])["brier"]
    )
    scored = store.read_table(f"{outputs['evaluation_uri']}/scored.parquet").to_pandas()
    np.testing.assert_allclose(scored["score.worn"], further[: len(test), 0], atol=1e-6)
    window = {"start": "2024-04-25", "end": "2024-04-27", "as_of": AS_OF["as_of"]}
    given = {**window, "run": "r", "model_uri": model["model_uri"], "model_version": "1"}
    predicted = store.read_table(execute("score", given, worn)["predictions_uri"]).to_pandas().set_index(EXAMPLE_ID)
    both = scored[scored[EXAMPLE_ID].isin(predicted.index)]
    assert len(both) > 50 and set(both[DAY].astype(str)) == {"2024-04-25", "2024-04-26"}
    np.testing.assert_allclose(predicted["score.worn"][both[EXAMPLE_ID]], both["score.worn"], atol=1e-6)
