"""Where no engine answers, a test is skipped with the reason; or it is an error, if an engine is required."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from stop_harness.errors import EngineError, StopHarnessError

ENGINES = ("auto", "docker", "process", "ecs")
"""As in `conductor/open_engine.py`, which is no light module."""


@dataclass(frozen=True)
class EngineChoice:
    """Which engine is meant, as in `--engine`, and whether a test without one is an error."""

    name: str
    required: bool

    def instead(self, name: str | None) -> EngineChoice:
        """The same with another engine. None: a bare command is stopped, which needs no container engine."""
        return self if name == self.name else replace(self, name=name or "process")

    def require(self) -> None:
        """Raise EngineError where a container engine is required and none answers, before another takes its place."""
        if self.required and self._missing is not None:
            raise EngineError(f"a container engine is required here, and none answers: {self._missing}")

    def is_reason_to_skip(self, error: StopHarnessError) -> bool:
        """Whether an error is the want of an engine, and none is required."""
        return isinstance(error, EngineError) and not self.required and self._missing is not None

    @cached_property
    def _missing(self) -> str | None:
        """Why the container engine does not answer; None where it does, or where another kind of engine is meant."""
        from stop_harness.conductor import open_engine

        if self.name not in {"auto", "docker"}:
            return None
        try:
            open_engine.find_docker()
        except EngineError as error:
            return str(error)
        return None
