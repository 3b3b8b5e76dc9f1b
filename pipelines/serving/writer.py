"""This process as a writer of the prediction log: it says up to which instant it has logged everything."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.clock import ReplayClock
from pipelines.context import Context
from pipelines.failure import one_line

log = logging.getLogger(__name__)
EVERY = 0.5  # seconds between two watermarks
PATIENCE = 2.0  # seconds to wait for pending writes when the process ends
AHEAD = timedelta(hours=1)  # that the clock of another writer may be; one further ahead was wrong


class LogWriter:
    """Gives instants to logged rows, and keeps this process's watermark in the records behind them.

    Until the rows of an instant are committed, no watermark passes it; so a reader of the log up to the least watermark
    of all writers misses no row. Time does not step back behind a watermark.

    The name is of this host and of a place there, which the next process takes over: a server that is started again
    after it died goes on as the same writer. In a replay there are no watermarks: its clock stands still until every
    call is answered.
    """

    def __init__(self, context: Context, every: float = EVERY) -> None:
        self._clock, self._writers, self._every = context.clock, context.writers, every
        self._keeps = not isinstance(context.clock, ReplayClock)
        self._lock = threading.Lock()
        self._written = threading.Condition(self._lock)
        self._open: dict[object, datetime] = {}
        self._watermark: datetime | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._place = WriterPlace(f"{context.settings.records} {context.usecase.name}")
        self.name = ""

    def begin(self) -> None:
        """Become a writer, before anything is logged."""
        if self._keeps:
            self.name = self._place.take()
            now = self._clock.now()
            # an instant that the judge may have passed already stays passed, also where this clock is behind
            passed = [one.watermark for one in self._writers.all() if one.watermark - now < AHEAD]
            self._watermark = max(passed, default=None)
            self._advance()
            self._thread = threading.Thread(target=self._keep_advancing, name="log writer", daemon=True)
            self._thread.start()

    @contextmanager
    def writing(self) -> Iterator[datetime]:
        """A context manager of the instant for rows that are in the log when it ends."""
        if not self._keeps:
            yield self._clock.now()
            return
        key = object()
        with self._lock:
            now = self._clock.now()
            at = max(now, self._watermark) if self._watermark else now
            self._open[key] = at
        try:
            yield at
        finally:
            with self._written:
                del self._open[key]
                self._written.notify_all()

    def end(self) -> None:
        """End as a writer. Writes that are pending for too long are left to the next process in this place."""
        self._ended.set()
        if self._thread:
            self._thread.join()
            with self._written:
                is_written = self._written.wait_for(lambda: not self._open, PATIENCE)
            if is_written:
                with suppress(Exception):  # as above
                    self._writers.end(self.name, self._clock.now())
            self._place.leave()

    def _keep_advancing(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._advance()
            except Exception as error:  # it holds the judge meanwhile
                log.error("the watermark of %s: %s", self.name, one_line(error))

    def _advance(self) -> None:
        with self._lock:
            watermark = min([self._clock.now(), *self._open.values()])
            self._watermark = max(watermark, self._watermark or watermark)
        self._writers.advance(self.name, self._watermark)


class WriterPlace:
    """A place among those of this host's processes that write one log; a process that dies leaves it.

    Args:
        log: what tells the log from others.
    """

    def __init__(self, log: str) -> None:
        digest = sha256(log.encode()).hexdigest()[:16]
        self._folder = Path(tempfile.gettempdir()) / f"flightdeck-{os.getuid()}-{digest}"
        self._lock: FileLock | None = None

    def take(self) -> str:
        """Take the first one that is free, and give its name."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        number = 0
        while True:
            number += 1
            lock = FileLock(self._folder / f"{number}.lock", timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            self._lock = lock
            return f"{socket.gethostname()[:80]}/{self._identity()}/{number}"

    def _identity(self) -> str:
        """Tells this folder from those of other containers, users or names of the log; made once."""
        file = self._folder / "identity"
        with FileLock(self._folder / "identity.lock"):
            if not file.exists():
                file.write_text(os.urandom(6).hex())
            return file.read_text()

    def leave(self) -> None:
        if self._lock:
            self._lock.release()
