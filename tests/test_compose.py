"""One service of a Compose file → a scenario."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.cli import check, main
from stop_harness.errors import ScenarioError, StopHarnessError, UsageError
from stop_harness.model import (
    NS_PER_S,
    ContainerSettings,
    Exchange,
    HealthCheck,
    Mount,
    MountKind,
    Outcome,
    TrafficKind,
    Ulimit,
)
from stop_harness.scenario import check_options
from stop_harness.scenario.compose import group, loading, project, reader
from stop_harness.scenario.compose.keys import OF_A_SERVICE
from stop_harness.scenario.compose.project import Project

FULL = """
services:
  web:
    build: {context: ./app, dockerfile: prod.Dockerfile, args: {LEVEL: 3}}
    command: python3 server.py --name "my server"
    entrypoint: ["/entry.sh", "now"]
    environment: {PORT: 8000, DEBUG: false, TOKEN: , HOME_OF: "${USER_NAME:-nobody}"}
    init: true
    user: 1000
    working_dir: /srv
    mem_limit: 64m
    pids_limit: 0
    stop_signal: SIGQUIT
    stop_grace_period: 1m30s
    ports: ["8000:8000"]
  db:
    image: postgres:${VERSION-16}
    environment: [PASSWORD=a=b, TOKEN]
    deploy: {resources: {limits: {memory: 1g, pids: 100}}}
