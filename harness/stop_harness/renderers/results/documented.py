"""What the sections of results.json share."""

from __future__ import annotations

from dataclasses import dataclass


class Documented:
    """Makes pydantic take the docstring under each field as its description in the schema."""

    __pydantic_config__ = {"use_attribute_docstrings": True}  # noqa: RUF012 - pydantic reads it, nobody changes it


@dataclass(frozen=True)
class WarningDocument(Documented):
    """A doubt about the run as a whole, with what to do about it."""

    rule: str
    message: str
    advice: str
