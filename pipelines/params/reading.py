"""Reading a params file: YAML in which each key stands once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import InvalidInput

DEEPEST = 100  # of mappings and lists in one another
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is there


class _Loader(FAST):  # type: ignore[misc, valid-type]
    """YAML's own rule, which PyYAML does not keep and DVC does: keys of a mapping are unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value:
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = "<<" if merges else self.construct_object(key_node, deep=True)
            if key in seen:
                first, again = seen[key].start_mark.line + 1, key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} of line {first} stands again in line {again}; keep one of them")
            seen[key] = key_node
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a params file.

    Raises:
        InvalidInput: if it cannot be read, is no YAML, holds a key twice, or is no mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        _require_shallow(text)
        raw: Any = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, see below
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist; name the params file with --params or FLIGHTDECK_PARAMS") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}); name a params file that can") from None
    except (UnicodeDecodeError, yaml.YAMLError, TypeError) as error:  # TypeError: a list as a key
        raise InvalidInput(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InvalidInput(
            f"{file} holds {type(raw).__name__}, not keys and values; see the params.yaml of the project"
        )
    return raw


def _require_shallow(text: str) -> None:
    """Reading goes down by recursion, at the expense of the process's stack."""
    depth = 0
    for event in yaml.parse(text, FAST):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise yaml.YAMLError(f"it nests more than {DEEPEST} levels deep, from line {line} on")
