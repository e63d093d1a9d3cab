"""Kubernetes quantities, such as `500m`, `64Mi` and `1e3`. Pure.

Source: k8s.io/apimachinery/pkg/api/resource, quantity.go and suffix.go.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?")
_BINARY: dict[str, int] = {f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate("KMGTPE")}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
MOST_DIGITS = 40


def parse(value: str | int | float) -> Fraction:
    """The exact number. Raises ValueError."""
    text = str(value).strip()
    match = _QUANTITY.fullmatch(text)
    if match is None or isinstance(value, bool) or len(text) > MOST_DIGITS:
        raise ValueError(f"{value!r} is no quantity; write it as 500m, 0.5, 64Mi or 1G")
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix[:1] in {"e", "E"} and len(suffix) > 1:
        if abs(int(suffix[1:])) > 18:
            raise ValueError(f"{value!r} is no quantity that a machine has")
        return number * _power(int(suffix[1:]))
    return number * _power(_DECIMAL[suffix])


def _power(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def bytes_of(value: str | int | float) -> int:
    """Whole bytes, rounded up as Kubernetes does. Raises ValueError."""
    return math.ceil(parse(value))


def milli(value: str | int | float) -> int:
    """Thousandths, rounded up, as CPUs are counted. Raises ValueError."""
    return math.ceil(parse(value) * 1000)
