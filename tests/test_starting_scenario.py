"""`init` in a folder of a project: what it fills in, where it says that it found it, and that it is valid."""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.cli.main import cli
from stop_harness.conductor import starting_scenario
from stop_harness.engines.docker.host import DockerHost
from stop_harness.errors import StopHarnessError, UsageError
from stop_harness.model import NS_PER_S, Scenario
from stop_harness.scenario import discovery

DOCKERFILE = """\
FROM debian:bookworm-slim AS build
EXPOSE 1
FROM debian:bookworm-slim
EXPOSE 8000
EXPOSE 9000
STOPSIGNAL SIGQUIT
CMD ["serve"]
"""
COMPOSE = """\
services:
  db: {image: "postgres:16"}
  web:
    build: .
    ports: ["8080:80"]
    stop_grace_period: 45s
    depends_on: [db]
"""
TASK = """\
{"family": "shop", "containerDefinitions": [
  {"name": "app", "image": "app:1",
   "portMappings": [{"containerPort": 8000}],
   "stopTimeout": 60}
]}
"""
SIDECAR = ',\n  {"name": "log", "image": "log:1", "essential": false}\n]}'
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: app
      image: "web:1"
      readinessProbe:
        httpGet: {path: /healthz, port: 8080}
"""
NAMES = {"Dockerfile": DOCKERFILE, "compose.yaml": COMPOSE, "task.json": TASK, "pod.yaml": POD}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, in which the command is called."""
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)


def init(*arguments: str) -> tuple[Result, str, Scenario]:
    """The command's answer, the text that it wrote, and the scenario that it is by the real parser."""
    answer = CliRunner().invoke(cli, ["init", "--force", *arguments])
    path = Path(next((word for word in arguments if word.endswith("a.yaml")), "stop-harness.yaml"))
    assert answer.exit_code == 0, answer.output
    return answer, path.read_text(), discovery.load((path,))[0]


def filled(text: str) -> dict[str, str]:
    """Active line → the place that its comment names."""
    return dict(re.findall(r"^ +(\w[^#\n]*?) +# (.*)$", text, re.MULTILINE))


def test_a_dockerfile_is_filled_in_line_by_line() -> None:
    """Of the final stage; of several ports the first, at its own line."""
    Path("Dockerfile").write_text(DOCKERFILE)
    answer, text, made = init()
    assert filled(text)["tcp: 8000"] == "Dockerfile:4: EXPOSE"
    assert filled(text)["signal: SIGQUIT"] == "Dockerfile:6: STOPSIGNAL"
    assert (made.name, made.subject.build_directory, made.readiness.tcp_port) == ("shop", ".", 8000)
    assert "filled in from Dockerfile" in answer.output


def test_a_health_check_comes_before_a_port() -> None:
    """The port is offered in a comment."""
    Path("Dockerfile").write_text(DOCKERFILE + "HEALTHCHECK CMD true\n")
    _, text, made = init()
    assert filled(text)["healthcheck: true"] == "Dockerfile:8: HEALTHCHECK"
    assert (made.readiness.healthcheck, made.readiness.tcp_port) == (True, None)
    assert "# tcp: 8000" in text


def test_a_health_check_that_is_taken_away_is_none() -> None:
    """`HEALTHCHECK NONE` checks nothing."""
    Path("Dockerfile").write_text(DOCKERFILE + "HEALTHCHECK NONE\n")
    assert not init()[2].readiness.healthcheck


def test_of_a_compose_file_the_service_that_is_built_is_taken() -> None:
    """Its own stop timeout, and no shorter one that it would fail; the Dockerfile that it builds says the signal."""
    Path("compose.yaml").write_text(COMPOSE)
    Path("Dockerfile").write_text(DOCKERFILE)
    _, text, made = init("--from", "compose.yaml")
    places = filled(text)
    assert places["service: web"] == "compose.yaml:3; also there: db"
    assert places["signal: SIGQUIT"].endswith("Dockerfile:6: STOPSIGNAL")
    assert "45s: compose.yaml:6: stop_grace_period" in text
    assert made.stop.timeouts_ns == tuple(seconds * NS_PER_S for seconds in (45,))


def test_what_a_service_merges_is_found_where_it_stands() -> None:
    """`<<` of an anchor, of several, the service's own keys before them, and those of the first before the others'."""
    shared = "x-a: &a {stop_grace_period: 1h}\nx-b: &b\n  stop_grace_period: 2h\n  stop_signal: SIGUSR1\n"
    Path("compose.yaml").write_text(f"{shared}services:\n  web:\n    <<: [*a, *b]\n    image: web\n")
    _, text, made = init()
    assert "timeouts: [1h]                  # one trial each; 1h: compose.yaml:1: stop_grace_period\n" in text
    assert "compose.yaml:4: stop_signal" in text
    assert made.stop.timeouts_ns == (3600 * NS_PER_S,)
    Path("compose.yaml").write_text(
        f"{shared}services:\n  web:\n    <<: *b\n    image: web\n    stop_grace_period: 3s\n"
    )
    assert "3s: compose.yaml:9: stop_grace_period" in init()[1]


