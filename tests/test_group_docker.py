"""Groups of containers on a real engine: how they start, what they share, and how they are stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL
from stop_harness.model import (
    NS_PER_S,
    ContainerSettings,
    Dependency,
    EventKind,
    GivenFile,
    GroupVolume,
    HealthCheck,
    Hook,
    HookKind,
    Mount,
    MountKind,
    Outcome,
    ProblemKind,
    RemedyEffect,
    StartCondition,
)
from stop_harness.trial.perform import Interruption
from tests.group_support import IGNORES, LEAVES, container, moment, project, scenario, service, stopped, subject
from tests.silence import Silence

pytestmark = pytest.mark.docker

LOOKS_UP = (
    "import socket; print(*sorted({socket.gethostbyname(it) for it in ('db', 'database', 'shop-db-1', 'store')}))\n"
)


def test_one_is_stopped_alone_and_finds_the_others_by_name(docker_engine_host: DockerHost) -> None:
    """Service name, alias, container name and link are one address; to the rest of the product it is a single
    container."""
    web = service("web", subject(LOOKS_UP + LEAVES), waits_for=(Dependency("db"),), links=(("db", "store"),))
    result = stopped(project(web, service("db", aliases=("database",)), stopped="web"))
    seen = result.observation
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, seen.problem)
    assert seen.task is None
    assert seen.record.gone_beside == ()
    assert len(seen.looks.logs.text.splitlines()[0].split()) == 1


def test_a_whole_project_goes_dependents_first(docker_engine_host: DockerHost) -> None:
    """Each waits for those that depend on it; who depends on nobody and on whom nobody depends, waits for nobody."""
    group = project(
        service("db"),
        service("app", subject(DRAIN="1"), waits_for=(Dependency("db"),)),
        service("web", subject(DRAIN="1"), waits_for=(Dependency("app"),)),
        service("cron", subject(DRAIN="1.5")),
    )
    result = stopped(group)
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    web, app, db, cron = (container(result, name) for name in ("web", "app", "db", "cron"))
    assert (web.waits_for, app.waits_for, db.waits_for, cron.waits_for) == ((), ("web",), ("app",), ())
    assert moment(app, EventKind.SIGNAL_SENT) > moment(web, EventKind.EXITED)
    assert moment(db, EventKind.SIGNAL_SENT) > moment(app, EventKind.EXITED) > moment(cron, EventKind.SIGNAL_SENT)
    assert moment(cron, EventKind.SIGNAL_SENT) < moment(app, EventKind.SIGNAL_SENT)


@pytest.mark.long
def test_a_chain_takes_the_sum_of_its_own_stop_timeouts(docker_engine_host: DockerHost) -> None:
    """Each with its own, cut to whole seconds, or the project's; who needs SIGKILL keeps the others waiting."""
    web = service("web", subject(IGNORES), waits_for=(Dependency("db"),), stop_timeout_ns=1_900_000_000)
    result = stopped(project(web, service("db"), grace_ns=3 * NS_PER_S), own=True)
    assert result.verdict.outcome is Outcome.KILLED, result.verdict.reason
    killed, db = container(result, "web"), container(result, "db")
    assert (killed.stop_timeout_ns, db.stop_timeout_ns) == (NS_PER_S, 3 * NS_PER_S)
    assert moment(db, EventKind.SIGNAL_SENT) > moment(killed, EventKind.SIGNAL_SENT, 9)
    assert {item.name: item.outcome for item in result.verdict.containers} == {
        "web": Outcome.KILLED,
        "db": Outcome.GRACEFUL,
    }


def test_one_that_ends_by_itself_before_it_is_told_got_no_signal(docker_engine_host: DockerHost) -> None:
    """It is judged by its exit code, whatever stop timeout it would have had, and nothing is said of a signal."""
    ends = (
        "import socket; socket.create_server(('', 7000)).accept(); print('no lease', flush=True); raise SystemExit(7)"
    )
    poke = "import socket, time; time.sleep(3); socket.create_connection(('db', 7000))"
    hook = Hook(HookKind.EXEC, ("python3", "-c", poke))
    web = service("web", subject(DRAIN="1.5"), waits_for=(Dependency("db"),), before_stop=(hook,))
    result = stopped(project(web, service("db", subject(ends), stop_timeout_ns=NS_PER_S)), own=True)
    db = next(item for item in result.verdict.containers if item.name == "db")
    assert container(result, "db").record.left_untold
    assert not container(result, "web").record.left_untold
    assert db.outcome is Outcome.CRASHED, db.reason
    assert "after the stop of its group began and before it was told to" in db.reason
    assert "SIGTERM" not in db.reason
    assert db.cause is not None
    assert (db.cause.id, "no lease" in db.cause.evidence) == ("failed-before-stop", True)


