"""A parser of command lines that reports an error in one line. A leaf: imports no step."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pipelines.errors import InvalidInput
from pipelines.failure import line


class Parser(argparse.ArgumentParser):
    """The standard parser with errors in the form of this project."""

    def error(self, message: str) -> NoReturn:
        self.exit(InvalidInput.exit_code, f"{line(InvalidInput(f'{message}; see {self.prog} --help'))}\n")
