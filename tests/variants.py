"""Variants of a test that `make test` leaves to `make test-all`."""

from __future__ import annotations

from typing import Any

import pytest


def only_long(*values: Any) -> list[Any]:
    """Values of one parameter: what they show, the others that stand beside them show sooner, each in its own way."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]
