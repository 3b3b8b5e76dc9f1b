"""The digest of the code that builds a feature table: when it changes, features built before are out of date."""

from __future__ import annotations

import hashlib

from pipelines.declare.views import Coded, Declared
from pipelines.errors import InvalidInput
from pipelines.reach import package_of, reach
from pipelines.usecase import FeatureTable, UseCase

ENGINE = 1  # of declared tables; raised whenever the same declaration gives other rows (a test holds some)


def code_of(feature_table: FeatureTable, usecase: UseCase) -> str:
    """The digest of the use case's modules that building a table can reach, or the engine's number.

    For a view that declares the columns that it reads, these are included.

    Raises:
        InvalidInput: if a builder's module does not exist.
    """
    if isinstance(feature_table, Coded):
        modules, given = own_code(feature_table.builder.partition(":")[0]), feature_table.reads
    elif isinstance(feature_table, Declared):
        return f"engine {ENGINE}"
    else:
        modules, given = (
            own_code(type(usecase).build.__module__),
            (),
        )  # of the class that defines it: others may inherit it
    return hashlib.sha256(repr([*sorted(modules.items()), *given]).encode()).hexdigest()


def own_code(module: str) -> dict[str, str]:
    """sha256 of the modules that a module can reach in its package, by name.

    Raises:
        InvalidInput: if it has no source.
    """
    try:
        return reach([module], within=package_of(module))
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"module {module}, which builds features, has no source file ({error}); correct its name"
        ) from None
