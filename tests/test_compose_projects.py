"""Compose files in all their forms → what is started and stopped, by our own reader and by Compose itself."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import (
    NS_PER_S,
    Attachment,
    Dependency,
    GroupKind,
    GroupNetwork,
    Hook,
    HookKind,
    Member,
    Mount,
    MountKind,
    Outcome,
    StartCondition,
)
from stop_harness.scenario.compose import by_compose, group, loading, merge, reader
from stop_harness.scenario.compose.project import project_of
from stop_harness.scenario.compose.tree import Place, ValueTree, documents
from tests.compose_cases import CASES, MISTAKES, ORDER


def write(files: Mapping[str, str]) -> None:
    """Into the working directory."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder `project` to write into, without variables of ours."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    for name in ("TAG", "TOKEN", "WORDS", "SIZE", "A", "B", "D", "F", "G", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)


def stopped(
    *files: str, service: str | None = None, profiles: tuple[str, ...] = (), ask: bool = False
) -> group.Stopped:
    """A service of these files, or all of them; of `compose.yaml` without any."""
    project = loading.load(files or ("compose.yaml",), {}, profiles, ask_compose=ask)
    services = project.enabled if service is None else (service,)
    return group.stopped(project.with_enabled(services), service, services, loading.DISK)


def members(found: group.Stopped) -> dict[str, Member]:
    """Of a group, by name."""
    assert found.subject.group is not None
    return {member.name: member for member in found.subject.group.members}


def files_of(case: str) -> tuple[str, ...]:
    """The files of a case that are named, as by `-f`."""
    return tuple(name for name in ("compose.yaml", "over.yaml") if name in CASES[case])


# ── what is started ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_service_is_stopped_among_those_that_it_needs() -> None:
    """However far, in the order of the file, and nobody else; each with what it waits for."""
    write({"compose.yaml": ORDER})
    found = stopped(service="web")
    assert found.subject.group is not None
    assert (found.subject.group.kind, found.subject.group.stopped) == (GroupKind.COMPOSE, "web")
    assert list(members(found)) == ["web", "db", "migration", "queue"]
    assert members(found)["web"].waits_for == (
        Dependency("db", StartCondition.HEALTHY),
        Dependency("migration", StartCondition.COMPLETED),
        Dependency("queue"),
    )
    assert members(found)["queue"].replicas == 2
    assert found.timeouts_ns == (10 * NS_PER_S, 30 * NS_PER_S)


def test_an_optional_dependency_runs_where_its_profile_is_active() -> None:
    """Else the service does without it."""
    write({"compose.yaml": ORDER})
    assert "cache" in members(stopped(service="web", profiles=("fast",)))


def test_shared_namespaces_and_volumes_are_needs_too() -> None:
    """Compose starts their owners first."""
    write({"compose.yaml": ORDER})
    side = members(stopped(service="side"))["side"]
    assert (side.network_of, side.pid_of, side.volumes_from) == ("web", "db", ("queue",))
    assert {need.member for need in side.waits_for} == {"web", "db", "queue"}
    assert side.networks == ()


def test_a_service_that_needs_nobody_is_a_container_as_any_other() -> None:
    """Every engine can stop it."""
    write({"compose.yaml": ORDER})
    found = stopped(service="other").subject
    assert (found.image, found.group) == ("o", None)


def test_all_of_a_project_takes_as_long_as_those_that_wait_for_each_other() -> None:
    """A dependency is told to stop when its dependents have gone."""
    write({"compose.yaml": "services: {a: {image: a, depends_on: [b]}, b: {image: b, stop_grace_period: 3s}}"})
    found = stopped()
    assert found.timeouts_ns == (13 * NS_PER_S,)
    assert found.subject.group is not None
    assert found.subject.group.stopped is None
    assert found.name == "project"


