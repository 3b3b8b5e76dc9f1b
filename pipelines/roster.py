"""The use cases that FLIGHTDECK_PARAMS names: those that can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.constraints import violations
from pipelines.context import Context, build_context
from pipelines.errors import InvalidInput
from pipelines.params import params_files
from pipelines.settings import load_settings
from pipelines.usecase_import import in_one_line


@dataclass(frozen=True)
class Roster:
    """The result of reading every params file, by its absolute path.

    Attributes:
        usable: contexts; no two use cases have the same name.
        refused: why the file, or the use case that it names, cannot be used; one line each. Of one whose params and
            declarations do not fit each other it is told too, and its rollouts go on.
    """

    usable: Mapping[str, Context]
    refused: Mapping[str, str]


def read_roster() -> Roster:
    """Read every params file and import its use case; an error in one does not affect the others.

    Raises:
        InvalidInput: if a setting of the environment is wrong, which affects all.
    """
    usable: dict[str, Context] = {}
    refusals: dict[str, str] = {}
    files: dict[str, str] = {}  # by the name of the use case
    for file in dict.fromkeys(str(file.absolute()) for file in params_files(load_settings().params)):
        try:
            context = build_context(file, checked=False)
            name = context.usecase.name
            if (first := files.setdefault(name, file)) != file:
                raise InvalidInput(
                    f"{first} has a use case named {name!r} too, which has the DAGs; give {file} a use case "
                    "with a name of its own, or remove one of the two from FLIGHTDECK_PARAMS"
                )
            usable[file] = context
            for violation in violations(context.params, context.usecase)[:1]:
                refusals[file] = str(violation)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # any error of a use case, or the time limit of its import
            refusals[file] = in_one_line(error)
    return Roster(usable, refusals)
