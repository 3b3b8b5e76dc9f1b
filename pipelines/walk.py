"""A chain run step by step in this process, whole or in part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from pipelines.chains import Chain, Given
from pipelines.errors import InvalidInput

Execute = Callable[[str, dict[str, Any]], Any]  # runs a step on its inputs and gives its outputs


def walk(
    chain: Chain,
    given: Given,
    execute: Execute,
    only: Collection[str] | None = None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the steps of a chain, one after the other.

    Args:
        only: the steps to run; by default all of which the outputs are not known.
        known: outputs by step, lists for mapped ones, of steps that are not to be run.

    Returns:
        outputs by step, in order, without the steps that did not run. Of a mapped step it is a list, of one that runs
        several times what it gave last.

    Raises:
        InvalidInput: if a step needs what nothing gives, or `only` or `known` name a step that the chain has not.
    """
    walker = _Walker(chain.__name__, execute, only, known or {})
    chain(walker, _Outputs(given, f"chain {chain.__name__} was not given"))
    if strange := ({*(only or ()), *(known or ())} - walker.passed):
        raise InvalidInput(f"chain {chain.__name__} has no step {sorted(strange)}; choose from {sorted(walker.passed)}")
    return walker.outputs


class _Missing:
    """What nothing gives. It may be handed on, and not be used."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __iter__(self) -> Iterator[Any]:
        raise InvalidInput(self.why)


class _Outputs(dict[str, Any]):
    """Values by name, and in the place of those that are missing the reason why."""

    def __init__(self, values: Mapping[str, Any], lack: str, ran: bool = True) -> None:
        super().__init__(values)
        self.lack, self.ran = lack, ran

    def __missing__(self, name: str) -> _Missing:
        return _Missing(f"{self.lack} {name!r}; it has {', '.join(self) or 'none'}" if self.ran else self.lack)


class _Gathered:
    """The outputs of a mapped step, by name those of all its runs."""

    def __init__(self, outputs: list[_Outputs]) -> None:
        self.outputs = outputs

    def __getitem__(self, name: str) -> Any:
        values = [one[name] for one in self.outputs]
        return next((value for value in values if isinstance(value, _Missing)), values)


class _Walker:
    """Runs steps as a chain comes to them."""

    def __init__(self, chain: str, execute: Execute, only: Collection[str] | None, known: Mapping[str, Any]) -> None:
        self.chain, self.execute, self.only, self.known = chain, execute, only, known
        self.passed: set[str] = set()
        self.outputs: dict[str, Any] = {}

    def __call__(self, step: str, **inputs: Any) -> Any:
        if not self._runs(step):
            return self._known(step)
        self.outputs[step] = self._run(step, inputs)
        return self._handed(step, self.outputs[step])

    def each(self, step: str, over: Mapping[str, Any], **inputs: Any) -> Any:
        if not self._runs(step):
            return self._known(step)
        ((name, values),) = self._usable(step, over).items()
        self.outputs[step] = [self._run(step, {**inputs, name: value}) for value in values]
        return self._handed(step, self.outputs[step])

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        if self._runs(step) and not self._usable(step, {"condition": condition})["condition"]:
            return self._idle(step)
        return self(step, **inputs)

    def last(self, *outputs: Any) -> Any:
        return next((one for one in reversed(outputs) if one.ran), outputs[-1])

    def _runs(self, step: str) -> bool:
        self.passed.add(step)
        return step not in self.known and (self.only is None or step in self.only)

    def _known(self, step: str) -> Any:
        return self._handed(step, self.known[step]) if step in self.known else self._idle(step)

    def _idle(self, step: str) -> _Outputs:
        return _Outputs({}, f"step {step} was not run, and its outputs are not known", ran=False)

    def _handed(self, step: str, outputs: Any) -> Any:
        lack = f"step {step} gave no output"
        if isinstance(outputs, Mapping):
            return _Outputs(outputs, lack)
        return _Gathered([_Outputs(one, lack) for one in outputs])

    def _run(self, step: str, inputs: Mapping[str, Any]) -> Any:
        return self.execute(
            step, {key: value for key, value in self._usable(step, inputs).items() if value is not None}
        )

    def _usable(self, step: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        for name, value in inputs.items():
            if isinstance(value, _Missing):
                raise InvalidInput(f"chain {self.chain}: step {step} needs {name}, but {value.why}")
        return inputs