"""


FILE = "folder/compose.yaml"


def project_of(
    text: str, environment: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> tuple[Project, reader.Disk]:
    """The project of `folder/compose.yaml`, read by our own reader, and a disk with some more files."""
    known = {FILE: text, **(files or {})}
    disk = reader.Disk(known.__getitem__, known.__contains__, lambda path: any(name.startswith(path) for name in known))
    found = reader.read((FILE,), environment or {}, disk)
    return project.project_of(found.tree.plain(), found, FILE, "folder", environment or {}), disk


def stopped(
    text: str, service: str | None, environment: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> group.Stopped:
    """A service of that file, or all of them."""
    found, disk = project_of(text, environment, files)
    names = found.enabled if service is None else (service,)
    return group.stopped(found.with_enabled(names), service, names, disk)


DOCKERFILES = dict.fromkeys(("folder/app/prod.Dockerfile", "folder/Dockerfile"), "FROM scratch")


def read(text: str, service: str, environment: Mapping[str, str] | None = None) -> group.Stopped:
    """The service, where the files are that its texts name."""
    return stopped(text, service, environment, DOCKERFILES)


def test_a_service_becomes_the_scenario_that_it_describes() -> None:
    """Everything that matters for a stop is taken over, relative to the Compose file."""
    found = read(FULL, "web", {"TOKEN": "secret"})
    subject = found.subject
    assert found.name == "web"
    assert subject.image is None
    assert subject.build_directory == "folder/app"
    assert subject.dockerfile == "prod.Dockerfile"
    assert subject.build_args == (("LEVEL", "3"),)
    assert subject.command == ("python3", "server.py", "--name", "my server")
    assert subject.entrypoint == ("/entry.sh", "now")
    assert dict(subject.environment) == {"PORT": "8000", "DEBUG": "false", "TOKEN": "secret", "HOME_OF": "nobody"}
    assert subject.init
    assert (subject.user, subject.working_directory) == ("1000", "/srv")
    assert subject.memory_bytes == 64 * 2**20
    assert subject.pids_limit is None
    assert found.signal == "SIGQUIT"
    assert found.timeouts_ns == (30 * NS_PER_S, 90 * NS_PER_S)


def test_a_service_of_an_image_is_stopped_at_composes_default_and_at_30_seconds() -> None:
    """10 s is what `docker compose down` gives it, 30 s what ECS would."""
    found = read(FULL, "db")
    assert found.subject.image == "postgres:16"
    assert dict(found.subject.environment) == {"PASSWORD": "a=b"}
    assert found.subject.memory_bytes == 2**30
    assert found.subject.pids_limit == 100
    assert found.timeouts_ns == (10 * NS_PER_S, 30 * NS_PER_S)


@pytest.mark.parametrize(
    ("text", "environment", "wanted"),
    [
        ("$A", {"A": "x"}, "x"),
        ("${A}y", {"A": "x"}, "xy"),
        ("${A}y", {}, "y"),
        ("${A:-z}", {"A": ""}, "z"),
        ("${A-z}y", {"A": ""}, "y"),
        ("${A-z}", {}, "z"),
        ("$$A", {"A": "x"}, "$A"),
        ("a$", {}, "a$"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, environment: dict[str, str], wanted: str) -> None:
    """Set, unset, empty, with a default, escaped."""
    found = read(f"services: {{a: {{image: '{text}'}}}}", "a", environment)
    assert found.subject.image == wanted


def test_a_variable_that_must_be_set_is_asked_for() -> None:
    """With the text that its author wrote."""
    with pytest.raises(UsageError, match="variable TAG is needed: name a release"):
        read("services: {a: {image: 'x:${TAG:?name a release}'}}", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[1]", "not a Compose file"),
        ("services: {}", "not a Compose file"),
        ("services: {b: {image: a}, c: {image: a}}", "no service 'a'; services: b, c"),
        ("services: {a: 3}", "services.a: a mapping of keys is needed"),
        (
            "services: {a: {image: x, stop_grace_period: soon}}",
            "services.a.stop_grace_period: 'soon' is not a duration",
        ),
        ('services: {a: {image: x, command: "it\'s"}}', "services.a is not as Compose has it .No closing quotation"),
        ("services: {a: {build: 3}}", "services.a is not as Compose has it"),
        ("services: &s {a: *s}", "more than 100000 values or 50 levels; this is no Compose file"),
        ("{" * 3000, "nested too deeply to be a Compose file"),
        ("services: [", "not valid YAML"),
        ("\0", "not valid YAML"),
    ],
)
def test_mistakes_in_a_compose_file_are_named(text: str, message: str) -> None:
    """With the file, never a traceback."""
    with pytest.raises(UsageError, match=rf"folder/compose\.yaml(:\d+:\d+)?: .*{message}"):
        read(text, "a")


def test_a_service_without_image_and_build_is_refused() -> None:
    """There is nothing to run."""
    with pytest.raises(UsageError, match=r"folder/compose\.yaml:1:12: services\.a: neither `image` nor `build`"):
        read("services: {a: {command: sleep 1}}", "a")
    with pytest.raises(UsageError, match=r"services\.a: what a program provides is no container"):
        read("services: {a: {provider: {type: awesomecloud}}}", "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "services:\n  a:\n    image: x\n    comand: y\n",
            ":4:5: services.a.comand: Compose has no such key; is `command`",
        ),
        (
            "services:\n  a: {image: x}\n  b: {image: x, frobnicate: 3}\n",
            ":3:17: services.b.frobnicate: Compose has no such key; a key of your own begins with `x-`",
        ),
        ("service: {}\nservices: {a: {image: x}}\n", ":1:1: service: Compose has no such key; is `services` meant?"),
    ],
)
def test_a_key_that_compose_does_not_have_is_refused(text: str, said: str) -> None:
    """As its schema does, anywhere in the file: else something is measured that nobody meant."""
    with pytest.raises(UsageError) as refused:
        read(text, "a")
    assert f"{FILE}{said}" in str(refused.value)


def test_a_file_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    """As elsewhere."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(b"services:\n  a: {image: caf\xe9}\n")
    with pytest.raises(UsageError, match=r"compose.yaml:2:1: not UTF-8 text"):
        loading.read_text(str(file))


def test_every_key_of_composes_schema_and_those_of_ones_own_are_taken() -> None:
    """compose-spec, schema/compose-spec.json: whatever they are worth here, they are no mistake."""
    schema = """annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
        container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus
        cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search
        domainname entrypoint env_file environment expose extends external_links extra_hosts gpus group_add
        healthcheck hostname image init ipc isolation label_file labels links logging mac_address mem_limit
        mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj
        pid pids_limit platform ports post_start pre_stop privileged profiles provider pull_policy
        pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open
        stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts
        volumes volumes_from working_dir""".split()
    assert OF_A_SERVICE.issuperset(schema)
    top = "x-a: {b: c}\nversion: '3'\nname: p\nmodels: {}\nnetworks: {}\nvolumes: {}\nsecrets: {}\nconfigs: {}\n"
    assert read(top + "services: {a: {image: x, x-mine: 1}}\n", "a").not_applied == ()


