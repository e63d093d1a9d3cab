"""Programs with helpers and jobs under every init and supervisor of Debian: what is lost, and what is no loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import (
    NS_PER_S,
    Expectation,
    Outcome,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

IMAGES = Path(__file__).parent / "who_ended_how"
PYTHON = ("python3", "-u", "/subject/app.py")
START = "/subject/start.sh"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Way:
    """How a program is started: what stands before `app.py KIND`, or before KIND alone with `start.sh`."""

    words: tuple[str, ...]
    init: bool = False

    def subject(self, kind: str) -> Subject:
        """A container of it."""
        return Subject(build_directory=str(IMAGES), entrypoint=self.words, command=(kind,), init=self.init)


ALONE = {
    "tini": Way(("tini", "--", *PYTHON)),
    "dumb-init-c": Way(("dumb-init", "--single-child", *PYTHON)),
    "catatonit": Way(("catatonit", "--", *PYTHON)),
    "docker-init": Way(PYTHON, init=True),
    "supervisord": Way((START, "supervise", "false")),
    "s6": Way((START, "s6")),
    "runit": Way((START, "runit")),
    "forward": Way((START, "forward")),
}
"""Whoever signals the program signals it alone."""

GROUP = {
    "tini-g": Way(("tini", "-g", "--", *PYTHON)),
    "dumb-init": Way(("dumb-init", *PYTHON)),
    "stopasgroup": Way((START, "supervise", "true")),
    "kill0": Way((START, "kill0")),
}
"""Whoever signals the program signals its whole process group."""

FIRST = {"exec": Way((START, "exec"))}
"""The program is PID 1."""

IDLE = "idle threads zombie cat tail infinity loop pause accept epoll prefork session handles ended".split()
"""Kinds that lose nothing, however they are signalled."""
FINISH = "pool terminate report busy run client gzip fails".split()
"""Kinds that finish their job, or end it by themselves, where they alone are signalled."""
AT_WORK = "report busy run client gzip fails".split()
"""Kinds whose job is at work when a signal for the whole group ends it."""

BELOW_AN_INIT = {"tini-g": ("tini", "-g", "--"), "dumb-init": ("dumb-init",)}
"""What stands before a script."""


def kinds(ways: dict[str, Way], names: Iterable[str]) -> dict[str, Subject]:
    """Each kind, started in each way."""
    return {f"{name}-{kind}": way.subject(kind) for name, way in ways.items() for kind in names}


def scripts(ways: Iterable[str], *words: str) -> dict[str, Subject]:
    """An entrypoint script below each of these inits."""
    return {
        f"{way}-{'-'.join(words)}": Subject(
            build_directory=str(IMAGES), entrypoint=BELOW_AN_INIT[way], command=(START, *words)
        )
        for way in ways
    }


GRACEFUL = {
    **kinds(ALONE | GROUP, (*IDLE, "nohandler")),
    **kinds(ALONE, FINISH),
    **kinds(FIRST, ("idle", "pool", "prefork", "session", "report", "busy", "helpers")),
    **kinds(ALONE, ["twice"]),
    **scripts(BELOW_AN_INIT, "loop"),
    **scripts(BELOW_AN_INIT, "helper", "idle"),
}
LOSSY = {**kinds(GROUP, AT_WORK), **scripts(["dumb-init"], "forward", "twice")}


def run(subjects: dict[str, Subject]) -> dict[str, TrialResult]:
    """Stop each once, two at a time."""
    scenarios = tuple(
        Scenario(
            name,
            asked,
            readiness=Readiness(log="^ready$", timeout_ns=60 * NS_PER_S),
            stop=StopPlan((20 * NS_PER_S,)),
            expectations=(Expectation(outcomes=tuple(Outcome)),),
        )
        for name, asked in subjects.items()
    )
    request = RunRequest(scenarios, "test", None, engine="docker", jobs="2")
    results = pipeline.run(request, Silence(), Interruption()).report.results
    return {result.observation.scenario: result for result in results}


def unlike(results: dict[str, TrialResult], *outcomes: Outcome) -> list[str]:
    """What ended otherwise, for people."""
    wrong = [item for item in results.items() if item[1].verdict.outcome not in outcomes]
    return [f"{name}: {result.verdict.outcome}: {result.verdict.reason}" for name, result in wrong]


@pytest.mark.long
def test_graceful_stops_stay_graceful(docker_engine_host: DockerHost) -> None:
    """Under every init and supervisor: idle helpers, pools, a shell's sleep, jobs that are finished. One kind in four
    of each, in turns."""
    results = run(dict(list(GRACEFUL.items())[::4]))
    wrong = unlike(results, Outcome.GRACEFUL)
    assert not wrong, "\n".join(wrong)


@pytest.mark.servers
def test_at_most_one_in_a_hundred_graceful_stops_is_called_anything_else(docker_engine_host: DockerHost) -> None:
    """Every kind under every init and supervisor."""
    results = run(GRACEFUL)
    wrong = unlike(results, Outcome.GRACEFUL)
    assert len(wrong) <= len(results) / 100, "\n".join(wrong)


@pytest.mark.long
def test_no_lost_job_is_called_graceful(docker_engine_host: DockerHost) -> None:
    """A signal for the group ends a job at work, or a second one does. Where the look met a job that may still have
    been starting, or that may have finished, doubt is right; it is seldom."""
    results = run(LOSSY)
    wrong = unlike(results, Outcome.LOSSY, Outcome.INCONCLUSIVE)
    assert not wrong, "\n".join(wrong)
    doubtful = unlike(results, Outcome.LOSSY)
    assert len(doubtful) <= len(results) / 4, "\n".join(doubtful)
