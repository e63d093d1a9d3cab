"""What a scenario gives its container beside image and command: read, checked against the disk, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stop_harness.engines.ecs.record import task_of
from stop_harness.errors import ScenarioError
from stop_harness.model import ContainerSettings, HealthCheck, Mount, MountKind, Ulimit
from stop_harness.scenario import discovery, env_file, host_access, scenario_file
from stop_harness.scenario.container_keys import KEYS, refusal
from stop_harness.scenario.sections import SubjectSection

START = "version: 1\nname: web\nsubject: "

EVERYTHING = """{image: a, tty: true, stdin_open: true, user: 1000, working_dir: /srv,
  volumes: ["./conf:/conf:ro", "data:/data", "/anonymous", {type: tmpfs, target: /t, size: 1MiB, mode: 01777}],
  tmpfs: "/run:size=64m", read_only: true, cap_add: [CAP_NET_ADMIN, sys_time], cap_drop: ALL,
  security_opt: [no-new-privileges], privileged: true, ulimits: {nofile: 1024, core: {soft: 0, hard: -1}},
  cpus: "0.25", cpu_shares: 512, memory: 64MiB, memory_swap: -1, shm_size: 1GiB, pid: host, ipc: none, network: none,
  hostname: web-1, extra_hosts: ["db:10.0.0.5", "six=[::1]"], healthcheck: {test: "curl -f localhost", interval: 5s},
  sysctls: {net.core.somaxconn: 1024}, labels: [a.b=c, d], platform: linux/arm64}