def test_what_a_newer_compose_has_read_is_taken_and_named() -> None:
    """Its word counts: it may have keys that we do not know."""
    data = {"services": {"a": {"image": "x", "frobnicate": 3}}}
    read_by_it = project.project_of(data, None, FILE, "folder", {}, read_by="9.0.0")
    disk = reader.Disk(lambda _: "", lambda _: False, lambda _: False)
    (note,) = group.stopped(read_by_it, "a", ("a",), disk).not_applied
    assert note.what == "services.a.frobnicate"
    assert Outcome.GRACEFUL in note.doubts


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    (
        "image build command entrypoint environment init user working_dir mem_limit deploy stop_signal "
        "stop_grace_period"
    ).split()
)


@given(st.dictionaries(keys, values, max_size=5) | values, st.text())
def test_wrong_values_raise_nothing_but_a_message(service: object, noise: str) -> None:
    """Every key with a value of every type, and plain noise, is read or explained."""
    for text in (yaml.safe_dump({"services": {"a": service}}), noise):
        with contextlib.suppress(UsageError, ScenarioError):
            read(text, "a")


GIVEN = """
services:
  web:
    image: a
    tty: "true"
    stdin_open: true
    env_file: [a.env, {path: gone.env, required: false}]
    volumes: ["./conf:/conf:ro", "data:/data", /anonymous, {type: tmpfs, target: /t, tmpfs: {size: 64m}}]
    tmpfs: /run
    secrets: [token]
    read_only: true
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    privileged: true
    ulimits: {nofile: "1024", nproc: {soft: 1, hard: 2}}
    cpus: "0.5"
    cpu_shares: "512"
    mem_limit: 64m
    memswap_limit: 128m
    shm_size: 1g
    pid: host
    ipc: private
    network_mode: none
    hostname: w
    extra_hosts: {db: 10.0.0.5}
    healthcheck: {test: [CMD, "true"], interval: 1s}
    sysctls: [net.core.somaxconn=9]
    labels: {a: 1}
    platform: linux/arm64
    ports: ["80:80"]
    x-own: 1
secrets: {token: {file: ./secret}}
volumes: {data: }
"""


GIVEN_FILES = {"folder/a.env": "LEVEL=info", "folder/conf/app.json": "{}", "folder/secret": "x"}


def test_whatever_a_container_can_be_given_is_taken_over() -> None:
    """In Compose's own forms, with nothing left out and nothing said to be."""
    found = stopped(GIVEN, "web", files=GIVEN_FILES)
    assert found.not_applied == ()
    assert found.subject.environment == (("LEVEL", "info"),)
    assert found.subject.settings == ContainerSettings(
        tty=True,
        stdin_open=True,
        mounts=(
            Mount(MountKind.BIND, "/conf", "folder/conf", read_only=True),
            Mount(MountKind.VOLUME, "/data", "data"),
            Mount(MountKind.VOLUME, "/anonymous"),
            Mount(MountKind.TMPFS, "/t", options="size=67108864"),
            Mount(MountKind.BIND, "/run/secrets/token", "folder/secret", read_only=True),
            Mount(MountKind.TMPFS, "/run"),
        ),
        read_only=True,
        cap_add=("NET_ADMIN",),
        cap_drop=("ALL",),
        security_opt=("no-new-privileges:true",),
        privileged=True,
        ulimits=(Ulimit("nofile", 1024, 1024), Ulimit("nproc", 1, 2)),
        nano_cpus=500_000_000,
        cpu_shares=512,
        memory_swap_bytes=128 << 20,
        shm_size_bytes=1 << 30,
        pid="host",
        ipc="private",
        network="none",
        hostname="w",
        extra_hosts=(("db", "10.0.0.5"),),
        healthcheck=HealthCheck(("CMD", "true"), interval_ns=NS_PER_S),
        sysctls=(("net.core.somaxconn", "9"),),
        labels=(("a", "1"),),
        platform="linux/arm64",
    )


@pytest.mark.parametrize("given", [{"deploy": {"resources": {"limits": {"cpus": "0.25"}}}}, {"cpu_quota": 25000}])
def test_a_limit_of_cpu_time_has_several_forms(given: dict[str, object]) -> None:
    """Each of which is the same for the container."""
    found = stopped(yaml.safe_dump({"services": {"web": {"image": "a", **given}}}), "web")
    assert found.subject.settings.nano_cpus == 250_000_000


