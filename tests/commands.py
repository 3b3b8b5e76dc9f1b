"""Commands in processes that may be killed, forked from one that has imported the heavy libraries already.

Tests that start `python -m` show that a command also starts in a fresh process.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.warm"])


@dataclass(frozen=True)
class Command:
    """A running process; its output goes to files."""

    process: multiprocessing.process.BaseProcess
    output: Path

    def ended(self) -> bool:
        return not self.process.is_alive()

    def kill(self) -> int:
        """Kill it and give its exit code: -9, or that with which it had ended before."""
        self.process.kill()
        return self.wait().returncode

    def wait(self) -> CompletedProcess[str]:
        self.process.join()
        assert self.process.exitcode is not None
        out, err = ((self.output / name).read_text() for name in ("out", "err"))
        return CompletedProcess(self.process.name, self.process.exitcode, out, err)


def start(words: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> Command:
    """Begin `flightdeck WORDS`, with further variables."""
    return fork(functools.partial(_flightdeck, [str(word) for word in words]), variables)


def flightdeck(words: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run `flightdeck WORDS` to its end."""
    return start(words, variables).wait()


def dvc(place: Path, *words: str) -> str:
    """What `dvc WORDS` prints in a folder; it must succeed."""
    finished = fork(functools.partial(_dvc, place, list(words))).wait()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def fork(act: Callable[[], int], variables: Mapping[str, str] | None = None) -> Command:
    """Start a module's function in a process of its own, which exits with the status that the function returns."""
    output = Path(tempfile.mkdtemp(dir=_folder()))
    for name in ("out", "err"):
        (output / name).touch()  # a process that is killed at once writes nothing
    process = FORKS.Process(target=_run, args=(act, {**os.environ, **(variables or {})}, output), daemon=True)
    process.start()
    return Command(process, output)


@functools.cache
def _folder() -> Path:
    """The folder for the output of this process's commands."""
    folder = Path(tempfile.mkdtemp(prefix="flightdeck-commands-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _run(act: Callable[[], int], environ: dict[str, str], output: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(output / name, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # multiprocessing ignores it
    sys.exit(act())


def _dvc(place: Path, words: list[str]) -> int:
    from dvc.cli import main

    os.chdir(place)
    return int(main(words))


def _flightdeck(words: list[str]) -> int:
    from pipelines.__main__ import main

    return main(words)