@pytest.mark.parametrize(("written", "seconds"), [("500ms", 0), ("1.9s", 1), ("1m30s", 90)])
def test_a_grace_period_counts_in_whole_seconds(written: str, seconds: int) -> None:
    """As Compose hands it to the engine."""
    write({"compose.yaml": f"services: {{a: {{image: a, stop_grace_period: {written}}}}}"})
    found = stopped(service="a")
    assert found.timeouts_ns == tuple(sorted({seconds * NS_PER_S, 30 * NS_PER_S}))
    said = [f"services.a.stop_grace_period ({written})"] if "." in written or "ms" in written else []
    assert [item.what for item in found.not_applied] == said


def test_hooks_networks_and_names_make_a_group() -> None:
    """Even of one service: it is found under another name, or does something before it stops."""
    text = """
services:
  a:
    image: a
    container_name: the-a
    pre_stop: [{command: nginx -s quit, user: root, environment: {A: 1}}]
    post_start: [{command: [touch, /x], privileged: true, working_dir: /srv}]
    networks: {front: {aliases: [shop]}}
networks: {front: {internal: true}}
"""
    write({"compose.yaml": text})
    found = stopped(service="a")
    (member,) = members(found).values()
    assert member.before_stop == (Hook(HookKind.EXEC, ("nginx", "-s", "quit"), user="root", environment=(("A", "1"),)),)
    assert member.after_start == (Hook(HookKind.EXEC, ("touch", "/x"), privileged=True, working_directory="/srv"),)
    assert member.networks == (Attachment("front", ("shop",)),)
    assert member.container_name == "the-a"
    assert found.subject.group is not None
    assert found.subject.group.networks == (GroupNetwork("front", internal=True),)


def test_a_link_gives_another_service_a_name_of_its_own() -> None:
    """Without an alias, or with the service's own name, it is found by the name that all know."""
    write({"compose.yaml": "services: {web: {image: a, links: ['db:store', 'db', 'db:db']}, db: {image: b}}"})
    found = members(stopped(service="web"))
    assert found["web"].links == (("db", "store"),)
    assert found["db"].links == ()


def test_a_link_outside_the_networks_of_the_project_leaves_a_doubt() -> None:
    """On the engine's own bridge network Compose makes it resolve, and we do not."""
    write({"compose.yaml": "services: {web: {image: a, network_mode: bridge, links: ['db:store']}, db: {image: b}}"})
    (note,) = stopped(service="web").not_applied
    assert note.what == "services.web.links (db:store)"
    assert Outcome.GRACEFUL in note.doubts


def test_what_is_not_applied_to_somebody_else_leaves_no_doubt() -> None:
    """It is named all the same."""
    write({"compose.yaml": "services: {a: {image: a, depends_on: [b]}, b: {image: b, gpus: all, volumes: [/etc:/e]}}"})
    notes = {item.what: item.doubts for item in stopped(service="a").not_applied}
    assert notes == {"services.b.gpus (all)": (), "services.b.volumes (/etc)": ()}
    assert all(item.doubts for item in stopped().not_applied)


def test_what_somebody_else_makes_is_stood_in_for_and_named() -> None:
    """An external network and an external volume."""
    text = (
        "services: {a: {image: a, networks: [n], volumes: [v:/v]}}\n"
        "networks: {n: {external: true}}\nvolumes: {v: {external: true}}\n"
    )
    write({"compose.yaml": text})
    assert [item.what for item in stopped(service="a").not_applied] == [
        "services.a.volumes (v)",
        "networks.n (external)",
    ]


def test_a_source_that_is_missing_is_an_empty_volume() -> None:
    """Compose would make a folder; nothing is written into the project."""
    write({"compose.yaml": "services: {a: {image: a, volumes: ['./data:/data']}}"})
    assert stopped(service="a").subject.settings.mounts == (Mount(MountKind.VOLUME, "/data"),)
    assert not Path("data").exists()


