"""Reading a params file: YAML with unique keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import InvalidInput
from pipelines.json_text import JsonObject

DEEPEST = 100  # of mappings and lists in one another
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is available


class _Loader(FAST):  # type: ignore[misc, valid-type]
    """A loader that enforces unique keys in a mapping, as YAML and DVC require and PyYAML does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        nodes: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value:
            merges = key_node.tag == "tag:yaml.org,2002:merge"
            key = "<<" if merges else self.construct_object(key_node, deep=True)
            if key in nodes:
                first, again = nodes[key].start_mark.line + 1, key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} of line {first} stands again in line {again}; keep one of them")
            nodes[key] = key_node
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: str | Path) -> JsonObject:
    """The keys and values of a params file.

    Raises:
        InvalidInput: if it cannot be read, is not YAML, holds a key twice, or is not a mapping.
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


def key_lines(path: str | Path) -> dict[str, int]:
    """The line of each key of a params file that `read_yaml` accepts, by dotted key."""
    return dict(_lines(yaml.compose(Path(path).read_text(encoding="utf-8"), FAST), ""))


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    merges = [(key, value) for key, value in node.value if key.tag.endswith(":merge")]
    for _, merged in merges:  # what stands in the mapping itself counts, and comes later
        for one in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
            yield from _lines(one, prefix)
    for key, value in node.value:
        if not key.tag.endswith(":merge"):
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _lines(value, f"{prefix}{key.value}.")


def _require_shallow(text: str) -> None:
    """Refuse deep nesting: the parser recurses, and would exhaust the process's stack."""
    depth = 0
    for event in yaml.parse(text, FAST):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise yaml.YAMLError(f"it nests more than {DEEPEST} levels deep, from line {line} on")