@pytest.mark.parametrize(("period", "seconds"), [("30s", (30,)), ("10s", (10, 30)), ("5s", (5, 10, 30))])
def test_a_stop_timeout_stands_once(period: str, seconds: tuple[int, ...]) -> None:
    """Also where it is the default of Docker or ECS."""
    Path("compose.yaml").write_text(COMPOSE.replace("45s", period).replace("build: .", "image: web"))
    assert init()[2].stop.timeouts_ns == tuple(each * NS_PER_S for each in seconds)


def test_a_task_of_one_container_has_its_stop_timeout() -> None:
    """With the line on which it stands; where it has none, that of Amazon ECS."""
    Path("task.json").write_text(TASK)
    _, text, made = init()
    assert filled(text)["tcp: 8000"] == "task.json:3: portMappings"
    assert "1m: task.json:4: stopTimeout" in text
    assert made.stop.timeouts_ns == tuple(seconds * NS_PER_S for seconds in (60,))
    Path("task.json").write_text(re.sub(r'"stopTimeout": *\d+', '"essential": true', TASK))
    assert init()[2].stop.timeouts_ns == (30 * NS_PER_S,)


def test_a_task_of_several_keeps_its_own_stop_timeouts() -> None:
    """A list would take each container's own away; it is offered."""
    Path("task.json").write_text(TASK.replace("\n]}", SIDECAR))
    _, text, made = init()
    assert made.stop.own_timeouts
    assert "# its own: 1m" in text
    assert "task.json:4: stopTimeout of app" in text


def test_a_manifest_says_its_probe_and_its_grace_period() -> None:
    """A probe over HTTP is one condition of a scenario."""
    Path("pod.yaml").write_text(POD)
    _, text, made = init()
    assert (made.readiness.http_port, made.readiness.http_path) == (8080, "/healthz")
    assert "# pod.yaml:9: readinessProbe" in text
    assert "pod.yaml:5: terminationGracePeriodSeconds" in text


def test_a_probe_that_a_scenario_cannot_say_counts_as_it_stands() -> None:
    """It is named in a comment."""
    Path("pod.yaml").write_text(POD.replace("httpGet: {path: /healthz, port: 8080}", "exec: {command: [check]}"))
    _, text, made = init()
    assert made.readiness.implied
    assert "which counts without it (pod.yaml:9: readinessProbe)" in text


def test_of_several_files_the_dockerfile_is_taken_and_the_others_are_named() -> None:
    """With the option that takes each."""
    for name, text in NAMES.items():
        Path(name).write_text(text)
    answer = init()[0]
    named = re.findall(r"not taken: (\S+) .*--from (\S+) takes it", answer.output)
    assert named == [(name, name) for name in ("compose.yaml", "task.json", "pod.yaml")]
    for name in NAMES:
        assert f"filled in from {name};" in init("--from", name)[0].output


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_relative_to_the_scenario(name: str) -> None:
    """Which may lie in another folder than the one in which the command is called."""
    Path("stops").mkdir()
    Path(name).write_text(NAMES[name].replace("build: .", "image: web"))
    assert init("stops/a.yaml")[2].source == "stops/a.yaml"


def test_what_cannot_be_read_is_told_and_the_next_is_taken() -> None:
    """A file that is broken stops nobody."""
    Path("Dockerfile").write_text("RUN nothing\n")
    Path("compose.yaml").write_bytes(b"\xff\xfe")
    Path("docker-compose.yml").write_text("services:\n  web: [")
    Path("pod.yaml").write_text(POD)
    answer = init()[0]
    assert "not taken: Dockerfile (Dockerfile): the Dockerfile has no FROM instruction" in answer.output
    assert "not taken: compose.yaml:1:1: not UTF-8 text" in answer.output
    assert "not taken: docker-compose.yml (Compose file): docker-compose.yml:2:" in answer.output
    assert "filled in from pod.yaml" in answer.output


def test_a_stop_signal_that_is_none_is_told() -> None:
    """A scenario with it would not be valid, so that nothing is filled in from there."""
    Path("Dockerfile").write_text(DOCKERFILE.replace("SIGQUIT", "SIGNOTHING"))
    answer, text, _ = init()
    assert re.search("not taken: Dockerfile .*SIGNOTHING", answer.output)
    assert "my-service:latest" in text


def test_where_nothing_is_found_nothing_is_filled_in() -> None:
    """Other files of a project are none of its business."""
    Path("package.json").write_text(json.dumps({"name": "web", "services": {"image": "x"}}))
    Path("data.yaml").write_text("a: [1, 2]\n")
    answer, text, made = init()
    assert answer.output == (
        "nothing found to fill it in from: no Dockerfile, Compose file, task definition or Kubernetes manifest\n"
        "wrote stop-harness.yaml; edit it, then: stop-harness run stop-harness.yaml\n"
    )
    assert made.subject.image == "my-service:latest"
    assert '  log: "listening"  ' in text


