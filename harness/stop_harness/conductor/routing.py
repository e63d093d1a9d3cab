"""Several engines behind one: whole tasks go to an ECS engine, everything else to the one that was chosen."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness.engines.interface import Engine, PrepareProgress, RunningSubject
from stop_harness.model import Configuration, EngineInfo, Scenario, Trial


class RoutingEngine:
    """`open_tasks` is called when the first task definition is met. `no_tasks_because`: why none can be run, None where
    they can."""

    def __init__(
        self, chosen: Engine, open_tasks: Callable[[], Engine], *, no_tasks_because: str | None = None
    ) -> None:
        self._chosen, self._open_tasks, self._no_tasks_because = chosen, open_tasks, no_tasks_because
        self._tasks: Engine | None = None

    def engine_of(self, scenario: Scenario) -> Engine:
        """The engine that runs a scenario."""
        if scenario.subject.task is None:
            return self._chosen
        if self._tasks is None:
            self._tasks = self._open_tasks()
        return self._tasks

    def info(self) -> EngineInfo:
        """Of the engine that was chosen; each observation names its own."""
        return self._chosen.info()

    def cannot_run(self, scenario: Scenario) -> str | None:
        """As its engine says."""
        if scenario.subject.task is not None and self._no_tasks_because is not None:
            return self._no_tasks_because
        return self.engine_of(scenario).cannot_run(scenario)

    def configuration(self, scenario: Scenario) -> Configuration:
        """As its engine says."""
        return self.engine_of(scenario).configuration(scenario)

    def reference(self) -> Scenario | None:
        """Of the engine that was chosen."""
        return self._chosen.reference()

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Each engine its own."""
        for wanted in (False, True):
            some = tuple(item for item in scenarios if (item.subject.task is not None) is wanted)
            if some:
                self.engine_of(some[0]).prepare(some, progress)

    def start(self, trial: Trial) -> RunningSubject:
        """On the trial's engine."""
        return self.engine_of(trial.scenario).start(trial)

    def abort(self) -> None:
        """Both."""
        if self._tasks is not None:
            self._tasks.abort()
        self._chosen.abort()

    def leftovers(self) -> str | None:
        """On the chosen engine, where tasks leave theirs as well."""
        return self._chosen.leftovers()

    def close(self) -> tuple[str, ...]:
        """Both."""
        left: tuple[str, ...] = ()
        try:
            if self._tasks is not None:
                left = self._tasks.close()
        finally:
            left += self._chosen.close()
        return left


def engine_of(engine: Engine, scenario: Scenario) -> Engine:
    """The engine that really runs a scenario."""
    return engine.engine_of(scenario) if isinstance(engine, RoutingEngine) else engine