def test_compose_stops_nobody_whose_hook_fails_nor_what_it_depends_on(docker_engine_host: DockerHost) -> None:
    """Hooks are outside of the stop timeout; the others are stopped, replicas beside each other."""
    fails = (Hook(HookKind.EXEC, ("sh", "-c", "exit 3")),)
    lasts = (Hook(HookKind.EXEC, ("sleep", "2")),)
    group = project(
        service("db"),
        service("web", waits_for=(Dependency("db"),), before_stop=fails),
        service("cron", replicas=2, before_stop=lasts, after_start=(Hook(HookKind.EXEC, ("true",)),)),
    )
    result = stopped(group, timeout_s=1)
    outcomes = {item.name: item.outcome for item in result.verdict.containers}
    assert outcomes == {
        "db": Outcome.INCONCLUSIVE,
        "web": Outcome.INCONCLUSIVE,
        "cron-1": Outcome.GRACEFUL,
        "cron-2": Outcome.GRACEFUL,
    }, result.verdict.reason
    assert container(result, "web").not_told == (
        "its hook before the stop failed (`sh -c exit 3`): it exited with code 3; Compose does not stop it then"
    )
    assert container(result, "db").not_told == "container web, which depends on it, was not stopped"
    assert container(result, "cron-1").hooks[0].took_ns >= 2 * NS_PER_S
    assert result.verdict.outcome is Outcome.INCONCLUSIVE


def test_a_container_with_a_failing_hook_is_not_stopped_alone_either(docker_engine_host: DockerHost) -> None:
    """`docker compose stop` ends with an error; that says nothing of how the container stops."""
    fails = (Hook(HookKind.EXEC, ("no-such-program",)),)
    result = stopped(project(service("web", before_stop=fails), stopped="web"))
    assert result.observation.problem is not None
    assert result.observation.problem.kind is ProblemKind.HOOK_FAILED
    assert result.verdict.outcome is Outcome.INCONCLUSIVE


def test_a_hook_before_the_stop_of_one_service_is_told(docker_engine_host: DockerHost) -> None:
    """What it did and how long it took, beside the stop itself, as for a whole project."""
    waits = (Hook(HookKind.EXEC, ("sleep", "0.5")),)
    result = stopped(project(service("web", before_stop=waits), stopped="web"))
    (hook,) = result.observation.record.hooks
    assert (hook.command, hook.reason, hook.cut_off) == ("sleep 0.5", "", False)
    assert hook.took_ns >= NS_PER_S // 2
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason


DIES = """
from stop_harness.model import GroupVolume, Mount, MountKind, ContainerSettings
from tests.group_support import IGNORES, project, run, scenario, service, subject
both = Mount(MountKind.VOLUME, "/data", "data"), Mount(MountKind.VOLUME, "/other", "other")
app = subject(IGNORES, settings=ContainerSettings(mounts=both))
group = project(service("web", app), volumes=(GroupVolume("data", tmpfs="size=1m"),))
run(scenario(group, timeout_s=120))
"""


@pytest.mark.long
def test_a_cure_is_tried_on_the_service_that_was_stopped(docker_engine_host: DockerHost) -> None:
    """Among the services that it needs, as the bad stop was: an init cures a program without a handler."""
    idle = subject("import time; print('ready')\nwhile True: time.sleep(0.05)")
    group = project(service("web", idle, waits_for=(Dependency("db"),)), service("db"), stopped="web")
    request = RunRequest((scenario(group, timeout_s=2),), "test", None, engine="docker", try_fixes=True)
    report = pipeline.run(request, Silence(), Interruption()).report
    assert report.results[0].verdict.outcome is Outcome.KILLED
    cures = {tried.remedy.id for tried in report.remedies if tried.effect is RemedyEffect.CURES}
    assert "init" in cures, [(tried.remedy.id, tried.effect, tried.note) for tried in report.remedies]


def test_nothing_of_a_group_is_left_when_the_harness_is_killed(docker_engine_host: DockerHost) -> None:
    """Its containers, volumes and networks are the reaper's."""
    with subprocess.Popen([sys.executable, "-c", DIES], cwd=Path(__file__).parent.parent) as process:
        client = docker_engine_host.connect()

        def left() -> dict[str, int]:
            things = {
                "containers": [item["Labels"] for item in client.api.containers(all=True)],
                "volumes": [item.get("Labels") for item in client.api.volumes().get("Volumes") or ()],
                "networks": [item.get("Labels") for item in client.api.networks()],
            }

            def ours(labels: dict[str, str] | None) -> bool:
                return f"/{process.pid}/" in (labels or {}).get(OWNER_LABEL, "")

            return {what: sum(map(ours, items)) for what, items in things.items()}

        try:
            _until(lambda: left() == {"containers": 1, "volumes": 2, "networks": 1}, left)
        finally:
            process.kill()
        _until(lambda: not any(left().values()), left)
        client.close()


