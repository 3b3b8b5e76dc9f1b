"""Requests to an API: bounded in time and size, retried while the server is busy, the token sent to its origin only."""

from __future__ import annotations

import logging
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from pipelines.errors import CorruptData, InvalidInput, MissingData, Unavailable
from pipelines.params.source import Http
from pipelines.redaction import hide
from pipelines.sources.addresses import origin, scrub

log = logging.getLogger(__name__)
LONGEST_PAUSE = 60.0  # seconds
REDIRECTS = 5
DOUBLINGS = 16  # of the pause, at most


class Busy(Exception):
    """A temporary failure, worth a retry: status 429 or 5xx, or no answer at all."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class RequestRefused(MissingData):
    """A permanent failure: a retry would get the same answer."""


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: loading them takes longer than most requests."""
    return httpx.create_ssl_context()


class Client:
    """A client of the API of `settings`, used as a context manager.

    The bearer token goes with requests to the configured origin (scheme, host and port) and with no other.
    """

    def __init__(self, settings: Http, url: str) -> None:
        self.settings, self.url = settings, url
        self._token = self._read_token()
        self._sockets: list[socket.socket] = []  # open ones, so that they can be cut
        self._earliest = 0.0  # of the next request, on the monotonic clock
        for name in ("httpx", "httpcore"):  # they log whole URLs and headers
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self._http = httpx.Client(
                verify=_certificates(),
                timeout=settings.timeout_seconds,
                follow_redirects=True,
                max_redirects=REDIRECTS,
                event_hooks={"request": [self._authorize]},
            )
        except (ValueError, httpx.InvalidURL, ImportError) as error:  # ImportError: socks
            raise InvalidInput(
                f"a proxy (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) cannot be used ({error}); correct or unset it"
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self._http.close()

    def ask(self, url: httpx.URL) -> bytes:
        """The body of the answer.

        Raises:
            RequestRefused: if the server has no such page.
            Unavailable: if it gives no answer in all attempts.
            InvalidInput: if it refuses the token.
            CorruptData: if the answer is larger than allowed.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(Busy),
            stop=stop_after_attempt(self.settings.attempts),
            wait=_pause,
            before_sleep=lambda state: log.warning("%s: %s; asking again", scrub(self.url), _why(state)),
        )
        try:
            return attempts(self._get, url)
        except Exception as error:
            cause = getattr(error, "last_attempt", None)
            if cause is None:
                raise
            raise Unavailable(
                f"{scrub(self.url)} gave no answer in {self.settings.attempts} attempts ({cause.exception()}); see "
                "that it is up, and run the step again"
            ) from None

    def is_ours(self, url: httpx.URL) -> bool:
        """Whether a URL is of the configured origin, and names no user of its own."""
        ours = httpx.URL(self.url)
        same = origin(url.scheme, url.host, url.port) == origin(ours.scheme, ours.host, ours.port)
        return same and url.userinfo == ours.userinfo

    def _read_token(self) -> str | None:
        name = self.settings.token_env
        if name is None:
            return None
        token = os.environ.get(name, "").strip()
        hide(token)
        if not token:
            raise InvalidInput(f"{name} is not set; it holds the token of {scrub(self.url)}")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidInput(f"{name} holds a character that tokens cannot have (not shown); correct it")
        return token

    def _authorize(self, request: httpx.Request) -> None:
        """Before every request, redirected ones included."""
        request.headers.pop("Authorization", None)
        if not self.is_ours(request.url):
            request.headers.pop("Cookie", None)
        elif self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"

    def _get(self, url: httpx.URL) -> bytes:
        time.sleep(max(0.0, self._earliest - time.monotonic()))
        self._earliest = time.monotonic() + 1 / self.settings.per_second
        timeouts = httpx.Timeout(self.settings.timeout_seconds).as_dict()
        request = self._http.build_request("GET", url, extensions={"timeout": timeouts, "trace": self._trace})
        try:
            with self._in_time() as late:
                answer = self._http.send(request, stream=True)
                try:
                    body = self._body(answer)
                finally:
                    answer.close()
        except httpx.UnsupportedProtocol as error:
            raise self._no_answer(error) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Busy(
                f"no whole answer in {self.settings.answer_seconds:g} seconds" if late else self._clean(repr(error))
            ) from None
        except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:
            raise self._no_answer(error) from None
        return self._accepted(answer, body)

    def _no_answer(self, error: Exception) -> MissingData:
        return MissingData(f"{scrub(self.url)} gives no answer ({self._clean(str(error))}); correct source.url")

    def _accepted(self, answer: httpx.Response, body: bytes) -> bytes:
        status = answer.status_code
        if status == 429 or status >= 500:
            raise Busy(f"status {status}", _retry_after(answer.headers))
        if status in (401, 403):
            raise InvalidInput(
                f"{scrub(self.url)} refuses us ({status}); correct {self.settings.token_env or 'token_env'}"
            )
        if status != 200:
            raise RequestRefused(f"{scrub(self.url)} answers {status}; correct source.url and source.query")
        return body

    def _body(self, answer: httpx.Response) -> bytes:
        most, body = self.settings.answer_megabytes * 1e6, bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > most:
                raise CorruptData(
                    f"{scrub(self.url)} answers with more than {self.settings.answer_megabytes:g} MB; ask for smaller "
                    "pages by source.query, or raise answer_megabytes"
                )
        return bytes(body)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._sockets = [one for one in self._sockets if one.fileno() >= 0]
            if (connection := info["return_value"].get_extra_info("socket")) is not None:
                self._sockets.append(connection)

    @contextmanager
    def _in_time(self) -> Iterator[list[bool]]:
        """Cut the connections when the answer is late: a server may send a byte now and then, and never end.

        Yields:
            A list that is empty until the connections are cut.
        """
        late: list[bool] = []

        def cut_connections() -> None:
            late.append(True)
            for connection in self._sockets:
                with suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.settings.answer_seconds, cut_connections)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _clean(self, message: str) -> str:
        message = scrub(message)
        return (message if self._token is None else message.replace(self._token, "..."))[:300]


def _retry_after(headers: httpx.Headers) -> float | None:
    """The seconds that the header names, as a number or a date; None where it names neither."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            until, now = parsedate_to_datetime(text), headers.get("date")
            start = parsedate_to_datetime(now) if now else datetime.now(UTC)  # the server's own clock, if it says
            seconds = (until - start).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: as the server asks, else half a second, doubled at every attempt."""
    error = state.outcome.exception() if state.outcome else None
    pause = error.pause if isinstance(error, Busy) else None
    return min(LONGEST_PAUSE, pause if pause is not None else 0.5 * 2.0 ** min(DOUBLINGS, state.attempt_number - 1))


def _why(state: RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else ""
