"""Where a key stands among the keys of a scenario, and how a value is shown in a message. Pure."""

from __future__ import annotations

Key = str | int


Path = tuple[Key, ...]


def show(value: object) -> str:
    """A value in a message, 60 characters at most."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
