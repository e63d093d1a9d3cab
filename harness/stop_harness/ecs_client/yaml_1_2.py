"""YAML by version 1.2, as the AWS CLI reads and writes it: `yes` and `12:30` are strings. Pure.

PyYAML knows version 1.1 only; what a plain scalar means is a table of it, which is replaced here. Layout and line
breaks are libyaml's, as there.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, ClassVar

YAML_1_2_PLAIN = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (
        "float",
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        "-+0123456789.",
    ),
    ("int", r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("merge", r"^<<$", "<"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (
        "timestamp",
        r"""^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}
        |[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?
        (?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$""",
        "0123456789",
    ),
    ("value", r"^=$", "="),
)
"""What a plain scalar may be other than a string (yaml.org/spec/1.2, chapter 10): tag, form, first characters."""


def dump(value: Any) -> str:
    """A value as a block; keys in order."""
    import yaml

    return str(yaml.dump(value, Dumper=_dumper(), default_flow_style=False, allow_unicode=True))


def load(text: str | bytes) -> Any:
    """What a document says. Raises ValueError for what is no YAML, with where."""
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # nosec B506 # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


@cache
def _dumper() -> Any:
    """Without libyaml (no wheel of PyYAML is) long strings are broken and quoted differently, and as right."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # one or the other
        """Aliases are of no use to readers of an answer."""

        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    Dumper.add_representer(float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", repr(value)))
    return _with_plain_scalars(Dumper)


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe: no objects but YAML's own."""

        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc] # declared without ClassVar

    return _with_plain_scalars(Loader)


def _with_plain_scalars(kind: Any) -> Any:
    for tag, pattern, first in YAML_1_2_PLAIN:
        kind.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern, re.VERBOSE), list(first))
    return kind
