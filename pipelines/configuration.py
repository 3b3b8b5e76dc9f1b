"""A params file with the use case that it names: the values in force, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.closed import closed_of
from pipelines.constraints import violations
from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject
from pipelines.params import Params, first_problem
from pipelines.params.derived import Declared, Given, defaults, filled, value_at
from pipelines.params.reading import key_lines, read_yaml
from pipelines.usecase import UseCase, calendar_of
from pipelines.usecase_import import load_usecase


@dataclass(frozen=True)
class Configuration:
    """A params file with its defaults.

    Attributes:
        reasons: the declarations behind defaults, by dotted key.
    """

    file: Path
    params: Params
    usecase: UseCase
    reasons: Mapping[str, str]

    def in_force(self) -> JsonObject:
        """Every value, as in JSON; a params file with these values gives the same params."""
        return self.params.model_dump(mode="json")

    def under(self, section: str) -> dict[str, tuple[Any, str]]:
        """The `origins` of a dotted key and of what is below it; of everything for "".

        Raises:
            InvalidInput: if there is no such key.
        """
        origins = self.origins()
        found = {key: one for key, one in origins.items() if not section or f"{key}.".startswith(f"{section}.")}
        if not found:
            close = get_close_matches(section, [*origins, *{key.rpartition(".")[0] for key in origins}], n=2)
            remedy = f"did you mean {' or '.join(close)}?" if close else "see `flightdeck params` for all"
            raise InvalidInput(f"no param is named {section!r}; {remedy}")
        return found

    def origins(self) -> dict[str, tuple[Any, str]]:
        """Each value that is no mapping, by dotted key, and its origin: a line of the file, a declaration, or code."""
        lines = key_lines(self.file)
        return {key: (value, self._origin(key, lines)) for key, value in _leaves(self.in_force())}

    def _origin(self, key: str, lines: Mapping[str, int]) -> str:
        parts = key.split(".")
        for length in range(len(parts), 0, -1):  # a section may follow from a declaration as a whole
            if reason := self.reasons.get(".".join(parts[:length])):
                return reason
        return f"line {lines[key]}" if key in lines else "default"


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def load(path: str | Path) -> Configuration:
    """Read one params file and its use case, and check them against each other.

    Raises:
        InvalidInput: one line with file, key, value and remedy.
    """
    configuration = read(path)
    for first in violations(configuration.params, configuration.usecase)[:1]:
        raise InvalidInput(f"{path}: {first}")
    return configuration


def read(path: str | Path) -> Configuration:
    """Read and validate one params file, and import its use case, without checking one against the other."""
    given = {key: value for key, value in read_yaml(path).items() if value is not None}
    module = given.get("usecase")
    try:
        if not isinstance(module, str):
            Params.model_validate(given)
        usecase = load_usecase(str(module))
        _require_service(usecase, given)
        more = {one.key: one for one in defaults(declared(usecase), given)}
        params = Params.model_validate(filled(given, {key: one.value for key, one in more.items()}))
    except ValidationError as error:
        raise InvalidInput(f"{path}: {first_problem(error)}") from None
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    return Configuration(Path(path), params, usecase, {key: one.reason for key, one in more.items()})


def _require_service(usecase: UseCase, given: Given) -> None:
    if len(services := tuple(usecase.model_inputs)) > 1 and value_at(given, "features.service") is None:
        raise InvalidInput(f"features.service: name the one that models are trained on: {' or '.join(services)}")


def declared(usecase: UseCase) -> Declared:
    """The declarations of a use case from which defaults follow."""
    length, closed = calendar_of(usecase).length, closed_of(usecase)
    return Declared(usecase.maturity, length, tuple(usecase.model_inputs), closed.longest)


def load_params(path: str | Path) -> Params:
    """The values in force of one params file; see `load`."""
    return load(path).params
