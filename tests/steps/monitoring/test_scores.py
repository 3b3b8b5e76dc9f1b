"""Scores and outcomes of a window, with ONNX itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from pipelines.artifacts.card import ModelCard
from pipelines.artifacts.evaluation import Evaluation
from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.usecase import DAY, EXAMPLE_ID, LABEL, LABEL_KNOWN_AT, PREDICTED_AT
from tests.editing import rewrite
from tests.steps.monitoring.desk import ROWS, Desk, write_model


def test_scores_are_saved_with_inputs_and_without_labels(desk: Desk) -> None:
    outputs = desk.score()
    table = desk.context.data.store.read_table(outputs.predictions_uri)
    assert outputs.rows == table.num_rows == ROWS
    assert table.column_names == [EXAMPLE_ID, PREDICTED_AT, DAY, "x", "y", "kind", "score", "model_version"]
    assert np.allclose(table["score"], 1 / (1 + np.exp(-table["x"].to_numpy())), atol=1e-6)
    assert desk.services == ["tiny_v1"]
    first = desk.context.data.store.read_bytes(outputs.predictions_uri)
    assert desk.context.data.store.read_bytes(desk.score().predictions_uri) == first


def test_predictions_after_as_of_are_left_out(desk: Desk) -> None:
    outputs = desk.score(as_of=datetime(2020, 1, 2, tzinfo=UTC))
    assert outputs.rows == (desk.frame[PREDICTED_AT] <= pd.Timestamp("2020-01-02", tz="UTC")).sum() < ROWS
    with pytest.raises(MissingData, match="no example"):
        desk.score(as_of=datetime(2019, 12, 1, tzinfo=UTC))


def test_a_window_without_examples_is_missing_data(desk: Desk) -> None:
    desk.frame = desk.frame.iloc[:0]
    with pytest.raises(MissingData, match="no example from 2020-01-01 to 2020-01-03"):
        desk.score()


def test_a_missing_model_or_one_without_features_is_refused(desk: Desk) -> None:
    with pytest.raises(MissingData, match=r"nowhere/model\.json does not exist"):
        desk.score(model_uri="nowhere")
    rewrite(ModelCard.place(desk.model_uri), lambda card: card["training_set"].pop("feature_service"))
    lacking = r"model\.json lacks training_set\.feature_service; train the model again"
    with pytest.raises(CorruptData, match=lacking):
        desk.score()


def test_a_retrained_folder_is_not_monitored_as_the_registered_model(desk: Desk) -> None:
    known = desk.sha256
    assert desk.score(model_sha256=known).rows == ROWS
    outcomes = desk.join().outcomes_uri
    assert desk.report(outcomes_uri=outcomes, model_sha256=known).metrics["n_labelled"] == ROWS
    write_model(desk.context, column=1)  # retrained under the same run: intact, and another model
    other = desk.sha256
    assert other != known and desk.score(model_sha256=other).rows == desk.score().rows == ROWS
    refused = f"another model .* sha256 {other[:12]}, registered is {known[:12]}"
    with pytest.raises(CorruptData, match=refused):
        desk.score(model_sha256=known)
    for named in (known, None):  # the evaluation names its model
        with pytest.raises(CorruptData, match=refused):
            desk.report(outcomes_uri=outcomes, model_sha256=named)
    desk.put_evaluation()  # and the new model is evaluated
    with pytest.raises(CorruptData, match=f"of a model with sha256 {other[:12]}, but {known[:12]} is registered"):
        desk.report(outcomes_uri=outcomes, model_sha256=known)
    rewrite(Evaluation.place(desk.evaluation_uri), lambda e: e.pop("model_sha256"))
    with pytest.raises(CorruptData, match=r"metrics\.json lacks model_sha256; evaluate the model again"):
        desk.report(outcomes_uri=outcomes)


def test_outcomes_keep_every_prediction_and_only_known_labels(desk: Desk) -> None:
    never, last = desk.frame.index < 10, desk.frame[PREDICTED_AT].iloc[-21]
    desk.frame.loc[never, LABEL] = np.nan
    desk.frame.loc[never, LABEL_KNOWN_AT] = pd.NaT
    outputs = desk.join(as_of=last + timedelta(hours=6))  # the labels of the others are known, but do not count yet
    assert (outputs.matured, outputs.unmatured, outputs.without_label) == (ROWS - 30, 20, 10)
    table = desk.context.data.store.read_table(outputs.outcomes_uri)
    assert table.num_rows == ROWS
    assert table[LABEL].null_count == table[LABEL_KNOWN_AT].null_count == 30
    assert "status" not in table.column_names


def test_a_label_known_after_its_maturity_is_refused(desk: Desk) -> None:
    desk.frame.loc[7, LABEL_KNOWN_AT] = desk.frame[PREDICTED_AT].iloc[7] + timedelta(hours=6)
    with pytest.raises(InvalidInput, match=r"label of example e0007 is known 6:00:00 after its pred.* not within"):
        desk.join()


def test_missing_predictions_are_refused(desk: Desk) -> None:
    with pytest.raises(MissingData, match="does not exist"):
        desk.join(predictions_uri=desk.context.data.uri("predictions", "other", "predictions.parquet"))
