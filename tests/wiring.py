"""The structure of the chains: their steps in order, and the source of each input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines import chains
from pipelines.chains import Chain

CHAINS: tuple[Chain, ...] = (chains.data, chains.training, chains.monitoring, chains.deployment, chains.override)
STAGES = ("shadow", "50", "100")


@dataclass(frozen=True)
class Argument:
    """A value that the run gives its chain."""

    name: str


@dataclass(frozen=True)
class Output:
    """An output of a step, or of the last one that ran of several."""

    steps: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Outputs:
    steps: tuple[str, ...]

    def __getitem__(self, name: str) -> Output:
        return Output(self.steps, name)


@dataclass(frozen=True)
class Link:
    """A step of a chain, and the sources of its inputs: an Argument, an Output or a constant.

    Attributes:
        over: the input of which a mapped step takes one value per run.
    """

    step: str
    inputs: Mapping[str, Any]
    over: str | None = None
    condition: Output | None = None

    def sources(self) -> Iterator[tuple[str, Output]]:
        """Inputs, and the condition, that come from steps."""
        given = {**self.inputs, "condition": self.condition}
        return ((name, source) for name, source in given.items() if isinstance(source, Output))


@dataclass
class Recorder:
    """Walks a chain and records its links."""

    links: list[Link] = field(default_factory=list)

    def __call__(self, step: str, **inputs: Any) -> Outputs:
        return self._note(Link(step, inputs))

    def each(self, step: str, over: Mapping[str, Any], **inputs: Any) -> Outputs:
        (name,) = over
        return self._note(Link(step, {**inputs, **over}, over=name))

    def when(self, condition: Any, step: str, **inputs: Any) -> Outputs:
        return self._note(Link(step, inputs, condition=condition))

    def last(self, *outputs: Outputs) -> Outputs:
        return Outputs(tuple(step for one in outputs for step in one.steps))

    def _note(self, link: Link) -> Outputs:
        self.links.append(link)
        return Outputs((link.step,))


class _Given(dict[str, Any]):
    def __missing__(self, name: str) -> Argument:
        return Argument(name)


def links(chain: Chain) -> list[Link]:
    """The steps of a chain in order; a ramp has the stages of STAGES."""
    recorder = Recorder()
    chain(recorder, _Given(stages=STAGES))
    return recorder.links
