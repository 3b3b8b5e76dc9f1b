"""Runs: one experiment for each use case, one run for each candidate, trial and monitoring report.

Everything is safe to repeat. A run has the tags KEY (its identity) and CONTENT (a hash of its content), by which a
second call finds it; a run that was killed halfway is deleted and written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from filelock import FileLock

from pipelines import environment
from pipelines.errors import InvalidInput, MissingData
from pipelines.settings import Settings
from pipelines.tracking.library import open_mlflow, writing_files
from pipelines.tracking.signature import example, signature

if TYPE_CHECKING:
    import pandas as pd

    from mlflow import MlflowClient
    from pipelines.artifacts.model import Model

KEY = "flightdeck.key"
CONTENT = "flightdeck.content"
KIND = "flightdeck.kind"  # candidate, trial or report
PARENT = "mlflow.parentRunId"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # its page then opens on the runs
REMEDY = "set FLIGHTDECK_MLFLOW_URI or MLFLOW_TRACKING_URI to"


@dataclass(frozen=True)
class CandidateRun:
    """The content of a candidate's run.

    Attributes:
        attachments: further files; a change in them makes no new run.
        row: a row that the model has scored, as the logged model's input example.
        requirements: packages that the logged model needs, as NAME==VERSION.
    """

    params: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    attachments: Mapping[str, bytes]
    row: pd.DataFrame
    requirements: Sequence[str]


@dataclass(frozen=True)
class RunContent:
    """What a run holds; one with other params, metrics or files is another run. `attachments` only explain."""

    tags: Mapping[str, str]
    params: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    files: Mapping[str, bytes] = field(default_factory=dict)
    attachments: Mapping[str, bytes] = field(default_factory=dict)


class Tracker:
    """Runs of one use case.

    Args:
        settings: `mlflow` is a server's http(s) address, or a database URI (embedded, files beside it); `mlflow_parent`
            is the run of `mlflow run` that new runs are children of.
        usecase: name of the experiment and of the registered model.
    """

    def __init__(self, settings: Settings, usecase: str) -> None:
        self.uri = settings.mlflow
        self.parent = settings.mlflow_parent
        self.name = usecase
        self.artifacts = settings.root / "mlflow" / "artifacts"

    @cached_property
    def client(self) -> MlflowClient:
        if not self._served:
            try:
                url = sa.make_url(self.uri)
            except sa.exc.ArgumentError:
                raise InvalidInput(
                    f"MLflow cannot be at {self.uri!r}; {REMEDY} a server's address or a database URI"
                ) from None
            if url.get_backend_name() == "sqlite" and url.database:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        client: MlflowClient = open_mlflow(self.uri).MlflowClient(self.uri, self.uri)
        return client

    @property
    def _served(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A lock: of the processes of this home, one at a time is inside."""
        place = self.artifacts.parent
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f"{self.name}.lock"):
            yield

    @cached_property
    def experiment_id(self) -> str:
        """The use case's experiment, created when first needed.

        Raises:
            InvalidInput: if its files are reached through a server, but the database is opened without one.
        """
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(self.name)
        if experiment is None:
            location = None if self._served else (self.artifacts / self.name).as_uri()
            try:
                return str(self.client.create_experiment(self.name, location, tags=EXPERIMENT_TAGS))
            except MlflowException:  # another process was first
                experiment = self.client.get_experiment_by_name(self.name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise InvalidInput(
                f"the experiment {self.name} of MLflow at {self.uri} was deleted, and nothing can be logged to it; "
                f"restore it there: mlflow experiments restore --experiment-id {experiment.experiment_id}"
            )
        self._require_files(str(experiment.artifact_location))
        return str(experiment.experiment_id)

    def _require_files(self, location: str) -> None:
        if not self._served and location.startswith("mlflow-artifacts:"):
            raise InvalidInput(
                f"an MLflow server keeps the files of experiment {self.name} in {self.uri}; "
                f"start it and {REMEDY} its address, or to another database"
            )

    def log_candidate(self, model: Model, candidate: CandidateRun) -> str:
        """Log a candidate with its model as one run, and give the run's id. Metrics that are None are left out."""
        key, family, tags = f"candidate {model.uri} {model.sha256}", model.card.family, candidate.tags
        all_tags = {**tags, KIND: "candidate", "family": family, "sha256": model.sha256}
        title = f"{family} {tags['as_of'][:10]}" if "as_of" in tags else family
        card = json.dumps(model.card.as_json(), indent=2, sort_keys=True).encode()
        files = {**candidate.files, model.card.FILE: card}
        content = RunContent(all_tags, candidate.params, candidate.metrics, files, candidate.attachments)
        with self._run(key, title, content) as (run_id, new):
            if new:
                import mlflow.onnx
                import onnx

                mlflow.onnx.log_model(
                    onnx.load_model_from_string(model.graph),
                    name=family,
                    signature=signature(model),
                    input_example=example(model, candidate.row),
                    pip_requirements=list(candidate.requirements),
                    onnx_execution_providers=["CPUExecutionProvider"],
                    save_as_external_data=False,
                )
        return run_id

    def log_trial(
        self, candidate: str, number: int, params: Mapping[str, Any], metrics: Mapping[str, float | None], state: str
    ) -> str:
        """Log a trial as a child of its candidate's run, and give the run's id."""
        tags = {KIND: "trial", "state": state}
        key, title = f"trial {number} of {candidate}", f"trial {number}"
        with self._run(key, title, RunContent(tags, params, metrics), parent=candidate) as (run_id, _):
            return run_id

    def log_report(
        self, run: str, model_version: str, metrics: Mapping[str, float | None], files: Mapping[str, bytes]
    ) -> str:
        """Log a monitoring report as one run, and give its id; other content under the same name replaces it."""
        tags = {KIND: "report", "run": run, "model_version": model_version}
        content = RunContent(tags, {}, metrics, files)
        with self._run(f"report {run} {model_version}", f"report {run}", content) as (run_id, _):
            return run_id

    @contextmanager
    def _run(
        self,
        key: str,
        name: str,
        held: RunContent,
        parent: str | None = None,
    ) -> Iterator[tuple[str, bool]]:
        """The id of the run with this content, and whether it is new; a new one is finished at the end of the context.

        It is a child of `parent`, by default of the run of `mlflow run`. A run that it replaces is deleted with its
        children.
        """
        client, experiment = self.client, self.experiment_id
        finite = {k: float(v) for k, v in held.metrics.items() if v is not None}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in held.files.items()}
        identity = _digest(f"{key} of {self.parent}" if self.parent else key)  # every parent has children of its own
        content = _digest([dict(held.params), finite, digests])
        same = client.search_runs([experiment], f"tags.`{KEY}` = '{identity}'")
        for run in same:
            if run.info.status == "FINISHED" and run.data.tags.get(CONTENT) == content:
                yield run.info.run_id, False
                return
        for run in same:
            for child in client.search_runs([experiment], f"tags.`{PARENT}` = '{run.info.run_id}'", max_results=5000):
                client.delete_run(child.info.run_id)
            client.delete_run(run.info.run_id)
        above = parent or self.parent
        labels = {**held.tags, KEY: identity, CONTENT: content, **({PARENT: above} if above else {})}
        mlflow = open_mlflow(self.uri)
        with environment.restoring("MLFLOW_RUN_ID"):
            os.environ.pop("MLFLOW_RUN_ID", None)  # MLflow would continue that run instead of creating one
            new_run = mlflow.start_run(experiment_id=experiment, run_name=name, tags=labels)
            with writing_files(self.uri), new_run as active:
                mlflow.log_params(dict(held.params))
                mlflow.log_metrics(finite)
                if held.attachments or held.files:
                    with tempfile.TemporaryDirectory() as folder:
                        for file, body in {**held.attachments, **held.files}.items():
                            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                            (Path(folder) / file).write_bytes(body)
                        mlflow.log_artifacts(folder)
                yield active.info.run_id, True

    def attach(self, run_id: str, folder: str, files: Mapping[str, bytes]) -> None:
        """Write files to a folder of a run, replacing those of the same names.

        Raises:
            InvalidInput: if the run's files are reached through a server, but the database is opened without one.
        """
        self._require_files(str(self.client.get_run(run_id).info.artifact_uri))
        with tempfile.TemporaryDirectory() as place, writing_files(self.uri):
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
            self.client.log_artifacts(run_id, place, folder)

    def read_attachment(self, run_id: str, folder: str, name: str) -> bytes | None:
        """Read a file in a folder of a run ("" for the top); None if there is none of this name. Raises as `attach`."""
        self._require_files(str(self.client.get_run(run_id).info.artifact_uri))
        path = f"{folder}/{name}" if folder else name
        if path not in {file.path for file in self.client.list_artifacts(run_id, folder or None)}:
            return None
        with tempfile.TemporaryDirectory() as place, writing_files(self.uri):
            return Path(self.client.download_artifacts(run_id, path, place)).read_bytes()

    def run_tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run; raises MissingData if there is no such run."""
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.client.get_run(run_id).data.tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise MissingData(f"MLflow has no run {run_id}; log the candidates first") from None

    def run_metrics(self, run_id: str) -> dict[str, float]:
        return dict(self.client.get_run(run_id).data.metrics)

    def runs(self, kind: str) -> list[dict[str, Any]]:
        """Runs of a kind (candidate, trial, report), oldest first: run_id, name, tags, metrics."""
        results = self.client.search_runs(
            [self.experiment_id], f"tags.`{KIND}` = '{kind}'", order_by=["attributes.start_time ASC"]
        )
        return [
            {
                "run_id": r.info.run_id,
                "name": r.info.run_name,
                "tags": dict(r.data.tags),
                "metrics": dict(r.data.metrics),
            }
            for r in results
        ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
