"""YAML that people write, read without guessing: what is wrong with it is a `ConfigError`, whatever it is."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from revgnn.train.config.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """yaml's safe loader, which refuses a key that stands twice in a mapping instead of taking the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml_text(text: bytes | str, where: str) -> Any:
    """Return the value of a YAML document.

    Args:
        text: the document, in UTF-8.
        where: what it is, for messages: a path, or the key of a setting.

    Raises:
        ConfigError: if it is not YAML, nests too deeply, or holds a date or number that is none.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return yaml.load(text, _Loader)  # noqa: S506  (a safe loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} is not text in UTF-8: byte {error.start} is {error.object[error.start]:#04x}.") from None
    except RecursionError:
        raise ConfigError(f"{where} is not a configuration: it nests too deeply.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from None
    except (ValueError, KeyError, OverflowError, AttributeError, TypeError) as error:  # a date or number that is none
        raise ConfigError(f"{where} holds a value that YAML cannot read: {error}") from None