def test_a_folder_stands_for_its_file_with_the_override_and_a_file_for_itself() -> None:
    """As `docker compose` and `docker compose -f` have it."""
    write({"compose.yaml": "services: {a: {image: a}}", "compose.override.yaml": "services: {a: {image: b}}"})
    assert stopped(".", service="a").subject.image == "b"
    assert stopped("compose.yaml", service="a").subject.image == "a"
    assert loading.override_beside(("compose.yaml",)) == "compose.override.yaml"
    assert loading.override_beside((".",)) is None


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("files", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_has_its_place(files: dict[str, str], said: str) -> None:
    """And is found before anything starts."""
    write(files)
    with pytest.raises(UsageError) as refused:
        stopped()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "services:\n  a: {image: a, ports: ['80:80']}\n  b: {image: b, ports: ['127.0.0.1:80:8080']}\n",
            "compose.yaml:3:25: services.b.ports.0: port 80 of the machine is also that of service a; only one",
        ),
        ("services: {a: {image: a, scale: 2, ports: ['80:80']}}", "port 80 of the machine is also that of service a"),
        ("services: {a: {image: a, container_name: x}, b: {image: b, container_name: x}}", "x is also the name of"),
        ("services: {a: {image: a, pre_stop: [{user: me}]}}", "services.a.pre_stop.0: a hook needs a `command`"),
        (
            "services: {a: {image: a, depends_on: {b: {condition: up}}}, b: {image: b}}",
            "'up' is no condition; allowed:",
        ),
        ("services: {a: {build: gone}}", "services.a.build: there is no Dockerfile in gone"),
        ("services: {a: {build: 'https://host/x.git'}}", "https://host/x.git is on the network and is not fetched"),
        ("services: {a: {image: a, depends_on: [b]}, b: {image: b, profiles: [p]}}", "activate it by --profile p"),
        ("include: ['https://host/x.yaml']", "is on the network and is not fetched; name a copy of it"),
    ],
)
def test_what_could_not_be_started_is_refused(text: str, said: str) -> None:
    """Some of it only Compose's `up` would notice."""
    write({"compose.yaml": text})
    with pytest.raises(UsageError) as refused:
        stopped()
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["services: {a: {image: a, ports: ['80:80', '80:80/udp', '127.0.0.1:81:80']}}"])
def test_ports_that_do_not_collide_are_none_of_our_business(text: str) -> None:
    """Another protocol, or another port; none of this machine is taken."""
    write({"compose.yaml": text})
    assert stopped(service="a").subject.ports == ((80, None),)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_key_has_its_place_whichever_file_it_is_from() -> None:
    """Of what is merged, extended and included."""
    write(CASES["extends"])
    found = reader.read(("compose.yaml",), {}, loading.DISK).tree.places()
    assert found["services", "worker", "stop_signal"] == Place("common/base.yaml", 13, 5)
    assert found["services", "worker", "environment", "LEVEL"] == Place("compose.yaml", 5, 19)
    assert found["services", "worker", "command"] == Place("compose.yaml", 9, 5)


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "b", "80:80", "./x:/y", "K=v", "$A"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "image command environment env_file volumes ports expose depends_on networks links build extends healthcheck "
    "ulimits deploy scale profiles pre_stop secrets tmpfs logging stop_grace_period network_mode volumes_from"
).split()
services = st.dictionaries(
    st.sampled_from("abc"), st.dictionaries(st.sampled_from(KEYS), values, max_size=4), max_size=3
)


@given(services, services, st.sampled_from([None, "a", "b"]))
def test_wrong_shapes_raise_nothing_but_a_message(one: object, two: object, service: str | None) -> None:
    """Any value at any key of two files that are merged."""
    disk_files = {"one.yaml": yaml.safe_dump({"services": one}), "two.yaml": yaml.safe_dump({"services": two})}
    disk = reader.Disk(disk_files.__getitem__, disk_files.__contains__, disk_files.__contains__)
    with contextlib.suppress(UsageError, ScenarioError):
        found = reader.read(("one.yaml", "two.yaml"), {}, disk)
        project = project_of(found.tree.plain(), found, "one.yaml", "x", {})
        names = project.enabled if service is None else (service,)
        if names:
            group.stopped(project.with_enabled(names), service, names, disk)


def tree(data: object) -> ValueTree:
    """A file with this data."""
    (found,) = documents(yaml.safe_dump(data), "file.yaml")
    return found


