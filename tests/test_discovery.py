"""Paths → Scenarios: which files count, in which order, and what only the disk can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import SkippedScenario
from stop_harness.scenario import discovery, file_kinds

ROOT = Path(__file__).parent.parent
TEXT = "version: 1\nname: {name}\nsubject: {{image: a}}\n"
BUILT = "version: 1\nname: {name}\nsubject:\n  build: web\n"


def put(folder: Path, path: str, text: str = TEXT, **values: str) -> Path:
    """A file, with the folders above it."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(name=values.get("name", file.stem)))
    return file


def names(*paths: Path) -> list[str]:
    """The scenarios found, in order."""
    return [scenario.name for scenario in discovery.load(paths)]


def test_a_folder_is_searched_for_yaml_files_that_carry_a_version(tmp_path: Path) -> None:
    """In the order of their names, folders below included; other YAML is somebody else's."""
    put(tmp_path, "b.yaml")
    put(tmp_path, "a.yml")
    put(tmp_path, "deep/er/c.yaml")
    put(tmp_path, "values.yaml", "replicas: 3\n")
    put(tmp_path, "indented.yaml", "chart:\n  version: 3\n")
    put(tmp_path, "notes.txt")
    put(tmp_path, "old.yaml.bak")
    (tmp_path / "folder.yaml").mkdir()
    assert names(tmp_path) == ["a", "b", "c"]


def test_compose_files_are_not_scenarios(tmp_path: Path) -> None:
    """They carried `version:` for years."""
    put(tmp_path, "a.yaml")
    put(tmp_path, "compose.yaml", "version: '3'\nservices:\n  web: {{image: a}}\n")
    assert names(tmp_path) == ["a"]


def test_a_file_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    """Whatever its name ends in; and if it is no scenario, that is said."""
    assert names(put(tmp_path, "a.scenario")) == ["a"]
    with pytest.raises(ScenarioError, match=r"values\.yaml:1:1: version: this key is required"):
        discovery.load((put(tmp_path, "values.yaml", "replicas: 3\n"),))


def test_paths_keep_their_order_and_a_file_counts_once(tmp_path: Path) -> None:
    """A file that is named and lies in a folder that is named too is one scenario."""
    z, a = put(tmp_path, "z.yaml"), put(tmp_path, "a.yaml")
    assert names(z, a) == ["z", "a"]
    assert names(z, tmp_path, z) == ["z", "a"]


