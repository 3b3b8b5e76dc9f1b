"""Reading a params file: YAML in which each key stands once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import InvalidInput


class _Loader(yaml.SafeLoader):
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
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a params file.

    Raises:
        InvalidInput: if it cannot be read, is no YAML, holds a key twice, or is no mapping.
    """
    file = Path(path)
    try:
        raw: Any = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InvalidInput(f"{file} does not exist; name the params file with --params or FLIGHTDECK_PARAMS") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}); name a params file that can") from None
    except RecursionError:
        raise InvalidInput(f"{file} nests too deeply; see the params.yaml of the project") from None
    except (UnicodeDecodeError, yaml.YAMLError, TypeError) as error:  # TypeError: a list as a key
        raise InvalidInput(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InvalidInput(
            f"{file} holds {type(raw).__name__}, not keys and values; see the params.yaml of the project"
        )
    return raw
