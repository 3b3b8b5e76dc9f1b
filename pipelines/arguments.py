"""Command lines that complain in one line. A leaf: imports no step."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pipelines.errors import InvalidInput
from pipelines.failure import line


class Parser(argparse.ArgumentParser):
    """As the library's, but for what is told of a wrong command line."""

    def error(self, message: str) -> NoReturn:
        self.exit(InvalidInput.exit_code, f"{line(InvalidInput(f'{message}; see {self.prog} --help'))}\n")
