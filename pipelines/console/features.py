"""The declared feature tables: their features, the services that read them, and when they are known."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.console.command import Answer, Arguments, Command, options
from pipelines.console.table import show
from pipelines.declare.columns import columns_read, part_read
from pipelines.declare.derived import derived_of
from pipelines.declare.over import Trailing
from pipelines.declare.views import Declared
from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.periods import A_DAY

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.usecase import FeatureTable, UseCase


def add(parser: argparse.ArgumentParser) -> None:
    options(parser)
    parser.add_argument("view", nargs="?", default="", metavar="VIEW", help="a feature table: only this one")


def answer(arguments: Arguments, context: Context) -> Answer:
    """Each feature table with its features, and the derived features.

    Raises:
        InvalidInput: if there is no feature table of the name.
    """
    usecase, wanted = context.usecase, arguments["view"]
    tables = [table for table in usecase.feature_tables if wanted in ("", table.name)]
    if not tables:
        names = ", ".join(table.name for table in usecase.feature_tables)
        raise InvalidInput(f"{usecase.name} has no feature table {wanted}; choose from {names}")
    report = {table.name: _facts(table, usecase) for table in tables}
    derived = [] if wanted else [(", ".join(one.names), ", ".join(one.reads)) for one in derived_of(usecase)]

    def display() -> None:
        for name, facts in report.items():
            reads = [f"{one} ({', '.join(columns) or 'all columns'})" for one, columns in facts["reads"].items()]
            title = f"{name} by {', '.join(facts['keys'])}: {facts['known']}; {facts['expires']}; of {', '.join(reads)}"
            rows = [(one["name"], ", ".join(one["services"]), one["means"]) for one in facts["features"]]
            show(["feature", "read by", "means"], rows, title)
        if derived:
            show(["derived", "of"], derived, "derived from the request and stored features")

    return {"views": report, "derived": dict(derived)}, display


def _facts(table: FeatureTable, usecase: UseCase) -> JsonObject:
    features, read = table.features if isinstance(table, Declared) else (), columns_read(table)
    sources = [one for one in usecase.tables if one.name in table.sources]
    return {
        "keys": list(table.keys),
        "sources": ", ".join(table.sources),
        "reads": {one.name: part_read([*one.columns], read) if read else [] for one in sources},
        "known": _known(table),
        "expires": _expires(table),
        "lookback_days": table.lookback_days,
        "features": [
            {
                "name": one.name,
                "means": one.means,
                "low": one.low,
                "high": one.high,
                "services": _services(one.name, usecase),
            }
            for one in features
        ],
    }


def _services(feature: str, usecase: UseCase) -> list[str]:
    """The services whose models read a feature, directly or through derived features."""
    rests = {feature}
    for one in derived_of(usecase):
        if rests.intersection(one.reads) or getattr(one, "feature", None) in rests:
            rests |= {*one.names}
    return [name for name, inputs in usecase.model_inputs.items() if rests.intersection(inputs.names)]


def _known(table: FeatureTable) -> str:
    if not table.daily:
        return "known at any time"
    if not isinstance(table, Trailing):
        return "built by code" if not isinstance(table, Declared) else "known with each row"
    if table.every is None:
        return "known whenever a value changes"
    return "known as each day begins" if table.every == A_DAY else f"known every {_minutes(table.every)}"


def _expires(table: FeatureTable) -> str:
    if not isinstance(table, Declared):
        return "declared to Feast by hand"
    return f"expires after {_minutes(table.ttl)}" if table.ttl else "never expires"


def _minutes(length: timedelta) -> str:
    return f"{length / A_DAY:g} d" if not length % A_DAY else f"{length / timedelta(minutes=1):g} min"


COMMAND = Command("features", "Print the feature tables as they are declared.", add, answer)
