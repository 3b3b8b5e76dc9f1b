"""`source` of params.yaml: where the tables come from. Secrets stay in the environment, by the name given here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.params.section import Count, Positive, Section

Zone = Annotated[str, Field(min_length=1, description="IANA zone of instants that come without an offset")]


class Bundled(Section):
    """The data that come with the use case."""

    kind: Literal["bundled"] = "bundled"


class Files(Section):
    """CSV or Parquet, plain or compressed, at a path or any fsspec URI.

    Attributes:
        uri: with `{table}`, and `{day}` where there is a file a day; `*` matches any name.
        incremental: each day's file holds what changed that day, of whatever day; needs `{day}`.
    """

    kind: Literal["files"]
    uri: Annotated[str, Field(min_length=1)]
    format: Literal["csv", "parquet"] | None = None  # None: by the name
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("", "NA")
    timezone: Zone = "UTC"
    incremental: bool = False

    @model_validator(mode="after")
    def _daily(self) -> Self:
        if self.incremental and "{day}" not in self.uri:
            raise ValueError(f"incremental needs one file a day; put {{day}} into uri {self.uri!r}")
        return self


class Sql(Section):
    """A database, by SQLAlchemy.

    Attributes:
        url_env: the environment variable that holds its URL (the URL may hold a password).
        table: its table or view, with `{table}` for ours.
        incremental: read what changed since the watermark, by the column that the use case names as `known`.
        overlap_hours: of time before the watermark that are read again, for changes that were committed late.
    """

    kind: Literal["sql"]
    url_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    table: Annotated[str, Field(min_length=1)] = "{table}"
    schema_name: str | None = None
    batch_rows: Count = 50_000
    timezone: Zone = "UTC"
    incremental: bool = False
    overlap_hours: Annotated[float, Field(ge=0)] = 1.0


class Http(Section):
    """An HTTP API that answers JSON, page by page.

    Attributes:
        url: with `{table}`.
        query: parameters of the first page, with `{start}`, `{end}` (local days), `{since}` and `{until}` (instants).
        records: key of the list of records, dotted where it is nested; "" where the answer is the list.
        next: key of the next page, a URL or a cursor; None where pages are numbered.
        next_is: which of the two it is; None: a URL if it begins with http:// or https://. Relative URLs need "url".
        stable_pages: whether a numbered page holds the same records whatever is added or removed meanwhile, so that a
            read that was cut short may go on from it. One by `next` always does.
        page: parameter that takes the page number or the cursor.
        token_env: the environment variable that holds a bearer token.
        per_second: requests at most.
        attempts: of one page, the pauses between them doubling from half a second (or as Retry-After says).
    """

    kind: Literal["http"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    query: dict[str, str | int] = Field({})
    records: str = ""
    next: str | None = None
    next_is: Literal["url", "cursor"] | None = None
    stable_pages: bool = False
    page: str = "page"
    first_page: int = 1
    token_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    per_second: Positive = 5.0
    attempts: Count = 6
    timeout_seconds: Positive = 30.0
    timezone: Zone = "UTC"
    incremental: bool = False
    overlap_hours: Annotated[float, Field(ge=0)] = 1.0


Source = Annotated[Bundled | Files | Sql | Http, Field(discriminator="kind")]
