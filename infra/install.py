"""Makes .venv and installs the pinned requirements with uv; `lock` compiles those pins. Standard library only.

    python infra/install.py          install, unless nothing has changed since the last time
    python infra/install.py lock     pyproject.toml -> requirements.txt (LOCK_ARGS="--upgrade" renews the pins)

uv does not read pip's configuration, so what pip is told about places to install from is handed over to it.
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
ALIVE = 20.0  # seconds between two signs of life
OLDEST, NEWEST = (3, 11), (3, 13)
# torch from PyPI names CUDA's libraries as dependencies on Linux only; a CPU build has none, so no pin may ask for them
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
    """Brings .venv in line with SOURCES; does nothing if it is already."""
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
    """Writes requirements.txt for every platform and Python from 3.11 on, with nothing of this machine in it."""
    environ = prepare()
    target = REPO / "requirements.txt"
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "requirements.txt"
        if target.exists():
            compiled.write_text(target.read_text())  # uv keeps the pins that it finds in its output file
        wanted = ["--extra", "dev", "--universal", "--python-version", "3.11", "--no-annotate", "--no-header"]
        private = ["--no-emit-index-url", "--no-emit-find-links", "--quiet", "-o", str(compiled)]
        uv(
            ["pip", "compile", "pyproject.toml", *wanted, *private, *shlex.split(os.environ.get("LOCK_ARGS", ""))],
            environ,
        )
        target.write_text(portable(compiled.read_text()))


def portable(compiled: str) -> str:
    """The pins without accelerator libraries and without the local version of a CPU build."""
    lines = [line.replace("+cpu", "") for line in compiled.splitlines() if not ACCELERATOR.match(line)]
    return "\n".join(lines) + "\n"


def prepare() -> dict[str, str]:
    """Makes .venv with uv in it; returns the environment to run uv in."""
    python = VENV / "bin" / "python"
    if _version(python) != sys.version_info[:2]:
        print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        if made.returncode:
            print("flightdeck: this Python lacks venv; on Debian and Ubuntu: apt install python3-venv", file=sys.stderr)
            made.check_returncode()
    if not (VENV / "bin" / "uv").exists():
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV], check=True)
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True)
    return {**os.environ, "VIRTUAL_ENV": str(VENV), **handed_over(listed.stdout, os.environ)}


def uv(arguments: list[str], environ: Mapping[str, str]) -> None:
    """Run uv, which by itself writes a line a package: only its errors are shown, and that it is still at work."""
    quiet = [] if environ.get(VERBOSE) else ["--quiet"]
    command, began = [str(VENV / "bin" / "uv"), *quiet, *arguments], time.monotonic()
    with subprocess.Popen(command, cwd=REPO, env=environ) as process:
        while True:
            try:
                code = process.wait(ALIVE)
                break
            except subprocess.TimeoutExpired:
                print(f"  still at it after {time.monotonic() - began:.0f} s", flush=True)
    if code:
        raise subprocess.CalledProcessError(code, command)


def _version(python: Path) -> tuple[int, ...] | None:
    """None if there is no such interpreter, or if it does not run (any more)."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, answer.stdout.split()))


def handed_over(pip_config: str, environ: Mapping[str, str]) -> dict[str, str]:
    """uv's variables for what pip is configured with.

    Args:
        pip_config: what `pip config list` prints: pip's files and PIP_* variables, as `level.key='value'`.
        environ: uv's own variables that are set here are left alone.
    """
    pip = _settings(pip_config)
    links = [place for text in pip.get("find-links", "").split() if (place := _local(text))]
    default = [place for text in pip.get("index-url", "").split() if (place := _index(text))]
    extra = [place for text in pip.get("extra-index-url", "").split() if (place := _index(text))]
    wanted = {
        "UV_FIND_LINKS": ",".join(links),
        "UV_DEFAULT_INDEX": " ".join(default[:1]),
        "UV_INDEX": " ".join(extra),
        # pip takes the best version of all indexes, uv by default the first index that has the name
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
    }
    return {name: value for name, value in wanted.items() if value and not environ.get(name)}


def _settings(pip_config: str) -> dict[str, str]:
    """Key -> value; a variable outranks the [install] section of a file, and that one outranks [global], as in pip."""
    found: dict[str, str] = {}
    for level in ("global.", "install.", ":env:."):
        for line in pip_config.splitlines():
            name, separator, value = line.partition("=")
            if separator and name.startswith(level):
                found[name.removeprefix(level)] = str(ast.literal_eval(value))
    return found


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
