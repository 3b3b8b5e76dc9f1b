"""`source` of params.yaml: where the tables come from. Secrets stay in the environment, by the name given here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipelines.instants import Ambiguous
from pipelines.params.section import Count, Positive, Section

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")  # a single word in braces; other braces are text
PASSWORD = re.compile(r"://[^/?#@\s]*:[^/?#@\s]*@|(?<=http)s?://[^/?#\s]*@", re.IGNORECASE)

MOST_ROWS = 100_000_000  # a view or a stream may never end


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise ValueError(f"{name!r} is not an IANA zone; write one such as UTC or Europe/Berlin") from None
    return name


def _open(address: Any) -> Any:
    """Refuse a password, without showing it."""
    if isinstance(address, str) and PASSWORD.search(address):
        raise ValueError(
            "holds a user name or password (not shown); take it out, and give it by the environment (token_env for an "
            "API, the store's own variables for files)"
        )
    return address


def _url(address: Any) -> Any:
    if not isinstance(address, str) or not re.match(r"https?://[^/?#]", address):
        raise ValueError("is not a URL that begins with http:// or https://; correct it")
    try:
        urlsplit(address).port  # noqa: B018
    except ValueError:
        raise ValueError("is not a valid URL (not shown): its host or port cannot be read; correct it") from None
    return address


def fill(text: str, values: dict[str, str]) -> str:
    """The text with its placeholders replaced, all at once; every other brace is literal."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def placeholders(*names: str) -> AfterValidator:
    """A validator of a text, or of a mapping's texts: each placeholder must have one of these names."""

    def check(value: Any) -> Any:
        for text in value.values() if isinstance(value, dict) else [value]:
            for word in PLACEHOLDER.findall(str(text)):
                if word not in names:
                    choices = ", ".join(f"{{{name}}}" for name in names)
                    raise ValueError(f"{{{word}}} is not a placeholder; choose from {choices}, or take the braces away")
        return value

    return AfterValidator(check)


Zone = Annotated[
    str, AfterValidator(_zone), Field(min_length=1, description="IANA zone of instants that come without an offset")
]


def _several(formats: Any) -> Any:
    return (formats,) if isinstance(formats, str) else formats


Format = Annotated[str, Field(pattern="%")]


class Bundled(Section):
    """The data that ship with the use case."""

    kind: Literal["bundled"] = "bundled"


class Shaped(Section):
    """How a source's rows become the table's.

    Attributes:
        rename: the table's names of columns, by the source's own.
        leave_out: columns of the source that are not carried.
        timestamp_format: of instants and dates that are text, in place of ISO: one format as of `strptime`, or several
            of which the first that fits counts.
        timezone: of instants without an offset; the use case's by default.
        ambiguous: which of the two instants a local time is that clocks show twice, as they are set back.
        where: a condition in SQL on the table's columns, in their declared types; only rows for which it is true count.
    """

    rename: dict[str, str] = Field({})
    leave_out: tuple[str, ...] = ()
    timestamp_format: Annotated[tuple[Format, ...], BeforeValidator(_several)] = ()
    timezone: Zone | None = None
    ambiguous: Ambiguous = "refuse"
    where: str = ""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = list(self.rename.values())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rename gives {', '.join(twice)} to two columns; leave one of them out")
        if both := sorted(set(self.rename) & set(self.leave_out)):
            raise ValueError(f"{', '.join(both)} is renamed and left out; do one of the two")
        if len({"%z" in one for one in self.timestamp_format}) > 1:
            raise ValueError("some formats of timestamp_format have an offset (%z) and some have none; write one kind")
        return self


class Files(Shaped):
    """CSV or Parquet, plain or compressed, at a path or any fsspec URI.

    Attributes:
        uri: with `{table}`, and `{day}` or `{period}` where each has a file; `*` is a wildcard, everything else is
            literal.
        null_values: words of a CSV that stand for a missing value, in any column; not used for Parquet.
        incremental: whether each file holds the rows that changed in its day or period, whenever they are from; needs
            `{day}` or `{period}`.
        decimal, thousands: the signs of a CSV's numbers, as in 1.234,50.
        max_rows: most rows of one read of a table.
    """

    kind: Literal["files"]
    uri: Annotated[str, BeforeValidator(_open), Field(min_length=1), placeholders("table", "day", "period")]
    format: Literal["csv", "parquet"] | None = None  # None: by the name
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    incremental: bool = False
    max_rows: Count = MOST_ROWS

    @model_validator(mode="after")
    def _daily(self) -> Self:
        if self.incremental and not ("{day}" in self.uri or "{period}" in self.uri):
            raise ValueError(f"incremental needs one file a day or period; put {{day}} into uri {self.uri!r}")
        return self

    @model_validator(mode="after")
    def _unlike(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; leave thousands out, or change one")
        return self


class Sql(Shaped):
    """A database, by SQLAlchemy.

    Attributes:
        url_env: the environment variable that holds its URL (the URL may hold a password).
        table: the database's table or view; `{table}` stands for the use case's name.
        incremental: read changes since the watermark, by the column that the use case names as `known`.
        overlap_hours: hours before the watermark that are read again, for changes that were committed late.
        max_rows: most rows of one read of a table.
    """

    kind: Literal["sql"]
    url_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    table: Annotated[str, Field(min_length=1), placeholders("table")] = "{table}"
    schema_name: str | None = None
    batch_rows: Count = 50_000
    incremental: bool = False
    overlap_hours: Annotated[float, Field(ge=0)] = 1.0
    max_rows: Count = MOST_ROWS


class Http(Shaped):
    """An HTTP API that answers JSON, page by page.

    Attributes:
        url: with `{table}`.
        query: parameters of the first page, with `{start}`, `{end}` (local days, or beginnings of shorter periods),
            `{since}` and `{until}` (instants); all other braces are literal.
        records: key of the list of records, dotted where it is nested; "" if the answer is the list.
        next: key of the next page, a URL or a cursor; None where pages are numbered.
        next_is: which of the two it is; None: a URL if it begins with http:// or https://. Relative URLs need "url".
        stable_pages: whether a numbered page keeps its records when others are added or removed, so that an interrupted
            read can resume there. With `next` a read can always resume.
        page: name of the parameter for the page number or the cursor.
        token_env: the environment variable that holds a bearer token.
        per_second: most requests per second.
        attempts: attempts for one page; the pauses double from half a second, or follow Retry-After.
        timeout_seconds: longest silence of the server.
        answer_seconds: longest time for a whole answer, redirects included.
        answer_megabytes: largest answer, decompressed.
        max_pages: most pages of one read of a table.
        max_rows: most rows of one read of a table.
        max_empty_pages: most pages without a record in a row; more end the read with an error.
    """

    kind: Literal["http"]
    url: Annotated[str, BeforeValidator(_url), BeforeValidator(_open), placeholders("table")]
    query: Annotated[dict[str, str | int], placeholders("start", "end", "since", "until")] = Field({})
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
    answer_seconds: Positive = 300.0
    answer_megabytes: Positive = 512.0
    max_pages: Count = 100_000
    max_empty_pages: Count = 1000
    max_rows: Count = MOST_ROWS
    incremental: bool = False
    overlap_hours: Annotated[float, Field(ge=0)] = 1.0


Source = Annotated[Bundled | Files | Sql | Http, Field(discriminator="kind")]
