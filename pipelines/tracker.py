"""All of MLflow in one place: one experiment and one registered model per use case. A leaf: imports no step.

Everything is safe to repeat. A run carries the tag KEY (what it stands for) and CONTENT (a hash of what it holds); a
second call finds it, and one that was killed halfway is deleted and written again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipelines.errors import MissingData
from pipelines.scorer import CARD, Model
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY = "flightdeck.key"
CONTENT = "flightdeck.content"
KIND = "flightdeck.kind"  # candidate or report
ALIASED = "flightdeck.aliased"  # on a version whose aliases were set: a late retry must not move them again
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class ModelVersion:
    """A registered version. Its tags name the data, code and decision behind it."""

    version: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def model_uri(self) -> str:
        return self.tags["model_uri"]

    @property
    def evaluation_uri(self) -> str:
        return self.tags["evaluation_uri"]

    @property
    def training_set_uri(self) -> str:
        return self.tags["training_set_uri"]

    @property
    def sha256(self) -> str:
        return self.tags["sha256"]


class Tracker:
    """Runs and versions of one use case.

    Args:
        settings: `mlflow` is a server's http(s) address, or a database URI (embedded, files beside it).
        usecase: name of the experiment and of the registered model.
    """

    def __init__(self, settings: Settings, usecase: str) -> None:
        self.uri = settings.mlflow
        self.name = usecase
        self.artifacts = settings.root / "mlflow" / "artifacts"

    @cached_property
    def client(self) -> MlflowClient:
        mlflow = _quiet_mlflow()
        if not self._served:
            url = sa.make_url(self.uri)
            if url.get_backend_name() == "sqlite" and url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        client: MlflowClient = mlflow.MlflowClient(self.uri, self.uri)
        return client

    @property
    def _served(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    @cached_property
    def experiment_id(self) -> str:
        """The use case's experiment, created when first needed."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            location = None if self._served else (self.artifacts / self.name).as_uri()
            try:
                return str(self.client.create_experiment(self.name, artifact_location=location))
            except MlflowException as error:  # another process was first
                found = self.client.get_experiment_by_name(self.name)
                if found is None:
                    raise error
        return str(found.experiment_id)

    def log_candidate(
        self,
        model: Model,
        params: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        files: Mapping[str, bytes],
        tags: Mapping[str, str],
    ) -> str:
        """One run for one candidate, with its model, and its id. Metrics that are None are left out."""
        key = f"candidate {model.uri} {model.sha256}"
        named = {**tags, KIND: "candidate", "family": str(model.card["family"]), "sha256": model.sha256}
        card = json.dumps(dict(model.card), indent=2, sort_keys=True).encode()
        with self._run(key, str(model.card["family"]), params, metrics, {**files, CARD: card}, named) as (run_id, new):
            if new:
                import mlflow.onnx
                import onnx

                mlflow.onnx.log_model(
                    onnx.load_model_from_string(model.graph),
                    name="model",
                    signature=_signature(model),
                    input_example=_example(model),
                    pip_requirements=["onnxruntime", "numpy", "pandas"],
                    onnx_execution_providers=["CPUExecutionProvider"],
                    save_as_external_data=False,
                )
        return run_id

    def log_report(
        self, run: str, model_version: str, metrics: Mapping[str, float | None], files: Mapping[str, bytes]
    ) -> str:
        """One run for one monitoring report, and its id; another content under the same name replaces it."""
        tags = {KIND: "report", "run": run, "model_version": model_version}
        with self._run(f"report {run} {model_version}", f"report {run}", {}, metrics, files, tags) as (run_id, _):
            return run_id

    @contextmanager
    def _run(
        self,
        key: str,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        files: Mapping[str, bytes],
        tags: Mapping[str, str],
    ) -> Iterator[tuple[str, bool]]:
        """The id of the run that holds all this, and whether it is new; a new one is finished on leaving."""
        client, experiment = self.client, self.experiment_id
        import mlflow

        finite = {k: float(v) for k, v in metrics.items() if v is not None}
        hashed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        identity, content = _digest(key), _digest([dict(params), finite, hashed])
        same = client.search_runs([experiment], f"tags.`{KEY}` = '{identity}'")
        for run in same:
            if run.info.status == "FINISHED" and run.data.tags.get(CONTENT) == content:
                yield run.info.run_id, False
                return
        for run in same:
            client.delete_run(run.info.run_id)
        mlflow.set_tracking_uri(self.uri)
        labels = {**tags, KEY: identity, CONTENT: content}
        with mlflow.start_run(experiment_id=experiment, run_name=name, tags=labels) as active:
            mlflow.log_params(dict(params))
            mlflow.log_metrics(finite)
            with tempfile.TemporaryDirectory() as folder:
                for file, body in files.items():
                    (Path(folder) / file).write_bytes(body)
                mlflow.log_artifacts(folder)
            yield active.info.run_id, True

    def register(self, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """The version for the model of a candidate's run; the same `sha256` and `model_uri` never become two.

        A new version gets the alias `challenger`, and `champion` where there is none.

        Args:
            tags: at least model_uri, evaluation_uri, training_set_uri and sha256.
        """
        known = self.versions()
        same = [v for v in known if v.tags["sha256"] == tags["sha256"] and v.tags["model_uri"] == tags["model_uri"]]
        version = same[0].version if same else self._create(run_id, tags)
        newer = any(int(v.version) > int(version) for v in known)
        if not newer and not (same and same[0].tags.get(ALIASED)):
            self.set_alias(CHALLENGER, version)
            if CHAMPION not in self.aliases():
                self.set_alias(CHAMPION, version)
            self.client.set_model_version_tag(self.name, version, ALIASED, "true")
        found = self.resolve(version=version)
        assert found is not None
        return found

    def _create(self, run_id: str, tags: Mapping[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        outputs = self.client.get_run(run_id).outputs
        if outputs is None or not outputs.model_outputs:
            raise MissingData(f"MLflow run {run_id} holds no model; log the candidate again")
        logged = outputs.model_outputs[-1].model_id
        parent = self.aliases().get(CHAMPION)
        lineage = {**tags, **({"parent_version": parent} if parent else {})}
        made = self.client.create_model_version(
            self.name, source=f"models:/{logged}", run_id=run_id, tags=lineage, model_id=logged
        )
        return str(made.version)

    def versions(self) -> list[ModelVersion]:
        """Every version that the chain registered, oldest first."""
        found = [_version(v) for v in self.client.search_model_versions(f"name = '{self.name}'")]
        aliases = self.aliases()
        ours = [v for v in found if {"sha256", "model_uri"} <= set(v.tags)]
        return sorted(
            (_with_aliases(v, aliases) for v in ours),
            key=lambda v: int(v.version),
        )

    def resolve(self, alias: str | None = None, version: str | None = None) -> ModelVersion | None:
        """The version that has the alias, or the number; None where there is none."""
        wanted = version if version is not None else self.aliases().get(alias or CHAMPION)
        return next((v for v in self.versions() if v.version == wanted), None)

    def aliases(self) -> dict[str, str]:
        """alias -> version."""
        from mlflow.exceptions import MlflowException

        try:
            model = self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in model.aliases.items()}

    def set_alias(self, alias: str, version: str) -> None:
        self.client.set_registered_model_alias(self.name, alias, version)

    def run_metrics(self, run_id: str) -> dict[str, float]:
        return dict(self.client.get_run(run_id).data.metrics)

    def runs(self, kind: str) -> list[dict[str, Any]]:
        """Runs of a kind (candidate, report), oldest first: run_id, name, tags, metrics."""
        found = self.client.search_runs(
            [self.experiment_id], f"tags.`{KIND}` = '{kind}'", order_by=["attributes.start_time ASC"]
        )
        return [
            {
                "run_id": r.info.run_id,
                "name": r.info.run_name,
                "tags": dict(r.data.tags),
                "metrics": dict(r.data.metrics),
            }
            for r in found
        ]


def _signature(model: Model) -> Any:
    """Two tensors in, one out, as in `pipelines.training.onnx_graph`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = model.card["inputs"]
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(np.dtype(np.float32), (-1, len(inputs["numeric"])), "numeric"),
                TensorSpec(np.dtype(object), (-1, len(inputs["categorical"])), "categorical"),
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,), "score")]),
    )


def _example(model: Model) -> dict[str, Any]:
    """One row with every string missing."""
    import numpy as np

    inputs = model.card["inputs"]
    return {
        "numeric": np.zeros((1, len(inputs["numeric"])), dtype=np.float32),
        "categorical": np.full((1, len(inputs["categorical"])), "", dtype=object),
    }


def _version(found: Any) -> ModelVersion:
    return ModelVersion(str(found.version), str(found.run_id), dict(found.tags), ())


def _with_aliases(version: ModelVersion, aliases: Mapping[str, str]) -> ModelVersion:
    held = tuple(sorted(alias for alias, number in aliases.items() if number == version.version))
    return ModelVersion(version.version, version.run_id, version.tags, held)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _quiet_mlflow() -> Any:
    """MLflow without chatter, telemetry, or the import of Feast.

    Feast registers a provider of request headers with MLflow, and MLflow loads it (with all of Feast, and torch) before
    its first request. We do not use it; hiding its module while MLflow collects providers leaves Feast itself intact.
    """
    for variable, value in (
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ):
        os.environ.setdefault(variable, value)
    import mlflow

    provider = "feast.infra.data_sources.mlflow.auth"
    if provider not in sys.modules:
        sys.modules[provider] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import mlflow.tracking.request_header.registry
        finally:
            del sys.modules[provider]
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow
