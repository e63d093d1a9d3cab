"""What the fixture `stop_harness` is: the Python API with the session's engine, whose stops get into its report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, Unpack

if TYPE_CHECKING:
    from stop_harness.api import keywords as kw
    from stop_harness.api.results import Judged, Result, RunReport
    from stop_harness.pytest_plugin.session import StopSession

    Found = TypeVar("Found", bound=Judged)


class StopHarness:
    """Stops containers from a test, or from a fixture of any scope."""

    def __init__(self, session: StopSession) -> None:
        self._session = session

    def check(
        self,
        container: str | kw.HasContainer | kw.IsContainer | None = None,
        /,
        **keywords: Unpack[kw.CheckKeywords],
    ) -> Result:
        """`stop_harness.check`, on the engine of `--stop-harness-engine` unless `engine` names another, and with the
        settings and waivers of the project.

        Skips the test where no engine answers. Raises as `stop_harness.check` does.
        """
        from stop_harness.api import calls
        from stop_harness.scenario import check_options

        engine: str | None = keywords.get("engine")
        if container is not None or (keywords.get("container") is not None and "kubernetes" not in keywords):
            engine = "docker"  # it runs already, and where it does
        elif engine is None and not check_options.is_bare(keywords):
            engine = keywords["engine"] = self._session.engine.name
        settings = self._session.keywords.items()
        given = {name: value for name, value in settings if name != "seed"} | dict(keywords)  # that orders scenarios
        return self._found(lambda: calls.check_waived(container, given, self._session.waivers), engine)

    def run(self, *paths: kw.StrPath, **keywords: Unpack[kw.RunKeywords]) -> RunReport:
        """`stop_harness.run`, on the engine of `--stop-harness-engine` unless `engine` names another, and with the
        settings and waivers of the project.

        Skips the test where no engine answers. Raises as `stop_harness.run` does.
        """
        from stop_harness.api import calls

        keywords.setdefault("engine", self._session.engine.name)
        given = {**self._session.keywords, **keywords}
        return self._found(lambda: calls.run_waived(paths, given, self._session.waivers), keywords["engine"])

    def _found(self, work: Callable[[], Found], engine: str | None) -> Found:
        import pytest

        from stop_harness.errors import EngineError
        from stop_harness.pytest_plugin import shown

        choice = self._session.engine.instead(engine)
        choice.require()
        try:
            result = work()
        except EngineError as error:
            if choice.is_reason_to_skip(error):
                pytest.skip(" ".join(str(error).split()))
            raise
        if result.stored is not None:
            self._session.keep(result.stored, result.record)
        for note in (*result.notes, *result.problems, *shown.waived(result.record)):
            self._session.meeting_place.note(note)
        if self._session.item is not None and result.worst is not None:
            self._session.item.user_properties += shown.properties(result.worst)
        return result
