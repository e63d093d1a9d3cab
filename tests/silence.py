"""A listener that keeps what it hears instead of printing it."""

from __future__ import annotations

from stop_harness.engines.interface import Engine
from stop_harness.model import Plan, Trial, TrialResult


class Silence:
    """Collects notes, preparations, steps and results for a test to look at."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.preparations: list[tuple[str, str]] = []
        self.steps: list[tuple[str, str]] = []
        self.results: list[TrialResult] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def preparing(self, what: str, state: str) -> None:
        """Keep it."""
        self.preparations.append((what, state))

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Nothing to keep."""

    def step(self, running: Trial, step: str) -> None:
        """Keep it."""
        self.steps.append((running.trial_id, step))

    def ended(self, result: TrialResult) -> None:
        """Keep it."""
        self.results.append(result)
