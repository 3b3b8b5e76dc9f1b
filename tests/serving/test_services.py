"""A champion and a challenger on different feature services, served together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from pipelines.artifacts.manifest import Manifest
from pipelines.artifacts.model import ModelRef
from pipelines.artifacts.scorer import load_scorer
from pipelines.context import Context
from pipelines.errors import InvalidInput
from pipelines.instants import midnight
from pipelines.point_in_time import feature_frame, load_examples
from pipelines.steps import execute
from pipelines.usecase import inputs_of
from tests.serving.conftest import END, App, reading, scores_of


def on_service(context: Context, service: str) -> Context:
    features = context.params.features.model_copy(update={"service": service})
    return replace(context, params=context.params.model_copy(update={"features": features}))


def test_models_of_two_services_are_served_side_by_side(serve: Callable[..., App]) -> None:
    app = serve(own_home=True)
    context = app.context
    as_of = midnight(END, context.usecase.timezone).isoformat()
    inputs = {"as_of": as_of, "data_version": "d", "run": "v2", "feature_service": "pump_service_v2"}
    assert context.params.features.service == "pump_service_v1"
    training_set = execute("build_training_set", inputs, context)
    given = {"family": "hist_gradient_boosting", "training_set_uri": training_set["training_set_uri"], "run": "v2"}
    uris = {
        "1": app.model_home.models["1"],
        "2": execute("train", {**given, "trials": 1, "seed": 1}, context)["model_uri"],
    }
    app.plan(challenger_uri=uris["2"])

    scorers = {version: load_scorer(context.data.store, ModelRef(uri)) for version, uri in uris.items()}
    services = {"1": "pump_service_v1", "2": "pump_service_v2"}
    for version, service in services.items():
        assert scorers[version].model.card.training_set.feature_service == service
        assert scorers[version].inputs == inputs_of(context.usecase, service), "the card of a model says what it reads"
    manifest = Manifest.read(context.data.store, training_set["training_set_uri"])
    assert "heat_1d" in manifest.model_inputs.numeric and "heat_1d" not in scorers["1"].inputs.numeric

    examples = load_examples(context, context.window(END - timedelta(1), END))
    answers = app.ask(*(reading(row) for row in app.model_home.examples.itertuples()))
    logged = {row.prediction_id: row for row in app.log.get([answer["id"] for answer in answers])}
    rows = [logged[answer["id"]] for answer in answers]
    assert {row.served for row in rows} == {"1", "2"} and not any(row.errors for row in rows)
    assert set(rows[0].features) == {"load", "hour", "heat_1d", "heat_3d", "age", "plant"}
    for version, service in services.items():
        frame = feature_frame(context, examples, service, scorers[version].inputs)
        assert list(frame.example_id) == list(app.model_home.examples.example_id)
        offline = scorers[version].score(frame)
        np.testing.assert_allclose(scores_of(rows, version), offline, atol=1e-5)
    apart = np.array([[row.scores[version] for version in "12"] for row in rows])
    assert np.abs(apart[:, 0] - apart[:, 1]).max() > 1e-3


@pytest.mark.parametrize("asked", [{}, {"feature_service": "pump_service_v9"}])
def test_a_service_without_declared_inputs_is_named(app: App, asked: dict[str, str]) -> None:
    context = app.context if asked else on_service(app.context, "pump_service_v9")
    with pytest.raises(InvalidInput, match=r"service 'pump_service_v9'; choose from pump_service_v1, pump"):
        execute("build_training_set", {"as_of": "2024-04-20", "data_version": "d", "run": "v9", **asked}, context)
