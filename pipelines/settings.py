"""Places and secrets, from the environment. Everything else is in params.yaml; nothing is set in both."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines.errors import InvalidInput
from pipelines.redaction import secret_parameters
from pipelines.sqlite import mlflow_uri_of, uri_of

PLACES = (
    "records_uri",
    "mlflow_uri",
    "mlflow_tracking_uri",
    "feast_registry",
    "feast_declared",
    "feast_online",
)
AMBIGUOUS = re.compile(r"^(?!https?:)[^:]+://[^/?#@]*:[^/?#@]*[/?#][^@]*@")  # either a password, or a port and a path


class Settings(BaseSettings):
    """The places of all stores. The defaults need no server: local files and SQLite under `home`.

    Attributes:
        feast_online: a path (SQLite) or redis://[[USER:]PASSWORD@]HOST[:PORT][/DB]; rediss:// with TLS.
        mlflow_tracking_uri: MLflow's own variable MLFLOW_TRACKING_URI, read where FLIGHTDECK_MLFLOW_URI is unset.
        mlflow_run_id: MLFLOW_RUN_ID, which `mlflow run` sets in the commands of an MLproject.
        records_fsync: whether each commit to records in SQLite waits for the disk.
        serving_workers: processes of one model server, behind one port.
        serving_max_batch: most rows of one call, predictions or outcomes.
        serving_max_bytes: most bytes of the body of one call.
        serving_max_waiting: most rows that wait for their answer; what comes beyond them is refused.
        serving_patience: seconds that a call may wait for its answer to begin.
    """

    model_config = SettingsConfigDict(env_prefix="FLIGHTDECK_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Path("var")
    params: str = "params.yaml"  # one file per use case, separated by os.pathsep
    store_uri: str = ""
    records_uri: str = ""
    records_fsync: bool = False
    mlflow_uri: str = ""
    mlflow_tracking_uri: str = Field("", validation_alias="MLFLOW_TRACKING_URI")
    mlflow_run_id: str = Field("", validation_alias="MLFLOW_RUN_ID")
    feast_registry: str = ""
    feast_declared: str = ""
    feast_online: str = ""
    dvc_remote: str = ""
    serving_host: str = "127.0.0.1"
    serving_port: Annotated[int, Field(ge=1, le=65535)] = 8090
    serving_workers: Annotated[int, Field(ge=1, le=64)] = 1
    serving_max_batch: Annotated[int, Field(ge=1)] = 1000
    serving_max_bytes: Annotated[int, Field(ge=1)] = 4_000_000
    serving_max_waiting: Annotated[int, Field(ge=1)] = 20_000
    serving_patience: Annotated[float, Field(gt=0)] = 10.0

    @field_validator("home")
    @classmethod
    def _literal(cls, home: Path) -> Path:
        if not _is_text(str(home)):
            raise ValueError("its name is not valid UTF-8, so URIs and records cannot hold it; choose another")
        if os.path.expandvars(home) != str(home):
            raise ValueError("libraries would put a variable's value in place of its `$`; choose a folder without it")
        return home

    @field_validator(*PLACES)
    @classmethod
    def _whole(cls, place: str, info: ValidationInfo) -> str:
        """Refuse URIs that libraries parse differently: some would quote a part of a password."""
        if info.field_name == "mlflow_tracking_uri" and info.data.get("mlflow_uri"):
            return place  # it is not used
        if "://" in place and not place.startswith("databricks") and not is_whole(place):
            raise ValueError(
                "not a URI; write special characters of a user or password as %40 (@), %3A (:), %5B ([) and so on"
            )
        return place

    @field_validator("store_uri", "dvc_remote")
    @classmethod
    def _without_password(cls, uri: str) -> str:
        """Refuse a password: these URIs stand in records, on pages and in the configuration file of DVC."""
        parts = urlsplit(uri if "[" not in uri else "")
        if parts.password or secret_parameters(parts.query):
            raise ValueError("it holds a password, which would stand in every record; give it by the store's own means")
        return uri

    @property
    def root(self) -> Path:
        return self.home.expanduser().absolute()

    @property
    def store(self) -> str:
        return self.store_uri or str(self.home.expanduser() / "data")  # a relative home keeps paths relative

    @property
    def records(self) -> str:
        return self.records_uri or uri_of(self.root / "records.db")

    @property
    def mlflow(self) -> str:
        return self.mlflow_uri or self.mlflow_tracking_uri or mlflow_uri_of(self.root / "mlflow" / "mlflow.db")

    @property
    def mlflow_parent(self) -> str | None:
        """The run of `mlflow run` that this process belongs to; None if it belongs to another tracking server."""
        return (self.mlflow_run_id or None) if self.mlflow == self.mlflow_tracking_uri else None

    @property
    def versions_remote(self) -> str:
        return self.dvc_remote or str(self.root / "dvc-remote")

    def registry(self, usecase: str) -> str:
        return self.feast_registry or uri_of(self.root / "feast" / usecase / "registry.db")

    def declared_registry(self, usecase: str) -> str:
        """The registry of everything that is declared to Feast, functions included; the chain does not read it."""
        return self.feast_declared or uri_of(self.root / "feast" / usecase / "declared.db")

    def online_path(self, usecase: str) -> str:
        return self.feast_online or str(self.root / "feast" / usecase / "online.db")


def load_settings(**overrides: object) -> Settings:
    """Settings of this process.

    Raises:
        InvalidInput: naming the variable that cannot be used.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        name = name if name.startswith("MLFLOW_TRACKING") else f"FLIGHTDECK_{name}"
        what = first["msg"].removeprefix("Value error, ")
        value = " (not shown: it may hold a password)" if "://" in str(first["input"]) else f"={first['input']!r}"
        raise InvalidInput(f"{name}{value}: {what}; correct or unset it") from None


def is_whole(uri: str) -> bool:
    """Whether all libraries parse the same user, password, host and port from a URI."""
    try:
        parts = urlsplit(uri)
        return parts.netloc.count("@") <= 1 and (parts.port or 0) >= 0 and not AMBIGUOUS.match(uri)
    except ValueError:  # a malformed port, or brackets
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