def test_a_link_to_itself_does_not_hang_the_search(tmp_path: Path) -> None:
    """Folders are linked in circles in real projects."""
    put(tmp_path, "a.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("content", [None, "values.yaml", "compose.yaml"])
def test_a_folder_without_scenarios_is_an_error(tmp_path: Path, content: str | None) -> None:
    """A gate that finds nothing to check must not be green; the message says what was looked for."""
    if content is not None:
        put(tmp_path, content, "services: {{}}\nversion: '3'\n" if "compose" in content else "a: 1\n")
    with pytest.raises(
        UsageError, match=r"no scenario in this folder \(looked for \*\.yaml and \*\.yml with a `version:`"
    ):
        discovery.load((tmp_path,))


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """Named as it was written."""
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        discovery.load((tmp_path / "nowhere",))


def test_two_scenarios_of_one_name_are_refused_at_the_second(tmp_path: Path) -> None:
    """Their trials could not be told apart; the message names both files."""
    first = put(tmp_path, "a.yaml", name="web")
    second = put(tmp_path, "b.yaml", "# comment\nversion: 1\nname: web\nsubject: {{image: a}}\n")
    with pytest.raises(ScenarioError) as caught:
        discovery.load((tmp_path,))
    assert caught.value.problems == (f"{second}:3:1: name: 'web' is also the name of {first}; names are unique",)


def test_mistakes_of_all_files_are_reported_together(tmp_path: Path) -> None:
    """One look is enough to mend them all."""
    put(tmp_path, "a.yaml", "version: 1\nname: a\nsubject: {{image: 3}}\n")
    put(tmp_path, "b.yaml")
    put(tmp_path, "c.yaml", "version: 2\nname: c\nsubject: {{image: a}}\n")
    with pytest.raises(ScenarioError) as caught:
        discovery.load((tmp_path,))
    files = [problem.removeprefix(f"{tmp_path}/").partition(":")[0] for problem in caught.value.problems]
    assert files == ["a.yaml", "c.yaml"]


def test_a_build_folder_that_is_missing_is_named_at_its_key(tmp_path: Path) -> None:
    """Before anything starts."""
    file = put(tmp_path, "a.yaml", BUILT)
    with pytest.raises(ScenarioError) as caught:
        discovery.load((file,))
    assert caught.value.problems == (f"{file}:4:3: subject.build: {tmp_path}/web is not a folder",)


def test_a_dockerfile_that_is_missing_is_named_at_its_key(tmp_path: Path) -> None:
    """The default one at `build`, another at `dockerfile`."""
    (tmp_path / "web").mkdir()
    one = put(tmp_path, "a.yaml", BUILT)
    other = put(tmp_path, "b.yaml", BUILT + "  dockerfile: prod.Dockerfile\n")
    with pytest.raises(ScenarioError) as caught:
        discovery.load((tmp_path,))
    assert caught.value.problems == (
        f"{one}:4:3: subject.build: there is no Dockerfile in {tmp_path}/web",
        f"{other}:5:3: subject.dockerfile: there is no prod.Dockerfile in {tmp_path}/web",
    )
    (tmp_path / "web/Dockerfile").touch()
    (tmp_path / "web/prod.Dockerfile").touch()
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1:1: the file is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ":1:1: not UTF-8 text"),
        (b"version: 1\nname: \xff\n", ":2:1: not UTF-8 text"),
        (b"version: 1\n" + b"#" * (1 << 20), ":1:1: larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Empty, binary, another encoding, far too large."""
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        discovery.load((file,))


def test_a_byte_order_mark_is_not_a_mistake(tmp_path: Path) -> None:
    """Editors on Windows write one; the file is found in its folder too."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.format(name="a").encode())
    assert names(file) == names(tmp_path) == ["a"]


def test_a_device_is_not_read_for_ever() -> None:
    """`/dev/zero` has no end."""
    with pytest.raises(ScenarioError, match="/dev/zero:1:1: larger than 1 MiB"):
        discovery.load((Path("/dev/zero"),))


def test_the_shipped_scenarios_load() -> None:
    """All of them, with the lessons that the project promises."""
    found = discovery.load((ROOT / "scenarios",))
    assert len(found) >= 16
    assert all(scenario.description for scenario in found)


LOOKS_LIKE = {
    "no version": (
        "name: a\nsubject: {image: a}\n",
        "passed over: it has no `version:`; a scenario begins with `version: 1`",
        False,
    ),
    "tabs": (
        "name: a\nsubject:\n\timage: a\n",
        "passed over: not valid YAML: line 3: found character that cannot start any token; indent with spaces, YAML "
        "allows no tabs there",
        False,
    ),
    "a list": (
        "- version: 1\n  name: a\n  subject:\n    image: a\n- version: 1\n",
        "passed over: it is a list; a file holds one scenario, so put each item into a file of its own",
        False,
    ),
    "a list in JSON": (
        '[{"stop": {"timeouts": ["5s"]}, "subject": {"image": "a"}}]',
        "passed over: it is a list; a file holds one scenario, so put each item into a file of its own",
        False,
    ),
    "empty": ("", "passed over: the file is empty", True),
    "comments": ("# later\n---\n", "passed over: the file is empty", True),
}


@pytest.mark.parametrize(("text", "reason", "by_choice"), LOOKS_LIKE.values(), ids=LOOKS_LIKE.keys())
def test_a_file_that_looks_like_a_scenario_is_named(tmp_path: Path, text: str, reason: str, by_choice: bool) -> None:
    """The others are found; one that was meant to be one keeps the run from passing. Alone, it is an error."""
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        discovery.load((tmp_path,))
    assert f"{tmp_path}/b.yaml: {reason}" in str(refused.value)
    put(tmp_path, "a.yaml")
    found = discovery.find((tmp_path,))
    assert [item.name for item in found.scenarios] == ["a"]
    assert found.passed_over == (SkippedScenario(str(tmp_path / "b.yaml"), reason, by_choice),)


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "name": "a", "subject": {"image": "a"}}',
        '{\n\t"version": 1,\n\t"name": "a",\n\t"subject": {"image": "a"}\n}',
        "{version: 1, name: a, subject: {image: a}}",
        '"version": 1\n"name": a\n"subject": {image: a}\n',
        "--- {version: 1, name: a, subject: {image: a}}",
    ],
)
def test_a_scenario_in_another_form_is_one(tmp_path: Path, text: str) -> None:
    """JSON is YAML, also where it is indented with tabs."""
    (tmp_path / "x.yaml").write_text(text)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: RoleBinding\nsubjects: [a]\n",
        "apiVersion: rbac/v1\nsubject: a\nrules: []\n",
        "replicas: 3\n",
        "{{ .Values.subject }}: version",
        "services: {web: {image: a}}\nversion: '3'\n",
        "- version: 1\n",
        "a: {subject: {image: a}, version: 1}\n",
        "- name: welcome\n  subject: Hello\n  version: 2\n",
        "- [name, subject, {}]\n",
    ],
)
def test_what_others_keep_in_a_folder_is_not_spoken_of(tmp_path: Path, text: str) -> None:
    """Manifests, values, templates."""
    put(tmp_path, "a.yaml")
    (tmp_path / "b.yaml").write_text(text)
    found = discovery.find((tmp_path,))
    assert ([item.name for item in found.scenarios], found.passed_over) == (["a"], ())


MEANT = '{"version": 1, "name": "b", "subject": {"image": "b"}}'


@pytest.mark.parametrize("ending", [".json", ".JSON", ".YAML", ".Yml"])
def test_a_scenario_under_a_name_that_is_not_searched_for_is_named(tmp_path: Path, ending: str) -> None:
    """It was meant to run, and runs where it is named."""
    put(tmp_path, "a.yaml")
    (tmp_path / f"b{ending}").write_text(MEANT)
    found = discovery.find((tmp_path,))
    why = f"its name ends with {ending}, and folders are searched for .yaml and .yml; rename it, or name the file"
    assert [item.name for item in found.scenarios] == ["a"]
    assert found.passed_over == (SkippedScenario(str(tmp_path / f"b{ending}"), f"passed over: {why}", False),)
    assert not discovery.find((tmp_path, tmp_path / f"b{ending}")).passed_over


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"version": "1.2", "name": "a-package"}',
        '{"version": 3, "subject": {"CN": "a"}}',
        '{"name": "welcome", "subject": "Hello"}',
        '{"services": {"subject": {}}, "name": "a"}',
        "no JSON: subject: {",
    ],
)
def test_other_json_files_are_not_spoken_of(tmp_path: Path, text: str) -> None:
    """Packages, certificates, messages."""
    put(tmp_path, "a.yaml")
    (tmp_path / "b.json").write_text(text)
    assert not discovery.find((tmp_path,)).passed_over


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "compose.yaml",
            "services:\n  web: {image: a}\n  db: {image: b}\n",
            "--compose {} SERVICE; its services: web, db",
        ),
        ("compose.json", '{"services": {"web": {}}}', "--compose {} SERVICE; its services: web"),
        ("task.json", '{"containerDefinitions": []}', "--task-definition {}"),
    ],
)
def test_other_files_are_told_their_command(tmp_path: Path, name: str, text: str, said: str) -> None:
    """By `run`, `validate` and `plan` alike."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError) as refused:
        discovery.load((tmp_path / name,))
    assert said.format(tmp_path / name) in str(refused.value)


@given(st.text(alphabet=st.sampled_from("version: 1\n\t{}[]\"'#-subject,&*!|>"), max_size=60))
def test_any_text_has_a_kind(text: str) -> None:
    """Noise is somebody else's; nothing is raised."""
    kind = file_kinds.kind_of(text)
    assert not (kind.is_scenario and kind.why_not)
    file_kinds.other_format(text, "x.yaml")
