"""Names of the files that are attached to MLflow runs."""

from __future__ import annotations

PARAMS = "params.json"  # of a candidate: params.yaml, whole
ENVIRONMENT = "environment.txt"  # of a candidate: what was installed, a line each
DATA_DOCS = "data_docs"  # folder of a candidate: how its data were validated
WINDOWS = f"{DATA_DOCS}/windows.json"  # where the pages of each validated window lie
REGISTRATION = "registration"  # folder of a registered version
DIGESTS = "artifacts.json"  # in it: the digests of all files that the version rests on
