"""The model registry: one registered model a use case, its versions and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InvalidInput, MissingData
from pipelines.records import CHALLENGER, CHAMPION
from pipelines.tracking.library import open_mlflow
from pipelines.tracking.runs import Tracker

ALIASED = "flightdeck.aliased"  # on a version whose aliases were set: a late retry must not move them again


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


class ModelRegistry:
    """Versions of one use case's registered model, kept where `tracker` keeps its runs."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.name = tracker.name

    def register(self, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """The version for the model of a candidate's run; the same `sha256` and `model_uri` never become two.

        It is given no alias: `nominate` does that, once all that belongs to the version is there.

        Args:
            tags: at least model_uri, evaluation_uri, training_set_uri and sha256.

        Raises:
            MissingData: if there is no such run, or it holds no model.
            InvalidInput: if the run is another model's.
        """
        wanted = (tags["sha256"], tags["model_uri"])
        with self.tracker.alone():
            same = [v for v in self.versions() if (v.sha256, v.model_uri) == wanted]
            return same[0] if same else self.require(self._create(run_id, tags))

    def nominate(self, version: str) -> ModelVersion:
        """Give a version the alias `challenger`, and `champion` where there is none.

        Once: a late retry moves no alias, nor does a version that has a newer one.
        """
        with self.tracker.alone():
            newer = any(int(v.version) > int(version) for v in self.versions())
            if not newer and not self.require(version).tags.get(ALIASED):
                self.set_alias(CHALLENGER, version)
                if CHAMPION not in self.aliases():
                    self.set_alias(CHAMPION, version)
                self.tracker.client.set_model_version_tag(self.name, version, ALIASED, "true")
            return self.require(version)

    def _create(self, run_id: str, tags: Mapping[str, str]) -> str:
        from mlflow.exceptions import MlflowException

        logged = self._logged_model(run_id, tags)
        client = self.tracker.client
        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        open_mlflow(self.tracker.uri)  # MLflow looks the logged model up at this process's place, not at the client's
        parent = self.aliases().get(CHAMPION)
        lineage = {**tags, **({"parent_version": parent} if parent else {})}
        made = client.create_model_version(
            self.name,
            source=f"models:/{logged}",
            run_id=run_id,
            tags=lineage,
            description=_described(lineage, self.tracker.run_metrics(run_id)),
            model_id=logged,
        )
        return str(made.version)

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
        found = self.tracker.client.search_model_versions(f"name = '{self.name}'")
        aliases = self.aliases()
        ours = [_version(v, aliases) for v in found if {"sha256", "model_uri"} <= set(v.tags)]
        return sorted(ours, key=lambda v: int(v.version))

    def resolve(self, alias: str | None = None, version: str | None = None) -> ModelVersion | None:
        """The version that has the alias, or the number; None where there is none."""
        wanted = version if version is not None else self.aliases().get(alias or CHAMPION)
        return next((v for v in self.versions() if v.version == wanted), None)

    def require(self, version: str) -> ModelVersion:
        """The version that has the number.

        Raises:
            MissingData: naming those that there are.
        """
        found = self.resolve(version=version)
        if found is None:
            known = ", ".join(one.version for one in self.versions()) or "none"
            raise MissingData(f"{self.name} has no version {version} of the chain; there are: {known}")
        return found

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
        """Take an alias from a version; one that points elsewhere stays."""
        if self.aliases().get(alias) == version:
            self.tracker.client.delete_registered_model_alias(self.name, alias)

    def annotate(self, version: str, tags: Mapping[str, str], sentence: str) -> None:
        """Set tags on a version and add a sentence to its description, once."""
        client = self.tracker.client
        for key, value in tags.items():
            client.set_model_version_tag(self.name, version, key, value[:5000])
        description = client.get_model_version(self.name, version).description or ""
        if sentence not in description:
            client.update_model_version(self.name, version, f"{description} {sentence}".strip())


def _version(found: Any, aliases: Mapping[str, str]) -> ModelVersion:
    held = tuple(sorted(alias for alias, number in aliases.items() if number == str(found.version)))
    return ModelVersion(str(found.version), str(found.run_id), dict(found.tags), held)


def _described(tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """One sentence for the version's page."""
    known = f", on what was known by {tags['as_of']}" if "as_of" in tags else ""
    measured = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("roc_auc", "log_loss", "brier") if name in metrics)
    passed = f" Passed the gate by decision {tags['decision_id']}." if "decision_id" in tags else ""
    return f"{tags.get('family', 'model')}{known}; on its test window: {measured or 'not measured'}.{passed}"
