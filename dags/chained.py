"""A chain as Airflow tasks: its steps are tasks, and their outputs are XComs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from airflow.sdk import XComArg

import bridge


class Tasks:
    """The steps of a chain as Airflow tasks; their outputs are references to XComs.

    Args:
        options: of the tasks, by step.

    Attributes:
        outputs: of the tasks, by step, in the order of the chain.
    """

    def __init__(self, params_file: str, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.params_file, self.options = params_file, options
        self.outputs: dict[str, Any] = {}

    def __call__(self, step: str, **inputs: Any) -> Any:
        self.outputs[step] = self._task(step)(**inputs)
        return self.outputs[step]

    def each(self, step: str, over: Mapping[str, Any], **inputs: Any) -> Any:
        self.outputs[step] = self._task(step).partial(**inputs).expand(**over)
        return Mapped(self.outputs[step])

    def when(self, condition: Any, step: str, **inputs: Any) -> Any:
        raise NotImplementedError(f"{step} does not always run: say in the DAG file how its task is skipped")

    def last(self, *outputs: Any) -> Any:
        return Last(outputs)

    def _task(self, step: str) -> Any:
        return bridge.step(step, self.params_file, **self.options.get(step, {}))


class Mapped:
    """The outputs of a mapped task; an item is one output of all its runs."""

    def __init__(self, outputs: Any) -> None:
        self.outputs = outputs

    def __getitem__(self, name: str) -> Any:
        return self.outputs.map(lambda output: output[name])


class Last:
    """The outputs of the last of several tasks that has any, for a task that pulls them."""

    def __init__(self, outputs: Sequence[Any], name: str = "") -> None:
        self.outputs, self.name = outputs, name

    def __getitem__(self, name: str) -> Last:
        return Last(self.outputs, name)


def pull(ti: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of references, for a task that takes them without an edge in the graph; None where there is none."""

    @cache
    def outputs_of(task_id: str) -> dict[str, Any]:
        return ti.xcom_pull(task_ids=task_id) or {}

    def resolve(value: Any) -> Any:
        if isinstance(value, Last):
            outputs = (outputs_of(one.operator.task_id) for one in reversed(value.outputs))
            return next(filter(None, outputs), {}).get(value.name)
        return outputs_of(value.operator.task_id).get(value.key) if isinstance(value, XComArg) else value

    return {name: resolve(value) for name, value in values.items()}
