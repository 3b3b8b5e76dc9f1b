"""How the demo shows running tasks."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infra.story import LiveLine, marks

TASKS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,30}(\[[0-9]\])?", fullmatch=True),
    st.sampled_from(["success", "failed", "running", "skipped", "none"]),
    min_size=1,
    max_size=25,
)


@given(TASKS, st.integers(40, 220))
def test_no_task_name_is_split_at_any_width(tasks: dict[str, str], width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    with LiveLine(console) as show:
        show("Data, 2013-01-01 to 2013-09-01", marks(tasks, console.width), 12.0)
    lines = out.getvalue().splitlines()[1:]
    words = [word for line in lines for word in line.split()]
    assert sorted(words[1::2]) == sorted(tasks) and set(words[::2]) <= {*"✓✗-▸·"}
    assert all(len(line) <= width for line in lines)