well_formed = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["a", "b"]),
        "environment": st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["1", "2"])),
        "command": st.lists(st.sampled_from("xyz"), min_size=1, max_size=3),
        "cap_add": st.lists(st.sampled_from(["KILL", "CHOWN"]), unique=True),
    },
)


@given(well_formed, well_formed)
def test_a_later_file_wins_key_by_key(one: dict[str, object], two: dict[str, object]) -> None:
    """Mappings are joined, commands replaced, lists added to without a double."""
    made = merge.merged(tree({"services": {"a": one}}), tree({"services": {"a": two}})).plain()["services"]["a"]
    assert made.get("image") == two.get("image", one.get("image"))
    assert made.get("command") == two.get("command", one.get("command"))
    assert made.get("environment", {}) == {**one.get("environment", {}), **two.get("environment", {})}  # type: ignore[dict-item]
    assert sorted(made.get("cap_add", [])) == sorted({*one.get("cap_add", []), *two.get("cap_add", [])})  # type: ignore[misc]


@given(well_formed)
def test_a_file_over_itself_changes_nothing(one: dict[str, object]) -> None:
    """Whatever it says."""
    file = tree({"services": {"a": one}})
    assert merge.merged(file, file).plain() == file.plain()


def in_order(value: object) -> object:
    """Records as plain data, with everything in one order: that of mappings says nothing."""
    if dataclasses.is_dataclass(value):
        return {field.name: in_order(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if not isinstance(value, tuple):
        return value
    return tuple(value) if all(isinstance(item, str) for item in value) else sorted(map(in_order, value), key=repr)


# ── Compose itself ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _compose() -> None:
    """A Compose that writes JSON."""
    if by_compose.installed() is None:
        pytest.skip("needs docker-compose 2 or later, such as Debian trixie's package; only it can be compared with")


@pytest.mark.oracle
@pytest.mark.usefixtures("_compose")
@pytest.mark.parametrize("case", CASES)
def test_compose_reads_it_alike(case: str) -> None:
    """Every service, and the whole project."""
    write(CASES[case])
    files = files_of(case)
    project = loading.load(files, {}, ask_compose=True)
    assert project.read_by, "Compose was not asked"
    for service in (None, *project.services):
        ours, theirs = (in_order(stopped(*files, service=service, ask=ask)) for ask in (False, True))
        assert ours == theirs, service


@pytest.mark.oracle
@pytest.mark.usefixtures("_compose")
@pytest.mark.parametrize("case", MISTAKES)
def test_compose_refuses_it_too(case: str) -> None:
    """Whereby the place of the mistake is ours."""
    files, said = MISTAKES[case]
    write(files)
    answer = by_compose.ask(("compose.yaml",))
    assert answer is not None
    assert answer.refusal
    with pytest.raises(UsageError) as refused:
        stopped(ask=True)
    assert said in str(refused.value)


@pytest.mark.oracle
@pytest.mark.usefixtures("_compose")
def test_what_only_compose_finds_wrong_is_said_in_its_words() -> None:
    """With the place of the key that it names."""
    write({"compose.yaml": "services:\n  a:\n    image: a\n    logging: 3\n"})
    with pytest.raises(
        UsageError, match=r"^compose\.yaml:4:5: Compose .* does not take it: services\.a\.logging must be"
    ):
        stopped(ask=True)


@pytest.mark.parametrize(
    ("refusal", "path"),
    [
        ("services.web.volumes must be a list", ("services", "web", "volumes")),
        ("error decoding 'services[web].stop_grace_period': time", ("services", "web", "stop_grace_period")),
        ('service "a" depends on undefined service "b"', ("services", "a")),
        ("empty compose file", ()),
    ],
)
def test_a_refusal_names_a_key(refusal: str, path: tuple[str, ...]) -> None:
    """In one of its forms."""
    assert by_compose.place_in(refusal) == path


@pytest.mark.skipif(shutil.which("docker-compose") is not None, reason="there is a Compose")
def test_without_compose_nobody_is_asked() -> None:
    """Docker's client without its plugin is no Compose either."""
    by_compose.installed.cache_clear()
    assert by_compose.ask(("compose.yaml",)) is None
