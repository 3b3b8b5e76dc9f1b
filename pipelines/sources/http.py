"""A paginated HTTP API that answers with JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa

from pipelines.errors import CorruptData
from pipelines.json_text import read_json
from pipelines.params.source import Http, fill
from pipelines.sources.addresses import scrub
from pipelines.sources.client import Client, RequestRefused
from pipelines.sources.source import Delivery, Piece, StaleBookmark
from pipelines.sources.values import table_of
from pipelines.usecase import RawTable

Record = dict[str, Any]  # one of an answer, as JSON has it


class HttpSource:
    """Reads page after page; a request is retried when the server is busy or away.

    A bookmark is the cursor of the next page. The number of a page is a bookmark only where the source declares
    `stable_pages`: otherwise a record added or removed before it shifts the records of every later page.

    A read always ends: with the last page, or with an error when a page or a cursor comes a second time, after
    `max_pages`, or after `max_empty_pages` in a row.
    """

    def __init__(self, settings: Http, timezone: str) -> None:
        self.settings = settings
        self.timezone = timezone

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        url = fill(self.settings.url, {"table": quote(delivery.table.name, safe="")})
        page: str | None = delivery.bookmark or json.dumps(
            self.settings.first_page if self.settings.next is None else None
        )
        can_resume = self.settings.next is not None or self.settings.stable_pages
        going_on, guard = delivery.bookmark is not None, _PageGuard(url, self.settings)
        query = self._query(delivery)
        with Client(self.settings, url) as client:
            while page is not None:
                guard.page(page)
                try:
                    answer = _parse(client.ask(self._request(client, query, json.loads(page))), url)
                except RequestRefused as error:
                    raise (StaleBookmark(str(error)) if going_on else error) from None
                going_on = False
                records = self._records(answer, url)
                guard.records(records)
                page = self._next(answer, records, json.loads(page))
                # The last page has no next one, so it has no bookmark: a read after it starts over.
                yield Piece(_table(records, delivery.table, scrub(url)), page if can_resume else None)

    def _query(self, delivery: Delivery) -> dict[str, str | int]:
        window = delivery.window
        instants = {
            "start": window.start,
            "end": window.end,
            "until": window.end_at,
            "since": delivery.since or window.start_at,
        }
        values = {name: value.isoformat() for name, value in instants.items()}
        return {
            name: fill(value, values) if isinstance(value, str) else value
            for name, value in self.settings.query.items()
        }

    def _request(self, client: Client, query: dict[str, str | int], page: Any) -> httpx.URL:
        """The URL of a page, which may be a number, a cursor, a URL, or (None) the first."""
        url = httpx.URL(client.url)
        if not self._is_url(page):
            return url.copy_merge_params(query | ({} if page is None else {self.settings.page: page}))
        try:
            target = url.join(page)
        except (httpx.InvalidURL, ValueError):
            raise CorruptData(
                f"{scrub(client.url)} sends us on to {scrub(page)!r:.80}, no URL; correct source.next"
            ) from None
        if not client.is_ours(target):
            raise CorruptData(
                f"{scrub(client.url)} sends us on to {scrub(str(target))}, another host, port or scheme; its next page "
                "is not followed there, since the token is for the first alone; correct source.url or source.next"
            )
        return target

    def _is_url(self, page: Any) -> bool:
        if not isinstance(page, str):
            return False
        return (
            page.lower().startswith(("http://", "https://"))
            if self.settings.next_is is None
            else self.settings.next_is == "url"
        )

    def _records(self, answer: Any, url: str) -> list[Record]:
        records = _at(answer, self.settings.records)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise CorruptData(
                f"{scrub(url)} holds no list of records at {self.settings.records!r}; correct source.records"
            )
        return records

    def _next(self, answer: Any, records: list[Any], page: Any) -> str | None:
        if self.settings.next is None:
            return json.dumps(page + 1) if records else None
        following = _at(answer, self.settings.next)
        if following in (None, ""):
            return None
        if not isinstance(following, str | int) or isinstance(following, bool):
            raise CorruptData(
                f"{scrub(self.settings.url)} holds no cursor or URL at {self.settings.next!r} but "
                f"{type(following).__name__}; correct source.next"
            )
        return json.dumps(following)


class _PageGuard:
    """Notes the pages of one read, and refuses one that comes twice or never ends the read."""

    def __init__(self, url: str, settings: Http) -> None:
        self.url, self.settings = scrub(url), settings
        self.now: Any = None
        self._pages: set[str] = set()
        self._contents: dict[bytes, Any] = {}
        self._empty = 0  # pages in a row

    def page(self, page: str) -> None:
        """Raises CorruptData if a page is requested again, or exceeds `max_pages`."""
        again, self.now = page in self._pages, json.loads(page)
        if again:
            raise CorruptData(
                f"{self.url} names page {self._label(self.now)} as next for a second time; it would never end: correct "
                "source.next"
            )
        self._pages.add(page)
        if len(self._pages) > self.settings.max_pages:
            raise CorruptData(
                f"{self.url} has more than max_pages {self.settings.max_pages} pages, the next being "
                f"{self._label(self.now)}; correct source.next and source.page, or raise max_pages"
            )

    def records(self, records: list[Record]) -> None:
        """Raises CorruptData if the records repeat an earlier page, in any order, or too many pages were empty."""
        self._empty = 0 if records else self._empty + 1
        if self._empty > self.settings.max_empty_pages:
            raise CorruptData(
                f"{self.url} answers more than max_empty_pages {self.settings.max_empty_pages} pages in a row without "
                f"a record, the last being {self._label(self.now)}; it may never end: correct source.records and "
                "source.next, or raise max_empty_pages"
            )
        if not records:
            return
        try:
            lines = sorted({json.dumps(record, sort_keys=True) for record in records})
        except RecursionError:
            raise CorruptData(f"{self.url} nests a record too deeply; correct the source") from None
        before = self._contents.setdefault(hashlib.sha256("\n".join(lines).encode()).digest(), self.now)
        if before != self.now:
            raise CorruptData(
                f"{self.url} answers page {self._label(self.now)} with the records of page {self._label(before)}; it "
                "would never end: correct source.page, source.first_page and source.next, or have the API end with an "
                "empty page"
            )

    def _label(self, page: Any) -> str:
        if page is None:
            return "1 (the first)"
        words = str(page)
        if self.settings.next_is == "url" and "://" not in words:
            words = words.partition("?")[0]
        return repr(scrub(words))[:80]


def _parse(body: bytes, url: str) -> Any:
    try:
        return read_json(body)
    except ValueError as error:
        what = " ".join(ascii(str(error))[1:-1].split())[:200]
        raise CorruptData(f"{scrub(url)} does not answer JSON ({what}); correct source.url, or the API") from None


def _at(answer: Any, key: str) -> Any:
    for part in key.split(".") if key else ():
        answer = answer.get(part) if isinstance(answer, dict) else None
    return answer


def _table(records: list[Record], table: RawTable, source: str) -> pa.Table:
    names = list(dict.fromkeys(name for record in records for name in record)) or list(table.columns)
    return table_of(names, [[record.get(name) for record in records] for name in names], table, source)