"""


def settings_of(subject: str, source: str = "<text>") -> ContainerSettings:
    """The settings of a scenario with this subject."""
    return scenario_file.parse(START + subject, source).subject.settings


def problems(subject: str) -> tuple[str, ...]:
    """What is wrong with it."""
    with pytest.raises(ScenarioError) as refused:
        scenario_file.parse(START + subject, "file.yaml")
    return refused.value.problems


def test_every_setting_is_read() -> None:
    """In the forms that Compose has for them."""
    assert settings_of(EVERYTHING, "a/b.yaml") == ContainerSettings(
        tty=True,
        stdin_open=True,
        mounts=(
            Mount(MountKind.BIND, "/conf", "a/conf", read_only=True),
            Mount(MountKind.VOLUME, "/data", "data"),
            Mount(MountKind.VOLUME, "/anonymous"),
            Mount(MountKind.TMPFS, "/t", options="size=1048576,mode=1777"),
            Mount(MountKind.TMPFS, "/run", options="size=64m"),
        ),
        read_only=True,
        cap_add=("NET_ADMIN", "SYS_TIME"),
        cap_drop=("ALL",),
        security_opt=("no-new-privileges",),
        privileged=True,
        ulimits=(Ulimit("nofile", 1024, 1024), Ulimit("core", 0, -1)),
        nano_cpus=250_000_000,
        cpu_shares=512,
        memory_swap_bytes=-1,
        shm_size_bytes=1 << 30,
        pid="host",
        ipc="none",
        network="none",
        hostname="web-1",
        extra_hosts=(("db", "10.0.0.5"), ("six", "::1")),
        healthcheck=HealthCheck(("CMD-SHELL", "curl -f localhost"), interval_ns=5_000_000_000),
        sysctls=(("net.core.somaxconn", "1024"),),
        labels=(("a.b", "c"), ("d", "")),
        platform="linux/arm64",
    )
    found = scenario_file.parse(START + EVERYTHING).subject
    assert (found.user, found.working_directory) == ("1000", "/srv")


def test_every_key_of_the_table_is_one_of_scenario_files() -> None:
    """And every field of it one of the records."""
    assert {row.key for row in KEYS} <= set(SubjectSection.model_fields)
    fields = {row.field for row in KEYS} - {"", "pids_limit", "memory_bytes"}
    assert fields == set(ContainerSettings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("tty: 1", "tty: 1 is not allowed; needed: boolean"),
        ("user: 'a b'", "user: 'a b' is not allowed; needed: user or user:group, by name or number"),
        ("volumes: ['data:/x:rox']", "volumes: 'data:/x:rox' is not of the form source:target[:ro]; allowed behind"),
        ("volumes: ['conf/app:/x']", "volumes: 'conf/app' is no name of a volume (letters, digits, _ . -); a path"),
        ("volumes: ['data:/']", "volumes: '/' is not allowed; needed: an absolute path in the container, below /"),
        ("volumes: 7", "volumes: write source:target or source:target:ro"),
        ("volumes: [{type: bind, target: /x}]", "volumes: "),
        ("volumes: ['a:/x', 'b:/x/']", "`volumes` and `tmpfs`: two mounts at /x"),
        ("tmpfs: run", "tmpfs: 'run' is not allowed; needed: an absolute path"),
        ("cap_add: [net_admn]", "cap_add.0: 'net_admn' is no capability; did you mean NET_ADMIN?; allowed: ALL, "),
        ("security_opt: [all]", "security_opt.0: 'all' is not allowed; allowed: no-new-privileges, seccomp=unconf"),
        ("ulimits: {nofle: 3}", "ulimits: 'nofle' is no limit; did you mean nofile?; allowed: core, "),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "ulimits: nofile: the soft limit 2 is above the hard one, 1"),
        ("ulimits: {nofile: true}", "ulimits: nofile: a whole number is needed, -1 for no limit, or {soft: …"),
        ("cpus: 0", "cpus: 0 is not allowed; needed: 0.01 CPU or more"),
        ("cpus: nan", "cpus: 'nan' is not allowed; needed: a number of CPUs, such as 0.5"),
        ("cpu_shares: 1", "cpu_shares: 1 is not allowed; needed: a whole number from 2 to 262144; 1024 is the u"),
        ("memory_swap: 1MiB", "`memory_swap` goes with `memory`"),
        ("pid: 'container:x'", "pid: 'container:x' is not allowed; allowed: host; one of another container"),
        ("ipc: x", "ipc: 'x' is not allowed; allowed: none, private, shareable, host"),
        ("network: 'service:db'", "network: 'service:db' is not allowed; needed: bridge, none, host, or the name"),
        ("hostname: a_b", "hostname: 'a_b' is not allowed; needed: letters, digits, hyphens and dots"),
        ("extra_hosts: ['db:ten']", "extra_hosts: db: 'ten' is no address; an IP address is needed, or host-gateway"),
        ("sysctls: {vm.swappiness: 1}", "sysctls: 'vm.swappiness' cannot be set for one container; allowed: net.*"),
        ("labels: {stop-harness.run: x}", "labels: 'stop-harness.run' is not allowed; labels that begin with"),
        ("platform: linux/arm65", "platform: 'linux/arm65' is no platform of a container; did you mean linux/arm6"),
        ("platform: windows/amd64", "platform: 'windows/amd64' is no platform of a container"),
        ("healthcheck: {}", "healthcheck: `test` is required, or `disable: true`, or times for the image's own check"),
        ("healthcheck: {test: [curl]}", "healthcheck: `test` begins with CMD, CMD-SHELL or NONE, not 'curl'"),
        ("healthcheck: {test: x, interval: 1}", "healthcheck.interval: 1 has no unit; write 1s or 1ms"),
        (
            "task_definition: x.json",
            "give exactly one of `image`, `build`, `task_definition`, `compose` and `kubernetes`",
        ),
    ],
)
def test_a_mistake_in_a_setting_is_explained(key: str, said: str) -> None:
    """With its place and what is allowed."""
    (problem,) = problems(f"{{image: a, {key}}}\n")
    place, _, message = problem.partition(": ")
    assert place.startswith("file.yaml:3:")
    assert said in message


def test_settings_belong_into_a_task_definition() -> None:
    """Beside one they would be dropped."""
    (problem,) = problems("{task_definition: x.json, tty: true}\n")
    assert "`tty` belongs into the task definition" in problem


def loaded(folder: Path, subject: str) -> ContainerSettings:
    """The settings of a scenario file in this folder."""
    (folder / "s.yaml").write_text(START + subject + "\n", encoding="utf-8")
    (scenario,) = discovery.load((folder / "s.yaml",))
    return scenario.subject.settings


def test_nothing_outside_of_the_scenarios_folder_is_mounted(tmp_path: Path) -> None:
    """Neither by an absolute path, nor by .., nor by a link; what is inside is."""
    inside = tmp_path / "inside"
    (inside / "conf").mkdir(parents=True)
    (inside / "link").symlink_to(tmp_path)
    for source in ("/etc", "../", "./link", "./conf/../..", "~/x"):
        with pytest.raises(ScenarioError) as refused:
            loaded(inside, f'{{image: a, volumes: ["{source}:/x"]}}')
        (problem,) = refused.value.problems
        assert problem.startswith(f"{inside}/s.yaml:3:31: subject.volumes: "), problem
        assert "only what lies there is mounted" in problem
    for source in ("./conf", str(inside / "conf"), "."):
        assert loaded(inside, f'{{image: a, volumes: ["{source}:/x"]}}').mounts
    with pytest.raises(ScenarioError, match=r"s\.yaml:3:31: subject\.volumes: there is no file or folder .*gone"):
        loaded(inside, '{image: a, volumes: ["./gone:/x"]}')


def test_variables_of_files_come_before_those_of_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later files win over earlier ones, and `environment` over all of them."""
    monkeypatch.setenv("OURS", "from here")
    (tmp_path / "a.env").write_text("# comment\nA=1\nB='$A'\nexport C=\"x # y\"\nOURS\nNOBODYS\nD=${A}2\n")
    (tmp_path / "b.env").write_text("A=2\n")
    (tmp_path / "s.yaml").write_text(START + "{image: a, env_file: [a.env, b.env], environment: {C: 9}}\n")
    (scenario,) = discovery.load((tmp_path / "s.yaml",))
    assert dict(scenario.subject.environment) == {"A": "2", "B": "$A", "C": "9", "OURS": "from here", "D": "12"}