def test_a_command_to_copy_is_one_for_a_shell() -> None:
    """Also with a name that has spaces."""
    answer = CliRunner().invoke(cli, ["init", "my stop.yaml"], catch_exceptions=False)
    assert answer.output.endswith("wrote my stop.yaml; edit it, then: stop-harness run 'my stop.yaml'\n")


def test_what_lies_in_folders_below_is_named() -> None:
    """Where a Dockerfile is built is not known then, so that it is not taken; a chart has to be rendered first."""
    for name, text in (("docker/Dockerfile", DOCKERFILE), ("k8s/web.yaml", POD), (".git/Dockerfile", DOCKERFILE)):
        Path(name).parent.mkdir()
        Path(name).write_text(text)
    answer, text, _ = init()
    assert answer.output.splitlines()[:-1] == [
        "nothing found here, but docker/Dockerfile (Dockerfile); --from docker/Dockerfile takes it",
        "nothing found here, but k8s/web.yaml (Kubernetes manifest); --from k8s/web.yaml takes it",
    ]
    assert "my-service:latest" in text
    Path("Chart.yaml").write_text("name: shop\n")
    assert "helm template . > rendered.yaml" in init()[0].output


def test_the_port_of_a_compose_file_comes_before_one_that_the_image_exposes() -> None:
    """Who runs the service says where it listens; of the same port the image's line stands."""
    Path("Dockerfile").write_text(DOCKERFILE)
    Path("compose.yaml").write_text("services:\n  web:\n    build: .\n    ports: ['80:9000']\n")
    _, text, made = init("--from", "compose.yaml")
    assert (made.readiness.tcp_port, filled(text)["tcp: 9000"]) == (9000, "compose.yaml:4: ports")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "none.yaml"], "none.yaml:1:1: cannot be read: No such file"),
        (["--from", "data.yaml"], "data.yaml: this is no Dockerfile, Compose file,"),
        (["--from", "data.yaml", "--container", "web"], "init takes one of --from FILE and --container NAME"),
    ],
)
def test_a_file_that_is_asked_for_has_to_be_one(arguments: list[str], message: str) -> None:
    """Nothing is written then."""
    Path("data.yaml").write_text("a: 1\n")
    with pytest.raises(StopHarnessError, match=re.escape(message)):
        CliRunner().invoke(cli, ["init", *arguments], catch_exceptions=False)
    assert not Path("stop-harness.yaml").exists()


words = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
lines = st.lists(
    st.one_of(
        st.builds("EXPOSE {}".format, st.integers(0, 70_000)),
        st.builds("STOPSIGNAL {}".format, st.sampled_from(["SIGINT", "9", "QUIT", "$X", "yes", '"SIGTERM"'])),
        st.builds("HEALTHCHECK {}".format, st.sampled_from(["NONE", "CMD true", '--interval=1s CMD ["a"]', ""])),
        st.builds("FROM {}".format, words),
        words,
    ),
    max_size=6,
)


@given(folder=words.filter(lambda word: word not in {".", ".."} and len(word.encode()) < 200), written=lines)
def test_whatever_a_dockerfile_says_what_is_written_is_valid(folder: str, written: list[str]) -> None:
    """In a folder of any name; a Dockerfile that cannot be used is told."""
    with tempfile.TemporaryDirectory() as above:
        place = Path(above, folder)
        place.mkdir()
        (place / "Dockerfile").write_text("\n".join(("FROM debian", *written)), encoding="utf-8")
        target = Path(above, "stops.yaml")
        found = starting_scenario.of_folder(place, target)
        target.write_text(found.text, encoding="utf-8")
        (made,) = discovery.load((target,))
        assert (made.subject.build_directory is not None) == bool(found.origin)
        assert bool(found.origin) != bool(found.notes)


@pytest.mark.docker
def test_a_running_container_is_only_looked_at(docker_engine_host: DockerHost) -> None:
    """Values of its environment may be secrets, and are not written."""
    client = docker_engine_host.connect()
    name = f"starting-scenario-{uuid.uuid4().hex[:8]}"
    container = client.containers.run(
        "debian:bookworm-slim",
        ["sleep", "300"],
        detach=True,
        name=name,
        environment={"TOKEN": "s3cret-value"},
        stop_signal="SIGINT",
        ports={"8000/tcp": None},
    )
    try:
        target = Path("stop-harness.yaml")
        found = starting_scenario.of_container(name, target, lambda: docker_engine_host)
        target.write_text(found.text)
        (made,) = discovery.load((target,))
        assert (made.subject.image, made.stop.signal) == ("debian:bookworm-slim", "SIGINT")
        assert made.readiness.tcp_port == 8000
        assert "TOKEN" in found.text
        assert "s3cret" not in found.text
        container.reload()
        assert container.status == "running"
        with pytest.raises(UsageError, match="there is no container"):
            starting_scenario.of_container(f"{name}-x", target, lambda: docker_engine_host)
    finally:
        container.remove(force=True)
        client.close()
    with pytest.raises(UsageError, match="is no name or id of a container"):
        starting_scenario.of_container("a b", target, lambda: docker_engine_host)