@pytest.mark.parametrize(
    ("key", "what", "doubtful"),
    [
        ("network_mode: 'container:x'", "network_mode (container:x)", Outcome.GRACEFUL),
        ("volumes: ['/var/run/docker.sock:/s']", "volumes (/var/run/docker.sock)", Outcome.NOT_RUNNING),
        ("volumes: ['../../x:/s']", "volumes (../x)", Outcome.GRACEFUL),
        ("volumes: ['~/x:/s']", "volumes (~/x)", Outcome.GRACEFUL),
        ("cpuset: '0'", "cpuset (0)", Outcome.GRACEFUL),
        ("group_add: [docker]", "group_add (docker)", Outcome.NOT_RUNNING),
        ("restart: always", "restart (always)", None),
        ("healthcheck: {test: x, start_interval: 1s}", "healthcheck.start_interval (1s)", None),
        ("hostname: '${NOBODYS}x'", " ${NOBODYS}", None),
    ],
)
def test_what_is_not_applied_is_named(key: str, what: str, doubtful: Outcome | None) -> None:
    """With what it may change, and the outcomes that hang on it."""
    (item,) = read(f"services:\n  web:\n    image: a\n    {key}\n", "web").not_applied
    assert item.what == f"services.web{':' if what.startswith(' ') else '.'}{what}"
    assert item.may_change
    assert doubtful in item.doubts if doubtful else item.doubts == ()


def test_a_mistake_has_its_place_in_the_compose_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Compose's name of the key; variables of `.env` beside the file are known, as Compose has it."""
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text("services:\n  web:\n    image: a\n    cap_add:\n      - ${CAPABILITY}\n")
    Path(".env").write_text("CAPABILITY=NET_ADMN\n")
    said = refusal_of("--compose", "compose.yaml", "web")
    assert "compose.yaml:5:9: services.web.cap_add.0: 'NET_ADMN' is no capability; did you mean NET_ADMIN?" in said


def refusal_of(*arguments: str) -> str:
    """What `check` says to its arguments, which it does not take."""
    refused = CliRunner().invoke(main.cli, ["check", *arguments]).exception
    assert isinstance(refused, StopHarnessError)
    assert refused.exit_code == 2
    return str(refused)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cap-add", "NET_ADMN"], "--cap-add: 'NET_ADMN' is no capability; did you mean NET_ADMIN?"),
        (["--platform", "linux/arm65"], "--platform: 'linux/arm65' is no platform of a container"),
        (["--volume", "/etc:/x"], "only what lies there is mounted"),
        (["--env-file", "gone.env"], "subject.env_file: cannot be read: No such file or directory"),
        (["--ulimit", "nofile=many"], "--ulimit nofile=many is not of the form NAME=SOFT[:HARD]"),
        (["--cpus", "all"], "--cpus: 'all' is not allowed; needed: a number of CPUs"),
        (["--user", "a b"], "--user: 'a b' is not allowed"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck and --health-cmd exclude each other"),
    ],
)
def test_a_mistake_in_an_option_names_it(options: list[str], said: str) -> None:
    """With what is allowed, and exit code 2."""
    assert said in refusal_of("a", *options)


def test_options_stand_for_the_keys_of_a_subject() -> None:
    """Those of the same name, in the form of `docker run`."""
    values: dict[str, Any] = dict.fromkeys(
        str(parameter.name) for parameter in check.check.get_params(click.Context(check.check))
    )
    values.update(env=(), timeouts=(), exit_codes=(), image="a", tty=True, interactive=True, volume=("d:/d",))
    values.update(ulimit=("nofile=1:2", "core=-1"), cpus="0.5", cpu_shares="512", user="me", workdir="/w", pid="host")
    values.update(add_host=("db:10.0.0.5",), label=("a=b",), health_cmd="true", health_interval="2s", tmpfs=("/run",))
    found = check_options.scenario_of(values, ()).subject
    assert (found.user, found.working_directory) == ("me", "/w")
    assert found.settings == ContainerSettings(
        tty=True,
        stdin_open=True,
        mounts=(Mount(MountKind.VOLUME, "/d", "d"), Mount(MountKind.TMPFS, "/run")),
        ulimits=(Ulimit("nofile", 1, 2), Ulimit("core", -1, -1)),
        nano_cpus=500_000_000,
        cpu_shares=512,
        pid="host",
        extra_hosts=(("db", "10.0.0.5"),),
        labels=(("a", "b"),),
        healthcheck=HealthCheck(("CMD-SHELL", "true"), interval_ns=2 * NS_PER_S),
    )


