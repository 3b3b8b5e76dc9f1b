"""A paginated HTTP API that answers JSON."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from pipelines.errors import CorruptData, InvalidInput, MissingData
from pipelines.params.source import Http
from pipelines.sources.conform import from_values
from pipelines.sources.source import Delivery, Piece, StaleBookmark
from pipelines.usecase import RawTable

log = logging.getLogger(__name__)
LONGEST_PAUSE = 60.0  # seconds


class Busy(Exception):
    """An answer that may be another next time: 429, 5xx, or none at all."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class Refused(MissingData):
    """An answer that will be the same next time."""


class HttpSource:
    """Page after page, each asked for again when the server is busy or away.

    A bookmark is the page that comes next, by its cursor. A page's number is none, unless the source says that pages
    stay as they are: with a record more or less before it, every later page holds others.
    """

    def __init__(self, settings: Http) -> None:
        self.settings = settings
        self.timezone = settings.timezone
        self._earliest = 0.0  # of the next request, on the monotonic clock

    def read(self, delivery: Delivery) -> Iterator[Piece]:
        url = self.settings.url.replace("{table}", delivery.table.name)
        page: str | None = delivery.bookmark or json.dumps(
            self.settings.first_page if self.settings.next is None else None
        )
        can_resume = self.settings.next is not None or self.settings.stable_pages
        going_on = delivery.bookmark is not None
        with httpx.Client(
            timeout=self.settings.timeout_seconds, headers=self._headers(), follow_redirects=True
        ) as client:
            while page is not None:
                try:
                    answer = self._ask(client, url, self._query(delivery), json.loads(page))
                except Refused as error:
                    raise (StaleBookmark(str(error)) if going_on else error) from None
                going_on = False
                records = self._records(answer, url)
                page = self._next(answer, records, json.loads(page))
                # The last page has no next one; a read that goes on from there would find nothing, and begins anew.
                yield Piece(_table(records, delivery.table, url), page if can_resume else None)

    def _headers(self) -> dict[str, str]:
        if self.settings.token_env is None:
            return {}
        token = os.environ.get(self.settings.token_env)
        if not token:
            raise InvalidInput(f"{self.settings.token_env} is not set; it holds the token of {self.settings.url}")
        return {"Authorization": f"Bearer {token}"}

    def _query(self, delivery: Delivery) -> dict[str, str | int]:
        window = delivery.window
        known = {
            "start": window.start,
            "end": window.end,
            "until": window.end_at,
            "since": delivery.since or window.start_at,
        }
        told = {name: value.isoformat() for name, value in known.items()}
        return {
            name: value.format(**told) if isinstance(value, str) else value
            for name, value in self.settings.query.items()
        }

    def _ask(self, client: httpx.Client, url: str, query: dict[str, str | int], page: Any) -> Any:
        follows_url = self._is_url(page)
        try:
            target = str(httpx.URL(url).join(page)) if follows_url else url
        except httpx.InvalidURL as error:
            raise CorruptData(f"{url} sends us on to {page!r:.80}, no URL ({error}); correct source.next") from None
        asked = {} if follows_url else query | ({} if page is None else {self.settings.page: page})
        if httpx.URL(target).host != httpx.URL(url).host:
            raise CorruptData(f"{url} sends us on to {target}, another host; its next page is not followed there")
        attempts = Retrying(
            retry=retry_if_exception_type(Busy),
            stop=stop_after_attempt(self.settings.attempts),
            wait=_pause,
            before_sleep=lambda state: log.warning("%s: %s; asking again", url, _why(state)),
        )
        try:
            return attempts(self._get, client, target, asked)
        except Exception as error:
            cause = getattr(error, "last_attempt", None)
            if cause is None:
                raise
            raise MissingData(
                f"{url} gave no answer in {self.settings.attempts} attempts ({cause.exception()}); run the step again"
            ) from None

    def _is_url(self, page: Any) -> bool:
        if not isinstance(page, str):
            return False
        return (
            page.startswith(("http://", "https://"))
            if self.settings.next_is is None
            else self.settings.next_is == "url"
        )

    def _get(self, client: httpx.Client, url: str, query: dict[str, str | int]) -> Any:
        time.sleep(max(0.0, self._earliest - time.monotonic()))
        self._earliest = time.monotonic() + 1 / self.settings.per_second
        try:
            answer = client.get(url, params=query or None)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Busy(repr(error)) from None
        except httpx.RequestError as error:
            raise MissingData(f"{url} gives no answer ({error}); correct source.url") from None
        if answer.status_code == 429 or answer.status_code >= 500:
            after = answer.headers.get("retry-after", "")
            raise Busy(f"status {answer.status_code}", float(after) if after.isdigit() else None)
        if answer.status_code in (401, 403):
            raise InvalidInput(
                f"{url} refuses us ({answer.status_code}); correct {self.settings.token_env or 'token_env'}"
            )
        if answer.status_code != 200:
            raise Refused(f"{url} answers {answer.status_code}; correct source.url and source.query")
        try:
            return answer.json()
        except ValueError as error:
            raise CorruptData(f"{url} does not answer JSON ({error}); correct source.url") from None

    def _records(self, answer: Any, url: str) -> list[dict[str, Any]]:
        found = _at(answer, self.settings.records)
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise CorruptData(f"{url} holds no list of records at {self.settings.records!r}; correct source.records")
        return found

    def _next(self, answer: Any, records: list[Any], page: Any) -> str | None:
        if self.settings.next is None:
            return json.dumps(page + 1) if records else None
        following = _at(answer, self.settings.next)
        if following is not None and following == page:
            raise CorruptData(f"{self.settings.url} names page {page!r} as its own next; it would never end")
        return None if following in (None, "") else json.dumps(following)


def _at(answer: Any, key: str) -> Any:
    for part in key.split(".") if key else ():
        answer = answer.get(part) if isinstance(answer, dict) else None
    return answer


def _table(records: list[dict[str, Any]], table: RawTable, url: str) -> pa.Table:
    names = list(dict.fromkeys(name for record in records for name in record)) or list(table.columns)
    columns = [from_values(name, [record.get(name) for record in records], table, url) for name in names]
    return pa.table(columns, names=names)


def _pause(state: RetryCallState) -> float:
    """Seconds: as the server asks, else half a second, doubled at every attempt."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.pause if isinstance(error, Busy) else None
    return min(LONGEST_PAUSE, asked if asked is not None else 0.5 * 2.0 ** (state.attempt_number - 1))


def _why(state: RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else ""