def test_mistakes_in_files_of_variables_are_said() -> None:
    """Each with its line; nothing is passed over."""
    with pytest.raises(ScenarioError) as refused:
        env_file.pairs("A=1\n\n=2\nB='x\n", "a.env", {})
    assert [problem.partition(" ")[0] for problem in refused.value.problems] == ["a.env:3:1:", "a.env:4:1:"]


def test_a_profile_of_seccomp_is_read(tmp_path: Path) -> None:
    """It is sent as text; one that is missing or no JSON is a mistake."""
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (tmp_path / "bad.json").write_text("{")
    found = loaded(tmp_path, "{image: a, security_opt: [seccomp=p.json]}").security_opt
    assert found == ('seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',)
    for name, said in (("gone.json", "there is no file"), ("bad.json", "not valid JSON"), ("/etc/passwd", "outside")):
        with pytest.raises(ScenarioError, match=f"subject.security_opt: seccomp: .*{said}"):
            loaded(tmp_path, f"{{image: a, security_opt: [seccomp={name}]}}")


def test_other_engines_apply_or_refuse() -> None:
    """`process` refuses what needs a container, `ecs` what no member of a container definition says."""
    plain = scenario_file.parse(START + "{image: a}\n").subject
    asked = scenario_file.parse(START + EVERYTHING).subject
    assert refusal(plain, "process") is refusal(plain, "ecs") is None
    refused = {engine: refusal(asked, engine) or "" for engine in ("process", "ecs")}
    named = {
        engine: {key for key in (row.key for row in KEYS) if f"`{key}`" in text} for engine, text in refused.items()
    }
    assert named["process"] == {row.key for row in KEYS if row.process} - {"pids_limit"}
    assert named["ecs"] == {"volumes", "cpus", "memory_swap", "ipc", "network", "platform"}


def test_settings_become_members_of_a_container_definition() -> None:
    """What engine `ecs` does not refuse, it registers."""
    subject = """{image: a, tty: true, stdin_open: true, tmpfs: ["/run:size=64m"], read_only: true, cap_add: [KILL],
      privileged: true, ulimits: {nofile: 1024}, cpu_shares: 512, shm_size: 1MiB, pid: host, hostname: w,
      extra_hosts: ["db:10.0.0.5"], healthcheck: {test: "true", interval: 5s}, sysctls: {net.core.somaxconn: 9},
      labels: {a: b}, security_opt: [no-new-privileges]}"""
    scenario = scenario_file.parse(START + subject + "\n")
    assert refusal(scenario.subject, "ecs") is None
    document = json.loads(task_of(scenario, 30, {}).document)
    (container,) = document["containerDefinitions"]
    assert document["pidMode"] == "host"
    assert container["pseudoTerminal"] is container["interactive"] is container["readonlyRootFilesystem"] is True
    assert container["linuxParameters"] == {
        "capabilities": {"add": ["KILL"]},
        "sharedMemorySize": 1,
        "tmpfs": [{"containerPath": "/run", "size": 64}],
    }
    assert container["ulimits"] == [{"name": "nofile", "softLimit": 1024, "hardLimit": 1024}]
    assert container["healthCheck"] == {"command": ["CMD-SHELL", "true"], "interval": 5}
    assert container["systemControls"] == [{"namespace": "net.core.somaxconn", "value": "9"}]
    assert container["extraHosts"] == [{"hostname": "db", "ipAddress": "10.0.0.5"}]
    assert (container["dockerLabels"], container["cpu"], container["hostname"]) == ({"a": "b"}, 512, "w")
    assert container["dockerSecurityOptions"] == ["no-new-privileges"]


def test_what_is_taken_of_the_machine_is_said() -> None:
    """Rights, namespaces, capabilities and mounts; nothing for a container that has what all have."""
    asked = scenario_file.parse(START + EVERYTHING, "/a/b.yaml").subject
    assert list(host_access.of_subject(asked)) == [
        "its container is privileged: it has every right on the engine's machine",
        "its container sees the processes of the engine's machine",
        "its container may read /a/conf of this machine, as /conf",
    ]
    few = scenario_file.parse(
        START + "{image: a, network: host, cap_add: [KILL], volumes: ['.:/x', 'd:/d']}\n", "/a/b.yaml"
    )
    assert list(host_access.of_subject(few.subject)) == [
        "its container sees the network of the engine's machine",
        "its container has capabilities beyond the engine's default: KILL",
        "its container may read and change /a of this machine, as /x",
    ]
    assert not list(host_access.of_subject(scenario_file.parse(START + "{image: a}\n").subject))
