"""`$(NAME)` in commands, arguments and variables. Pure.

Source: k8s.io/kubernetes/third_party/forked/golang/expansion/expand.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_OPERATOR = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, known: Mapping[str, str]) -> str:
    """The text with the values of known variables. What is not known stays as it is, and so does a lone `$`; `$$` is a
    dollar sign, so that `$$(NAME)` means `$(NAME)`."""
    return _OPERATOR.sub(lambda match: "$" if match[1] is None else known.get(match[1], match[0]), text)
