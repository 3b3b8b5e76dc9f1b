"""Tables for a person to read."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show(heads: Sequence[str], rows: Sequence[Sequence[object]], title: str) -> None:
    """Print rows under a title; empty heads are left out, and the last column takes what does not fit."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=any(heads), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads[:-1]:
        table.add_column(head, no_wrap=True)
    table.add_column(heads[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
