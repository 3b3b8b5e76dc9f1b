"""Commands in processes that may be killed, forked from one that has imported what takes them seconds.

That a command starts at all where nothing is imported yet is shown by those that tests start with `python -m`.
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
    """A process under way; what it says goes to files."""

    process: multiprocessing.process.BaseProcess
    output: Path

    def ended(self) -> bool:
        return not self.process.is_alive()

    def kill(self) -> int:
        """Its exit code once it is gone: -9, or what it had before."""
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
    """The same, to its end."""
    return start(words, variables).wait()


def dvc(place: Path, *words: str) -> str:
    """What `dvc WORDS` prints in a folder; it must succeed."""
    finished = fork(functools.partial(_dvc, place, list(words))).wait()
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def fork(act: Callable[[], int], variables: Mapping[str, str] | None = None) -> Command:
    """Begin a function of a module in a process of its own, which ends with the status that it gives."""
    output = Path(tempfile.mkdtemp(dir=_folder()))
    for name in ("out", "err"):
        (output / name).touch()  # one that is killed at once has said nothing
    process = FORKS.Process(target=_run, args=(act, {**os.environ, **(variables or {})}, output), daemon=True)
    process.start()
    return Command(process, output)


@functools.cache
def _folder() -> Path:
    """Where commands of this process say something."""
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
