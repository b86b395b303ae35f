"""YAML files of keys with values, read safely, without YAML 1.1's traps."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mapping.errors import ConfigError


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The keys of a file with their values; none of an empty one.

    Raises:
        ConfigError: ``ADL-YML-01`` when the file cannot be read as YAML, holds a key twice or
            holds no keys.
    """
    try:
        text = path.read_text("utf-8")
        keys = yaml.load(text, Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"cannot be read: {' '.join(str(error).split())}",
            where=str(path),
            remedy="give a YAML file that exists, each key once, `key: value`",
            code="ADL-YML-01",
        ) from error
    if keys is None:
        keys = {}
    if not isinstance(keys, Mapping):
        raise ConfigError(
            f"holds {type(keys).__name__}, not keys with values",
            where=str(path),
            remedy="start it with a section such as `model:`",
            code="ADL-YML-01",
        )
    return keys


def parse_value(text: str) -> Any:
    """A value as it would be read from a file: ``"3e-3"`` is a number, ``"[16, 32]"`` a list.

    Raises:
        ConfigError: ``ADL-YML-01`` when it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{text!r} is no YAML value",
            where="settings",
            remedy="write numbers, words or lists such as [16, 32]",
            code="ADL-YML-01",
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but 3e-3 is a number, as in YAML 1.2, and a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse what PyYAML passes over: the second of two equal keys."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
