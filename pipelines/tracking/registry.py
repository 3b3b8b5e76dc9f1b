"""The model registry: one registered model for each use case, its versions and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.artifacts.run_files import DIGESTS, REGISTRATION
from pipelines.errors import InvalidInput, MissingData
from pipelines.records import CHALLENGER, CHAMPION
from pipelines.tracking import description, integrity
from pipelines.tracking.library import open_mlflow
from pipelines.tracking.runs import Tracker
from pipelines.tracking.version import ModelVersion

ALIASED = "flightdeck.aliased"  # on a version whose aliases were set: a late retry must not move them again


class ModelRegistry:
    """Versions of one use case's registered model, in the same MLflow as the runs of `tracker`."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.name = tracker.name

    def register(self, run_id: str, tags: Mapping[str, str], files: integrity.Digests | None = None) -> ModelVersion:
        """Register the model of a candidate's run; a model with the same `sha256` and `model_uri` is registered once.

        The version gets no alias: `nominate` sets it, once everything that belongs to the version is written.

        Args:
            tags: at least model_uri, evaluation_uri, training_set_uri and sha256.
            files: sha256 of all files of the version. They are stored in its run, and a tag seals them.

        Raises:
            MissingData: if there is no such run, or it has no model.
            InvalidInput: if the run is of another model.
        """
        identity = (tags["sha256"], tags["model_uri"])
        with self.tracker.alone():
            same = [v for v in self.versions() if (v.sha256, v.model_uri) == identity]
            return same[0] if same else self.require(self._create(run_id, tags, files))

    def nominate(self, version: str) -> ModelVersion:
        """Give a version the alias `challenger`, and also `champion` if no version has that.

        Done once: neither a late retry nor a version older than another moves an alias.
        """
        with self.tracker.alone():
            newer = any(int(v.version) > int(version) for v in self.versions())
            if not newer and not self.require(version).tags.get(ALIASED):
                self.set_alias(CHALLENGER, version)
                if CHAMPION not in self.aliases():
                    self.set_alias(CHAMPION, version)
                self.tracker.client.set_model_version_tag(self.name, version, ALIASED, "true")
            return self.require(version)

    def _create(self, run_id: str, tags: Mapping[str, str], files: integrity.Digests | None) -> str:
        from mlflow.exceptions import MlflowException

        model_id = self._logged_model(run_id, tags)
        client = self.tracker.client
        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        open_mlflow(self.tracker.uri)  # MLflow looks up the logged model at this process's place, not at the client's
        parent = self.aliases().get(CHAMPION)
        lineage = {**tags, **({"parent_version": parent} if parent else {})}
        if files is not None:  # before the version, so that it always has them
            content, lineage[integrity.SEAL] = integrity.seal_digests(files)
            self.tracker.attach(run_id, REGISTRATION, {DIGESTS: content})
        version = client.create_model_version(
            self.name,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags=lineage,
            description=description.block(lineage, self.tracker.run_metrics(run_id)),
            model_id=model_id,
        )
        return str(version.version)

    def _logged_model(self, run_id: str, tags: Mapping[str, str]) -> str:
        """Id of the model that a candidate's run holds."""
        found = self.tracker.run_tags(run_id)
        other = {key: found.get(key) for key in ("model_uri", "sha256") if found.get(key) != tags[key]}
        if other:
            raise InvalidInput(f"MLflow run {run_id} is another model's ({other}); give the run of {tags['model_uri']}")
        run = self.tracker.client.get_run(run_id)
        if run.outputs is None or not run.outputs.model_outputs:
            raise MissingData(f"MLflow run {run_id} holds no model; log the candidate again")
        return str(run.outputs.model_outputs[-1].model_id)

    def versions(self) -> list[ModelVersion]:
        """Every version that the chain registered, oldest first."""
        results = self.tracker.client.search_model_versions(f"name = '{self.name}'")
        aliases = self.aliases()
        versions = [_version(v, aliases) for v in results if {"sha256", "model_uri"} <= set(v.tags)]
        return sorted(versions, key=lambda v: int(v.version))

    def resolve(self, alias: str | None = None, version: str | None = None) -> ModelVersion | None:
        """The version that has the alias, or the number; None where there is none."""
        number = version if version is not None else self.aliases().get(alias or CHAMPION)
        return next((v for v in self.versions() if v.version == number), None)

    def require(self, version: str) -> ModelVersion:
        """The version with this number.

        Raises:
            MissingData: if there is none, naming the existing ones.
        """
        model_version = self.resolve(version=version)
        if model_version is None:
            numbers = ", ".join(one.version for one in self.versions()) or "none"
            raise MissingData(f"{self.name} has no version {version} of the chain; there are: {numbers}")
        return model_version

    def aliases(self) -> dict[str, str]:
        """alias -> version."""
        from mlflow.exceptions import MlflowException

        try:
            model = self.tracker.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in model.aliases.items()}

    def set_alias(self, alias: str, version: str) -> None:
        self.tracker.client.set_registered_model_alias(self.name, alias, version)

    def drop_alias(self, alias: str, version: str) -> None:
        """Remove an alias from a version; an alias that points to another version stays."""
        if self.aliases().get(alias) == version:
            self.tracker.client.delete_registered_model_alias(self.name, alias)

    def annotate(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags on a version, and update our block of its description; text around the block stays."""
        client = self.tracker.client
        for key, value in tags.items():
            client.set_model_version_tag(self.name, version, key, value[:5000])
        current = client.get_model_version(self.name, version)
        before = current.description or ""
        after = description.insert_block(before, description.block(current.tags, self._metrics(str(current.run_id))))
        if after != before:
            client.update_model_version(self.name, version, after)

    def _metrics(self, run_id: str) -> dict[str, float]:
        """The metrics of a run; empty if it was deleted for good."""
        from mlflow.exceptions import MlflowException

        try:
            return self.tracker.run_metrics(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def _version(result: Any, aliases: Mapping[str, str]) -> ModelVersion:
    names = tuple(sorted(alias for alias, number in aliases.items() if number == str(result.version)))
    return ModelVersion(str(result.version), str(result.run_id), dict(result.tags), names)
