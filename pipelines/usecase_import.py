"""The import of a team's use case, by the name of its module."""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from typing import Any

from pipelines.errors import FlightdeckError, InvalidInput
from pipelines.usecase import UseCase


def load_usecase(path: str) -> UseCase:
    """The use case that the module `path` exports as `USECASE`.

    Raises:
        InvalidInput: if there is no such module or export, or the module fails to import.
    """
    try:
        usecase: Any = importlib.import_module(path).USECASE
    except (Exception, SystemExit) as error:  # a team's code: its exit must not end this process
        raise InvalidInput(
            f"usecase: {path!r} cannot be loaded ({in_one_line(error)}); correct it, or name another "
            "module that exports USECASE"
        ) from error
    return usecase  # type: ignore[no-any-return]


def in_one_line(error: BaseException) -> str:
    """An error in one line: its type, its message and the line that raised it, or that called the library."""
    message = " ".join(str(error).split())[:500]
    if isinstance(error, FlightdeckError):
        return message
    libraries = (*map(sysconfig.get_path, ("stdlib", "purelib")), "<", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries)]
    where = "".join(f" at {frame.filename}:{frame.lineno}" for frame in frames[-1:])
    return f"{type(error).__name__}{f': {message}' if message else ''}{where}"
