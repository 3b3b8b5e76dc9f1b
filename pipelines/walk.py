"""Running a chain step by step in this process, whole or in part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from pipelines.chains import Chain, RunInputs, Values
from pipelines.errors import InvalidInput

Execute = Callable[[str, dict[str, Any]], Any]  # runs a step on its inputs and returns its outputs


def walk(
    chain: Chain,
    inputs: RunInputs,
    execute: Execute,
    only: Collection[str] | None = None,
    previous: Values | None = None,
) -> dict[str, Any]:
    """Run the steps of a chain, one after the other.

    Args:
        inputs: the inputs of the run, by name.
        execute: runs a step.
        only: the steps to run; by default all without `previous` outputs.
        previous: outputs of steps that do not run again, by step; lists for mapped steps.

    Returns:
        The outputs by step, in order, without steps that did not run: a list for a mapped step, the last outputs for a
        step that runs several times.

    Raises:
        InvalidInput: if a step needs a value that is missing, or `only` or `previous` name a step that the chain lacks.
    """
    walker = _Walker(chain.__name__, execute, only, previous or {})
    chain(walker, _Outputs(inputs, f"chain {chain.__name__} was not given"))
    if strange := ({*(only or ()), *(previous or ())} - walker.passed):
        raise InvalidInput(f"chain {chain.__name__} has no step {sorted(strange)}; choose from {sorted(walker.passed)}")
    return walker.outputs


class _Missing:
    """A missing value. A chain may pass it on, but no step may use it."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __iter__(self) -> Iterator[Any]:
        raise InvalidInput(self.why)


class _Outputs(dict[str, Any]):
    """Values by name; a missing one is replaced by its reason."""

    def __init__(self, values: Values, lack: str, ran: bool = True) -> None:
        super().__init__(values)
        self.lack, self.ran = lack, ran

    def __missing__(self, name: str) -> _Missing:
        return _Missing(f"{self.lack} {name!r}; it has {', '.join(self) or 'none'}" if self.ran else self.lack)


class _Gathered:
    """The outputs of a mapped step; each name holds the list of values of all runs."""

    def __init__(self, outputs: list[_Outputs]) -> None:
        self.outputs = outputs

    def __getitem__(self, name: str) -> Any:
        values = [one[name] for one in self.outputs]
        return next((value for value in values if isinstance(value, _Missing)), values)


class _Walker:
    """Runs each step when the chain calls it."""

    def __init__(self, chain: str, execute: Execute, only: Collection[str] | None, previous: Values) -> None:
        self.chain, self.execute, self.only, self.previous = chain, execute, only, previous
        self.passed: set[str] = set()
        self.outputs: dict[str, Any] = {}

    def __call__(self, step: str, **inputs: Any) -> Any:
        if not self._is_due(step):
            return self._previous(step)
        self.outputs[step] = self._execute(step, inputs)
        return self._hand_over(step, self.outputs[step])

    def each(self, step: str, over: Values, **inputs: Any) -> Any:
        if not self._is_due(step):
            return self._previous(step)
        ((name, values),) = self._require_values(step, over).items()
        self.outputs[step] = [self._execute(step, {**inputs, name: value}) for value in values]
        return self._hand_over(step, self.outputs[step])

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        if self._is_due(step) and not self._require_values(step, {"condition": condition})["condition"]:
            return self._idle(step)
        return self(step, **inputs)

    def last(self, *outputs: Any) -> Any:
        return next((one for one in reversed(outputs) if one.ran), outputs[-1])

    def _is_due(self, step: str) -> bool:
        self.passed.add(step)
        return step not in self.previous and (self.only is None or step in self.only)

    def _previous(self, step: str) -> Any:
        return self._hand_over(step, self.previous[step]) if step in self.previous else self._idle(step)

    def _idle(self, step: str) -> _Outputs:
        return _Outputs({}, f"step {step} was not run, and its outputs are not known", ran=False)

    def _hand_over(self, step: str, outputs: Any) -> Any:
        lack = f"step {step} gave no output"
        if isinstance(outputs, Mapping):
            return _Outputs(outputs, lack)
        return _Gathered([_Outputs(one, lack) for one in outputs])

    def _execute(self, step: str, inputs: Values) -> Any:
        return self.execute(
            step, {key: value for key, value in self._require_values(step, inputs).items() if value is not None}
        )

    def _require_values(self, step: str, inputs: Values) -> Values:
        for name, value in inputs.items():
            if isinstance(value, _Missing):
                raise InvalidInput(f"chain {self.chain}: step {step} needs {name}, but {value.why}")
        return inputs
