"""`init --from FILE` and other names of a Dockerfile: in which folder it is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stop_harness.cli.main import cli
from stop_harness.conductor import build_folder
from stop_harness.engines.dockerfile import build_inputs
from stop_harness.model import Subject
from stop_harness.scenario import discovery

FROM = "FROM debian:bookworm-slim\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `shop`, in which the command is called."""
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")


def laid(*files: str, **texts: str) -> None:
    """Files without content, and those with one, whose names have `__` for `/` and `_` for `.`."""
    known = {name.replace("__", "/").replace("_", "."): text for name, text in texts.items()}
    for name, text in {**dict.fromkeys(files, ""), **known}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def init(*arguments: str) -> tuple[Subject, str]:
    """What is stopped by the scenario that is written, by the real reader, and its text."""
    answer = CliRunner().invoke(cli, ["init", "--force", *arguments])
    assert answer.exit_code == 0, answer.output
    path = Path("stop-harness.yaml")
    return discovery.load((path,))[0].subject, path.read_text()


@pytest.mark.parametrize(
    ("file", "lines", "beside", "folder", "why"),
    [
        ("docker/Dockerfile", "COPY src/app.py /", ["src/app.py"], ".", "docker/Dockerfile:2: src/app.py lies there"),
        ("web/Dockerfile", "COPY app.py /", ["web/app.py"], "web", "web/Dockerfile:2: app.py lies there"),
        ("docker/Dockerfile", "COPY . /srv", ["app.py"], ".", "docker has nothing"),
        ("docker/Dockerfile", "COPY . /srv\nCMD python3 /srv/app.py", ["app.py", "docker/a.conf"], ".", ": app.py"),
        ("web/Dockerfile", "COPY . /srv\nCMD python3 /srv/app.py", ["web/app.py", "other.py"], "web", ": app.py lies"),
        ("web/Dockerfile", "COPY . /srv", ["web/app", "app"], "web", "the folder of this Dockerfile"),
        ("a/b/Dockerfile", "COPY b/*.toml /", ["a/b/x.toml"], "a", "a/b/Dockerfile:2: b/*.toml lies there"),
        ("a/b/Dockerfile", "ADD https://example.org/x /\nCOPY --from=x a /", ["a/b/run"], "a/b", "the folder of this"),
        ("docker/Dockerfile", "COPY app dist/web.js /", ["app"], ".", "app lies there; nowhere: dist/web.js (line 2)"),
    ],
)  # fmt: skip
def test_it_is_built_where_what_it_copies_lies(file: str, lines: str, beside: list[str], folder: str, why: str) -> None:
    """Of its own folder and those above it, up to the folder of the command. What lies nowhere is named."""
    laid(*beside)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(FROM + lines)
    made, text = init("--from", file)
    assert made.build_directory == folder
    assert Path(folder, made.dockerfile or "Dockerfile") == Path(file)
    assert why in text


def test_where_either_may_be_meant_the_other_is_offered() -> None:
    """As lines that take the place of those above."""
    laid("app", "web/app", web__Dockerfile=FROM + "COPY . /srv\n")
    made, text = init("--from", "web/Dockerfile")
    assert made.build_directory == "web"
    assert "\n  # build: .  " in text
    assert "\n  # dockerfile: web/Dockerfile\n" in text


def test_a_compose_file_that_builds_it_knows() -> None:
    """Its folder, its stage and its build arguments; it is not asked where it builds another."""
    laid("app", "web/app", web__Dockerfile=FROM.replace("slim", "slim AS run") + "ARG A\nCOPY . /srv\n")
    service = "services:\n  web:\n    build: {context: ., dockerfile: %s, target: run, args: {A: 'yes'}}\n"
    Path("compose.yaml").write_text(service % "web/Dockerfile")
    made, text = init("--from", "web/Dockerfile")
    assert (made.build_directory, made.dockerfile) == (".", "web/Dockerfile")
    assert (made.target, made.build_args) == ("run", (("A", "yes"),))
    assert "compose.yaml: build of web" in text
    Path("compose.yaml").write_text(service % "Dockerfile")
    assert init("--from", "web/Dockerfile")[0].build_directory == "web"


def test_a_scenario_in_a_folder_of_its_own_names_the_project_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called there, and without going beyond the repository."""
    laid("docker/x.md", docker__Dockerfile=FROM + "COPY app /\n", app="")
    Path("stops").mkdir()
    monkeypatch.chdir("stops")
    assert init("--from", "../docker/Dockerfile")[0].build_directory == ".."
    Path("../docker/.git").mkdir()
    assert init("--from", "../docker/Dockerfile")[0].build_directory == "../docker"


def test_a_bare_folder_elsewhere_is_left_by_one_step(tmp_path: Path) -> None:
    """What else the folder of the command has in common with it may be the whole machine."""
    file = tmp_path / "other" / "docker" / "Dockerfile"
    file.parent.mkdir(parents=True)
    file.write_text(FROM + "COPY . /\n")
    assert build_folder.of(file, file.read_text(), Path()).path == tmp_path / "other"


@pytest.mark.parametrize("name", ["Containerfile", "Dockerfile.production", "web.Dockerfile"])
def test_other_names_of_a_dockerfile_are_found(name: str) -> None:
    """`Dockerfile` and a Compose file come before them; what a build leaves out is none."""
    laid(**{"Dockerfile_dockerignore": "a"})
    Path(f"{name}.dockerignore").write_text("a")
    Path(name).write_text(FROM)
    assert init()[0].dockerfile == name
    Path("compose.yaml").write_text(f"services: {{web: {{build: {{context: ., dockerfile: {name}}}}}}}")
    assert init()[0].origin is not None
    Path("Dockerfile").write_text(FROM)
    assert init()[0].dockerfile in {None, "Dockerfile"}


def test_what_only_its_base_image_may_have_is_offered() -> None:
    """A Dockerfile without CMD and ENTRYPOINT starts nothing by itself."""
    Path("Dockerfile").write_text(FROM)
    assert "# command: [word, word]" in init()[1]
    Path("Dockerfile").write_text(FROM + 'ENTRYPOINT ["serve"]\n')
    assert "command" not in init()[1].partition("ready:")[0]


def test_of_a_dockerfile_files_and_words_are_read() -> None:
    """Of every stage, with variables and with its line; nothing of what comes from elsewhere."""
    text = """\
FROM a AS one
ARG WHERE=src
COPY --chown=1 ${WHERE}/x.py ./y /to/
RUN pip install -r requirements.txt
FROM b
COPY --from=one /z /z
ADD git@example.org:a.git https://example.org/b /c
COPY <<END /d
text
END
COPY ["e f", "/g"]
CMD ["python3", "-m", "web"]
"""
    inputs = build_inputs(text)
    assert inputs.copied == ((3, "src/x.py"), (3, "y"), (11, "e f"))
    assert {"requirements.txt", "python3", "web"} <= {*inputs.named}
