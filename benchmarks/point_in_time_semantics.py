"""Answers of three Feast offline stores in error-prone cases, against the right answer by definition.

    python -m benchmarks.point_in_time_semantics [--cases 100]

Small cases one by one, then random ones: the same for our store, Feast's DuckDB store and Feast's default (Dask) store.
The definition is `point_in_time_cases.answer`. Writes benchmarks/results/point_in_time_semantics.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.ground import Ground
from benchmarks.point_in_time_cases import (
    HOUR,
    QUESTIONS,
    TTL,
    Line,
    Row,
    answer,
    cases,
    entity_rows,
    feast_store,
    our_store,
)
from benchmarks.report import RESULTS, machine, save

GROUND = Ground("benchmarks.point_in_time_semantics")
NAMES = {"ours": "ours", "duckdb": "Feast's DuckDB", "dask": "Feast's Dask"}
NOON = Line("a", "b", 1, 12 * HOUR)
Change = Callable[[pd.DataFrame], pd.DataFrame]
Ask = Callable[[str, Sequence[Row], pd.DataFrame, Sequence[str], bool], pd.DataFrame]


@dataclass(frozen=True)
class Scenario:
    """Rows, entity rows and the requested features; `shown` turns the result into a comparable form."""

    name: str
    rows: Sequence[Row]
    lines: Sequence[Line] = (NOON,)
    question: str = "short__value"
    only_written: bool = False
    change: Change = field(default=lambda frame: frame)
    in_order: bool = False

    def expected(self) -> list[float | None]:
        asked = QUESTIONS[self.question]
        return [answer(self.rows, line, asked, self.only_written) for line in self.lines]


def row(
    known: float, value: float | None, created: float | None = 1, key: str | None = "a", part: int | None = 1
) -> Row:
    hours = None if created is None else int(created * HOUR)
    return Row(key, part, int(known * HOUR), hours, value)


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"event_timestamp": "instant"})


def elsewhere(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(event_timestamp=frame.event_timestamp.dt.tz_convert("Asia/Kathmandu"))


def naive(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(event_timestamp=frame.event_timestamp.dt.tz_localize(None))


B = Line("b", "a", 2, 11 * HOUR)
SCENARIOS = (
    Scenario("exactly ttl old: counts", [row(6, 1.0)]),
    Scenario("a microsecond older: expired", [Row("a", 1, 6 * HOUR - 1, 0, 1.0)]),
    Scenario("known at the instant: counts", [row(12, 1.0)]),
    Scenario("known a microsecond later: not yet", [row(11, 1.0), Row("a", 1, 12 * HOUR + 1, 0, 2.0)]),
    Scenario("no ttl: never expires", [row(1, 1.0)], [Line("a", "b", 1, 70 * HOUR)], "forever__value"),
    Scenario("known twice at one instant: the one created last", [row(10, 2.0, created=3), row(10, 1.0, created=2)]),
    Scenario("one of the two created nobody knows when: the other", [row(10, 2.0), row(10, 1.0, created=None)]),
    Scenario("a tie that nothing tells apart: the last row", [row(10, 1.0), row(10, 2.0)], question="tied__value"),
    Scenario("the latest value is null: null, not an older one", [row(9, 1.0), row(10, None)]),
    Scenario("created later than the instant: counts", [row(9, 1.0), row(10, 2.0, created=20)]),
    Scenario("the same, created times asked for: not", [row(9, 1.0), row(10, 2.0, created=20)], only_written=True),
    Scenario("created nobody knows when, asked for: not", [row(9, 1.0), row(10, 2.0, created=None)], only_written=True),
    Scenario("nothing was created yet, asked for: null", [row(10, 2.0, created=20)], only_written=True),
    Scenario(
        "an empty key equals nothing", [row(10, 1.0, key=None), row(9, 2.0)], [Line(None, "b", 1, 12 * HOUR), NOON]
    ),
    Scenario("no row of the entity: null, the line stays", [row(10, 1.0, key="z")], [NOON, B]),
    Scenario("the same entity row twice: both stay", [row(10, 1.0)], [NOON, NOON]),
    Scenario(
        "entity rows keep their order",
        [row(1, 1.0), row(9, 2.0)],
        [NOON, B, Line("a", "b", 1, 2 * HOUR)],
        in_order=True,
    ),
    Scenario("two keys, mapped names", [row(10, 1.0), row(10, 2.0, part=2)], [NOON, B], "mapped__amount"),
    Scenario("an aliased key", [row(10, 1.0), row(9, 2.0, key="b")], [NOON], "aliased__value"),
    Scenario("a view without entities", [row(9, 1.0), row(10, 2.0, key="b")], [NOON, B], "everyone__value"),
    Scenario("instants in another zone", [row(10, 1.0)], change=elsewhere),
    Scenario("instants without a zone are in UTC", [row(10, 1.0)], change=naive),
    Scenario("the instant in a column of another name", [row(10, 1.0)], change=renamed),
    Scenario("an entity row has a column of the feature's name", [row(10, 1.0)], change=lambda f: f.assign(value=9.0)),
)


def asking(folder: Path) -> Ask:
    """Writes rows into a store, requests views, and gives the result."""
    stores = {name: feast_store(folder / name, name) for name in NAMES if name != "ours"}
    stores["ours"] = our_store(folder / "ours")

    def ask(
        name: str, rows: Sequence[Row], entities: pd.DataFrame, questions: Sequence[str], only_written: bool
    ) -> pd.DataFrame:
        store, write = stores[name]
        write(rows)
        aliased = "aliased__value" in questions  # a reference cannot name it, so it is requested through a service
        asked = store.get_feature_service("all") if aliased else [name.replace("__", ":") for name in questions]
        options = {"filter_by_created_timestamp": True} if only_written else {}
        with contextlib.redirect_stdout(io.StringIO()):
            full = aliased or len(questions) > 1
            job = store.get_historical_features(entities, asked, full_feature_names=full, **options)
            frame: pd.DataFrame = job.to_df()
        return frame if full else frame.rename(columns={questions[0].split("__")[1]: questions[0]})

    return ask


def told(ask: Ask, store: str, scenario: Scenario) -> str:
    """The result of a store for a scenario: `right`, or its wrong answer."""
    entities = scenario.change(entity_rows(scenario.lines))
    try:
        frame = ask(store, scenario.rows, entities, [scenario.question], scenario.only_written)
    except Exception as error:
        return f"refuses: {type(error).__name__}"
    if frame.columns.duplicated().any():
        return f"two columns named {frame.columns[frame.columns.duplicated()][0]}"
    if not scenario.in_order:
        frame = frame.sort_values("note")
    if scenario.question not in frame:
        return f"no column {scenario.question}"
    got = [None if pd.isna(value) else float(value) for value in frame[scenario.question]]
    expected = scenario.expected()
    if len(got) != len(expected):
        return f"{len(got)} rows for {len(expected)}"
    return "right" if got == expected else f"{got} for {expected}".replace("None", "null")


def random_differences(ask: Ask, store: str, number: int, only_written: bool) -> tuple[Counter[str], Counter[str]]:
    """Values returned and values that differ from the answer, by view; also lines requested, lost and added."""
    asked: Counter[str] = Counter()
    wrong: Counter[str] = Counter()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(least=8))
    def compare(case: tuple[list[Row], list[Line]]) -> None:
        rows, lines = case
        rows = sorted(rows, key=lambda r: r.known // (24 * HOUR))
        try:
            frame = ask(store, rows, entity_rows(lines), [*QUESTIONS], only_written)
        except Exception:
            asked["refused"] += 1
            return
        asked["lines"] += len(lines)
        wrong["lines"] += len(lines) - frame.note.nunique()
        wrong["more"] += len(frame) - frame.note.nunique()
        kept = frame.drop_duplicates("note").set_index("note")
        for name, question in QUESTIONS.items():
            expected = [answer(rows, lines[number], question, only_written) for number in kept.index]
            got = [None if pd.isna(value) else float(value) for value in kept[name]]
            asked[name] += len(expected)
            wrong[name] += sum(a != b for a, b in zip(got, expected, strict=True))

    compare()
    return asked, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100)
    number = parser.parse_args().cases
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        ask = asking(Path(folder))
        lines = [
            "# Three offline stores against the definition",
            "",
            f"Rows are known, created and asked for at whole hours; the ttl is {TTL // HOUR} hours; an entity row asks",
            "at 12:00 unless the case says otherwise. `a for b`: what came for what is right.",
            "",
            f"| case | {' | '.join(NAMES.values())} |",
            "|---|" + "---|" * len(NAMES),
        ]
        for scenario in SCENARIOS:
            answers = [told(ask, store, scenario) for store in NAMES]
            lines.append(f"| {scenario.name} | {' | '.join(answers)} |")
            print(lines[-1])
        views = [name.replace("__", ":") for name in QUESTIONS]
        lines += [
            "",
            f"{number} random cases, all six views in one request, ties and ttl edges made common. Entity rows that",
            "are not in the result, and values that differ from the definition, of those that came:",
            "",
            f"| store | created times asked for | entity rows lost | added | {' | '.join(views)} | refused |",
            "|---|---|---|---|" + "---|" * (len(views) + 1),
        ]
        for store, name in NAMES.items():
            for only_written in (False, True):
                asked, wrong = random_differences(ask, store, number, only_written)
                cells = [f"{wrong['lines']} of {asked['lines']}", str(wrong["more"])]
                cells += [f"{wrong[q]} of {asked[q]}" for q in QUESTIONS]
                said = "yes" if only_written else "no"
                lines.append(f"| {name} | {said} | {' | '.join(cells)} | {asked['refused']} of {number} |")
                print(lines[-1])
        lines += [
            "",
            f"`python -m benchmarks.point_in_time_semantics --cases {number}`,",
            f"on {machine('feast', 'duckdb', 'dask')}.",
        ]
    save(RESULTS / "point_in_time_semantics.md", "\n".join(lines), GROUND)


if __name__ == "__main__":
    main()
