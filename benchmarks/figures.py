"""Results whose ground has changed since they were measured, and the pages that quote them.

    python -m benchmarks.figures [--check]

Marks every such result as stale under its title, with the changes, and removes the mark from current results. With
`--check` nothing is written, and a missing, superfluous or outdated mark is a failure. So is a result
without a ground, and a page that quotes a result wrongly: README.md and docs/*.md name the file of
each result that they quote, `benchmarks/results/NAME.md`, and the same paragraph, item of a list or row of a table

- must give the day of that measurement, where it says "measured on DATE" at all;
- must say so, or use the word "stale", where the result is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ground
from benchmarks.ground import ROOT, Record
from benchmarks.report import RESULTS

MARK = re.compile(r"\A(?P<title>[^\n]*\n)\n> \*\*Stale\*\*[^\n]*\n")
UNITS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.)\s)")  # between paragraphs, items of a list, rows of a table
NAMED = re.compile(r"benchmarks/results/(\w+)\.md")
DATED = re.compile(r"measured\s+on\s+(\d{4}-\d\d-\d\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Result:
    """A file of results, its recorded ground, and the changes of that ground since."""

    file: Path
    text: str
    record: Record
    changes: dict[str, list[str]]  # names by kind

    def brought_up(self) -> str:
        """Its text with the right mark, or without one where it is current."""
        title, _, rest = MARK.sub(r"\g<title>", self.text).partition("\n")
        if not self.changes:
            return f"{title}\n{rest}"
        return f"{title}\n\n> **Stale**: {self.history}.\n{rest}"

    @property
    def history(self) -> str:
        """When it was measured, and what has changed since."""
        changed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in self.changes.items())
        return f"measured on {self.record.measured}; changed since then: {changed}"


def load(file: Path) -> Result | None:
    """A result; None if it has no ground."""
    text = file.read_text()
    record = ground.read(text)
    return Result(file, text, record, record.changes()) if record else None


def check_results(folder: Path, write: bool) -> tuple[dict[str, Result], list[str]]:
    """Print stale results, and mark them if `write`; gives all results by name, and their problems."""
    results, wrong = {}, []
    for file in sorted(folder.glob("*.md")):
        result = load(file)
        if result is None:
            wrong.append(f"{file.name} does not say what it rests on; make it again")
            continue
        results[file.stem] = result
        if result.changes:
            print(f"{file.name}: {result.history}")
        if write:
            file.write_text(result.brought_up())
        elif result.text != result.brought_up():
            mark = "has no mark that names what has changed" if result.changes else "is marked and not stale"
            wrong.append(f"{file.name} {mark}; run `make figures`")
    print(f"{sum(bool(result.changes) for result in results.values())} of {len(results)} results are stale")
    return results, wrong


def check_page(page: Path, results: Mapping[str, Result]) -> list[str]:
    """The problems in each part of a page that names a result."""
    wrong = []
    for unit in UNITS.split(page.read_text()):
        dates = set(DATED.findall(unit))
        for name in dict.fromkeys(NAMED.findall(unit)):
            result, where = results.get(name), f"{page.name}: {name}.md"
            if result is None:
                wrong.append(f"{where} is not there or does not say what it rests on; do not quote it")
                continue
            measured = str(result.record.measured)
            if dates and measured not in dates:
                wrong.append(f"{where} was measured on {measured}, not on {', '.join(sorted(dates))}; quote it anew")
            elif result.changes and not dates and "stale" not in unit.lower():
                wrong.append(f'{where} is stale; make it again, or write "measured on {measured}" beside its name')
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    results, wrong = check_results(RESULTS, write=not parser.parse_args().check)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        wrong += check_page(page, results)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
