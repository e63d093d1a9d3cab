"""maxResults and nextToken. A token names the last item given, so that what comes or goes in between does no harm."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from stop_harness.ecs_endpoint.errors import invalid_parameter

MAX_RESULTS = 100
_PREFIX = "stop-harness:"


def page(
    items: list[str], request: dict[str, Any], *, limit: int = MAX_RESULTS, default: int = MAX_RESULTS
) -> tuple[list[str], str | None]:
    """One page of the items, and the token of the next or None. Raises InvalidParameterException."""
    size = request.get("maxResults", default)
    if not 1 <= size <= limit:
        raise invalid_parameter(f"maxResults should be between 1 and {limit}, but was {size}")
    begin = _begin(items, request["nextToken"]) if request.get("nextToken") else 0
    chosen = items[begin : begin + size]
    more = begin + size < len(items)
    return chosen, _token(begin + size, chosen[-1]) if more else None


def _token(position: int, last: str) -> str:
    return base64.urlsafe_b64encode(f"{_PREFIX}{position}:{last}".encode()).decode()


def _begin(items: list[str], token: str) -> int:
    invalid = invalid_parameter("Invalid token.")
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid from None
    position, _, last = text.removeprefix(_PREFIX).partition(":")
    if not text.startswith(_PREFIX) or not (position.isascii() and position.isdigit() and len(position) < 10):
        raise invalid
    return items.index(last) + 1 if last in items else int(position)


def paged(
    member: str, items: list[str], request: dict[str, Any], convert: Callable[[str], str] = str
) -> dict[str, Any]:
    """The answer of a List operation."""
    chosen, token = page(items, request)
    return {member: [convert(item) for item in chosen], "nextToken": token}