def _until(holds: Callable[[], bool], left: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, left()
        time.sleep(0.2)


def test_volumes_are_shared_and_begin_with_what_is_given(docker_engine_host: DockerHost) -> None:
    """One on disk with a file in it, one in memory; both are the group's, and fresh."""
    mounts = (Mount(MountKind.VOLUME, "/conf", "conf"), Mount(MountKind.VOLUME, "/scratch", "scratch"))
    settings, check = ContainerSettings(mounts=mounts), HealthCheck(("CMD", "ls", "/scratch/note"))
    writes = "open('/scratch/note', 'w').write('from db')\n" + LEAVES
    reads = (
        "import os; print(open('/conf/sub/a.txt').read(), open('/scratch/note').read(), oct(os.stat('/conf/sub/a.txt')"
        ".st_mode & 0o777), os.stat('/conf').st_gid, 'tmpfs /scratch' in open('/proc/mounts').read())\n" + LEAVES
    )
    group = project(
        service("web", subject(reads, settings=settings), waits_for=(Dependency("db", StartCondition.HEALTHY),)),
        service("db", subject(writes, settings=replace(settings, healthcheck=check))),
        stopped="web",
        volumes=(
            GroupVolume("conf", (GivenFile("sub/a.txt", b"given", 0o640),), group_id=1234),
            GroupVolume("scratch", tmpfs="size=1m"),
        ),
    )
    result = stopped(group)
    assert result.observation.looks.logs.text.splitlines()[:1] == ["given from db 0o640 1234 True"]


def test_a_dependency_that_never_gets_healthy_is_named_with_what_it_wrote(docker_engine_host: DockerHost) -> None:
    """Nothing can be said of the container under test, and nothing is. Podman without systemd runs no health check: we
    do, and say so."""
    check = HealthCheck(("CMD", "false"), interval_ns=NS_PER_S // 2, retries=2)
    db = service("db", subject("print('no space left')\n" + LEAVES, settings=ContainerSettings(healthcheck=check)))
    web = service("web", waits_for=(Dependency("db", StartCondition.HEALTHY),))
    result = stopped(project(db, web, stopped="web"))
    problem = result.observation.problem
    assert problem is not None
    assert problem.kind is ProblemKind.NOT_READY
    assert "db has to be healthy before web starts, but " in problem.message
    assert ("without systemd" if docker_engine_host.podman else "its health check fails") in problem.message
    assert "no space left" in problem.message
    assert result.verdict.outcome is Outcome.INCONCLUSIVE


def test_what_has_to_end_first_has_ended(docker_engine_host: DockerHost) -> None:
    """With exit code 0 the next starts; with another it does not, and that is said."""
    migrate = service("migrate", subject("print('migrated')"))
    web = service("web", waits_for=(Dependency("migrate", StartCondition.COMPLETED),))
    result = stopped(project(migrate, web))
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert not container(result, "migrate").had_to_be_stopped
    failing = service("migrate", subject("raise SystemExit(3)"))
    problem = stopped(project(failing, web, stopped="web")).observation.problem
    assert problem is not None
    assert "has to have ended with exit code 0 before web starts, but it exited with code 3" in problem.message


GOES_WHEN_CALLED = "import socket; socket.create_server(('', 9000)).accept(); raise SystemExit(7)"
CALLS_DB_AND_DRAINS = LEAVES.replace(
    "def on_stop(*_):", "def on_stop(*_):\n    import socket; socket.create_connection(('db', 9000)); time.sleep(3)"
)


def test_a_dependency_that_goes_while_the_other_stops_makes_it_inconclusive(docker_engine_host: DockerHost) -> None:
    """What a container does without the one that it needs is not its own stop."""
    db = service("db", subject(GOES_WHEN_CALLED))
    web = service("web", subject(CALLS_DB_AND_DRAINS), waits_for=(Dependency("db"),))
    result = stopped(project(db, web, stopped="web"))
    assert result.observation.record.gone_beside == ("db exited with code 7 while it stopped",)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, result.verdict.reason
    assert "db exited with code 7" in result.verdict.reason
