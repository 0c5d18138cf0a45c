"""YAML written as kubectl writes it: sorted, lists flush with their key, texts of several lines as blocks."""

from __future__ import annotations

from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_STR = "tag:yaml.org,2002:str"
_RESOLVER: Any = yaml.SafeLoader("")
_BOOLEANS = {"y", "Y", "n", "N"}
"""Of YAML 1.1, which PyYAML takes for text, and Go's libraries for true and false."""


class _Dumper(_Base):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        style: str | None = "|" if not any(line.endswith((" ", "\t")) for line in text.split("\n")) else '"'
    else:
        style = '"' if text in _BOOLEANS or _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) != _STR else None
    node: yaml.ScalarNode = dumper.represent_scalar(_STR, text, style=style)
    return node


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=80)
    return text


def load(text: str) -> list[Any]:
    """The documents, JSON's types only. Raises BadRequest with line and column."""
    from kubeapi import codec

    return list(codec.load_yaml(text))
