"""Faults that need something of the image: made from the engine's machine without it, or refused beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines import pause_program
from stop_harness.engines.docker import own_images
from stop_harness.engines.docker.faults import image_contents, refusals
from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux import tmpfs
from stop_harness.model import NS_PER_S, ContainerSettings, Mount, MountKind, Outcome, Readiness, StopPlan, Subject
from stop_harness.model import Scenario as Asked
from stop_harness.scenario import standard_faults
from stop_harness.trial.perform import Interruption
from tests.silence import Silence
from tests.test_faults_docker import BASE_IMAGE

pytestmark = pytest.mark.docker

FULL = ContainerSettings(mounts=(Mount(MountKind.TMPFS, "/data", options="size=1m"),))


@pytest.fixture
def scratch(docker_engine_host: DockerHost) -> Iterator[str]:
    """An image of one file, which waits for SIGTERM."""
    client: docker.DockerClient = docker_engine_host.connect()
    program = pause_program.build(own_images.machine(client.api))
    if program is None:
        client.close()
        pytest.skip("no such program for this architecture")
    yield own_images.imported(client.api, "shell-less", program, {}, 'CMD ["/shell-less"]')
    client.close()


def asked(image: str) -> tuple[Asked, ...]:
    """The container undisturbed, and under the faults that a command in it may make."""
    plain = Asked(
        "shell-less",
        Subject(image=image, settings=FULL),
        readiness=Readiness(delay_ns=NS_PER_S // 5),
        stop=StopPlan((3 * NS_PER_S,)),
    )
    return standard_faults.beside_faults((plain,), "tmpfs-full,names-unanswered").scenarios


def test_by_root_on_the_engines_machine_they_need_no_shell(scratch: str, docker_engine_host: DockerHost) -> None:
    """The tmpfs is full, and names are asked of nobody, in a container that can run nothing else."""
    if os.geteuid() != 0 or not docker_engine_host.same_kernel or docker_engine_host.podman:
        pytest.skip("that takes root on the engine's machine")
    outcome = pipeline.run(RunRequest(asked(scratch), "test", None, engine="docker"), Silence(), Interruption())
    for result in outcome.report.results:
        assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
        assert all(record.problem is None for record in result.observation.faults)
    (row,) = outcome.report.resilience
    assert [cell.not_tried for cell in row.faults] == [None, None]


def test_from_elsewhere_an_image_without_a_shell_is_found_before_anything_starts(
    scratch: str, docker_engine_host: DockerHost
) -> None:
    """By a container that is never started; an image with a shell is left alone."""
    client: docker.DockerClient = docker_engine_host.connect()
    far = replace(docker_engine_host, same_kernel=False)

    def image_of(scenario: Asked) -> str:
        return scenario.subject.image or ""

    both = (*asked(scratch), *asked(BASE_IMAGE))
    found = image_contents.look(client.api, both, far, image_of, {})
    client.close()
    assert {image: contents.shell for image, contents in found.items()} == {scratch: False, BASE_IMAGE: True}
    _, full, names = sorted(asked(scratch), key=lambda item: item.name, reverse=True)[::-1]
    for scenario in (full, names):
        said = refusals.refusal(scenario, far, found[scratch])
        assert said is not None
        assert said.endswith("it needs a shell in the image, which has no /bin/sh, or root on the engine's machine")
        assert refusals.refusal(scenario, far) is None


def test_nothing_but_the_tmpfs_itself_is_ever_filled() -> None:
    """Neither a folder of the disk, nor what a link leads to."""
    for place in ("/", "/tmp/..", "/proc", "/no/such/place"):
        with pytest.raises(tmpfs.NotThere):
            tmpfs.fill(os.getpid(), place, ".never")
