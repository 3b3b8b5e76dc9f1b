"""Creates .venv and installs the pinned requirements with uv; `lock` compiles those pins. Standard library only.

    python infra/install.py          install, unless nothing has changed since the last time
    python infra/install.py lock     pyproject.toml -> requirements.txt (LOCK_ARGS="--upgrade" renews the pins)

uv does not read pip's configuration, so pip's settings of package indexes are passed on to it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VENV = REPO / ".venv"
STAMP = VENV / ".installed"
SOURCES = ("requirements.txt", "pyproject.toml")
UV = "uv>=0.9,<1"
VERBOSE = "FLIGHTDECK_VERBOSE"  # set it to see what is installed
ALIVE = 20.0  # seconds between two messages of progress
OLDEST, NEWEST = (3, 11), (3, 13)
# torch from PyPI depends on CUDA's libraries on Linux only; a CPU build does not, so no pin may require them
ACCELERATOR = re.compile(r"^(nvidia-|cuda-|triton\b)")


def main(argv: list[str]) -> int:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        print(
            f"flightdeck: needs Python 3.11, 3.12 or 3.13; {sys.executable} is {sys.version.split()[0]}",
            file=sys.stderr,
        )
        return 2
    try:
        if argv == ["lock"]:
            lock()
        elif not argv:
            install()
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except subprocess.CalledProcessError as error:
        print(f"flightdeck: failed: {shlex.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Bring .venv in line with SOURCES; do nothing if it is."""
    digest = hashlib.sha256(b"".join((REPO / name).read_bytes() for name in SOURCES) + sys.version.encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == digest:
        STAMP.touch()  # make compares times
        return
    environ, began = prepare(), time.monotonic()
    pins = sum(1 for line in (REPO / SOURCES[0]).read_text().splitlines() if "==" in line)
    print(f"Installing {pins} packages into .venv ({VERBOSE}=1 lists them).", flush=True)
    uv(["pip", "install", "-r", SOURCES[0]], environ)
    uv(["pip", "install", "--no-deps", "-e", "."], environ)
    STAMP.write_text(digest)
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)


def lock() -> None:
    """Write requirements.txt for every platform and Python from 3.11 on, without anything of this machine."""
    environ = prepare()
    target = REPO / "requirements.txt"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requirements.txt"
        if target.exists():
            output.write_text(target.read_text())  # uv keeps the pins that it finds in its output file
        options = ["--extra", "dev", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"]
        private = ["--no-emit-index-url", "--no-emit-find-links", "--quiet", "-o", str(output)]
        uv(
            ["pip", "compile", "pyproject.toml", *options, *private, *shlex.split(os.environ.get("LOCK_ARGS", ""))],
            environ,
        )
        target.write_text(portable(output.read_text()))


def portable(compiled: str) -> str:
    """The pins without accelerator libraries and without the local version of a CPU build."""
    lines = [line.replace("+cpu", "") for line in compiled.splitlines() if not ACCELERATOR.match(line)]
    return "\n".join(lines) + "\n"


def prepare() -> dict[str, str]:
    """Create .venv with uv in it; returns the environment to run uv in."""
    python = VENV / "bin" / "python"
    if _version(python) != sys.version_info[:2]:
        print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
        creation = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if creation.returncode:
            print("flightdeck: this Python lacks venv; on Debian and Ubuntu: apt install python3-venv", file=sys.stderr)
            creation.check_returncode()
    if not (VENV / "bin" / "uv").exists():
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV], check=True)
    pip_config = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True)
    return {**os.environ, "VIRTUAL_ENV": str(VENV), **uv_variables(pip_config.stdout, os.environ)}


def uv(arguments: list[str], environ: Mapping[str, str]) -> None:
    """Run uv quietly, which else writes a line for each package: show its errors, and that it is still running."""
    quiet = [] if environ.get(VERBOSE) else ["--quiet"]
    command, began = [str(VENV / "bin" / "uv"), *quiet, *arguments], time.monotonic()
    with subprocess.Popen(command, cwd=REPO, env=environ) as process:
        while True:
            try:
                code = process.wait(ALIVE)
                break
            except subprocess.TimeoutExpired:
                print(f"  still running after {time.monotonic() - began:.0f} s", flush=True)
    if code:
        raise subprocess.CalledProcessError(code, command)


def _version(python: Path) -> tuple[int, ...] | None:
    """The version of an interpreter; None if it is missing or does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, answer.stdout.split()))


def uv_variables(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for pip's configuration.

    Args:
        pip_config: the output of `pip config list`: pip's files and PIP_* variables, as `level.key='value'`.
        environ: variables of uv that are set here stay as they are.
    """
    pip = _settings(pip_config)
    links = [place for text in pip.get("find-links", "").split() if (place := _local(text))]
    default = [place for text in pip.get("index-url", "").split() if (place := _index(text))]
    extra = [place for text in pip.get("extra-index-url", "").split() if (place := _index(text))]
    variables = {
        "UV_FIND_LINKS": ",".join(links),
        "UV_DEFAULT_INDEX": " ".join(default[:1]),
        "UV_INDEX": " ".join(extra),
        # pip takes the best version of all indexes, uv by default the first index that has the name
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
    }
    return {name: value for name, value in variables.items() if value and not environ.get(name)}


def _settings(pip_config: str) -> dict[str, str]:
    """Key -> value; as in pip, a variable outranks the [install] section of a file, which outranks [global]."""
    settings: dict[str, str] = {}
    for level in ("global.", "install.", ":env:."):
        for line in pip_config.splitlines():
            name, separator, value = line.partition("=")
            if separator and name.startswith(level):
                settings[name.removeprefix(level)] = str(ast.literal_eval(value))
    return settings


def _local(place: str) -> str | None:
    """A folder of wheels or the address of a page of links; None for a folder that cannot be read."""
    if place.startswith(("http://", "https://")):
        return place
    path = _path(place)
    return str(path) if path.is_dir() and os.access(path, os.R_OK | os.X_OK) else None


def _index(place: str) -> str | None:
    """An index's address; None for one on this machine that cannot be read."""
    return place if place.startswith(("http://", "https://")) or _local(place) else None


def _path(place: str) -> Path:
    if place.startswith("file:"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path))
    return Path(place).expanduser()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