def test_options_stand_for_every_kind_of_traffic_but_tcp() -> None:
    """Two clients of each where an answer is awaited at the stop, else one."""
    values: dict[str, Any] = dict.fromkeys(
        str(parameter.name) for parameter in check.check.get_params(click.Context(check.check))
    )
    asked = {kind: f"80/{kind.value}" for kind in TrafficKind if kind is not TrafficKind.TCP}
    asked |= {TrafficKind.GRPC: "80/a.B/C", TrafficKind.IDLE: "80"}
    values.update(env=(), timeouts=(), exit_codes=(), image="a", traffic_tls=True)
    values.update({f"traffic_{kind.value}": text for kind, text in asked.items()})
    found = {client.kind: client for client in check_options.scenario_of(values, ()).traffic}
    assert found.keys() == asked.keys()
    assert all(client.tls and client.port == 80 for client in found.values())
    assert {kind for kind, client in found.items() if client.clients == 2} == {
        TrafficKind.HTTP,
        TrafficKind.HTTP2,
        TrafficKind.GRPC,
    }
    assert found[TrafficKind.SSE].path == "/sse"
    asking = check_options.scenario_of({**values, "traffic_message": "hello", "clients": 5}, ()).traffic
    assert {client.clients for client in asking} == {5}
    assert next(item for item in asking if item.kind is TrafficKind.WEBSOCKET).exchanges == (Exchange(b"hello"),)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("volumes: 3", "c.yaml:4:5: services.web.volumes: write source:target or source:target:ro"),
        ("ulimits: {nofile: many}", "c.yaml:4:5: services.web.ulimits: nofile: a whole number is needed"),
        ("healthcheck: 3", "c.yaml:4:5: services.web.healthcheck: a mapping of keys is needed, not 3"),
        ("stop_signal: SIGFOO", "c.yaml:4:5: services.web.stop_signal: 'SIGFOO' is not a signal"),
        ("stop_grace_period: soon", "c.yaml:4:5: services.web.stop_grace_period: 'soon' is not a duration"),
        ("user: a b", "c.yaml:4:5: services.web.user: 'a b' is not allowed"),
        ("command: 3", "c.yaml:2:3: services.web is not as Compose has it"),
    ],
)
def test_a_wrong_value_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, said: str) -> None:
    """By Compose's name of the key."""
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"services:\n  web:\n    image: a\n    {key}\n")
    assert said in refusal_of("--compose", "c.yaml", "web")


PORTS = [
    ('ports: ["80"]', (80,)),
    ("ports: [8000, 8000]", (8000,)),
    ('ports: ["8080:80", "127.0.0.1:8443:443/tcp", "[::1]:81:81"]', (80, 443, 81)),
    ('ports: ["9000-9002:9000-9002", "53:53/udp"]', (9000, 9001, 9002)),
    ('ports: [{target: 80, published: "8080"}, {target: 53, protocol: udp}]', (80,)),
    ('expose: ["3000", 4000]\n    ports: ["80:80"]', (80, 3000, 4000)),
    ('ports: ["1-999:1-999"]', tuple(range(1, 21))),
    ('network_mode: host\n    ports: ["80:80"]', ()),
    ("expose: []", ()),
]


@pytest.mark.parametrize(("lines", "ports"), PORTS)
def test_ports_of_a_service_tell_when_it_is_ready(lines: str, ports: tuple[int, ...]) -> None:
    """Those inside the container, wherever Compose would publish them."""
    found = read(f"services:\n  web:\n    image: a\n    {lines}\n", "web")
    assert tuple(inside for inside, _ in found.subject.ports) == ports
    assert all(outside is None for _, outside in found.subject.ports)


def test_a_port_that_is_none_is_named() -> None:
    """By service, as every other mistake of a Compose file is."""
    with pytest.raises(UsageError, match=r"services\.web is not as Compose has it"):
        read("services:\n  web:\n    image: a\n    ports: [web]\n", "web")
