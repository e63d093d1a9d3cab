"""What an image would run, read from the text of its Dockerfile."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.engines.dockerfile import ImageDefaults, build_inputs, read
from stop_harness.errors import BuildError


def test_exec_form_is_taken_word_for_word() -> None:
    """The exec form is JSON: no shell, no substitution."""
    image = read('FROM x\nENTRYPOINT ["tini", "--"]\nCMD ["python3","-u","$APP"]\n')
    assert image.entrypoint == ("tini", "--")
    assert image.command == ("python3", "-u", "$APP")


def test_shell_form_is_run_by_a_shell() -> None:
    """The shell form becomes an argument of /bin/sh -c, quotes and variables untouched."""
    assert read('FROM x\nCMD python3 "my app.py" $PORT; true').command == (
        "/bin/sh",
        "-c",
        'python3 "my app.py" $PORT; true',
    )


def test_shell_instruction_changes_the_shell() -> None:
    """SHELL says what runs the shell form from there on."""
    image = read('FROM x\nSHELL ["/bin/bash", "-c"]\nENTRYPOINT exec app')
    assert image.entrypoint == ("/bin/bash", "-c", "exec app")


@pytest.mark.parametrize("text", ["['single', 'quotes']", '["half", open', "[1, 2]"])
def test_text_that_is_no_json_list_of_strings_is_a_shell_form(text: str) -> None:
    """Docker falls back to the shell form; so do we, as this mistake is worth finding."""
    assert read(f"FROM x\nCMD {text}").command == ("/bin/sh", "-c", text)


def test_nothing_set_is_none_and_empty_is_empty() -> None:
    """None means that the Dockerfile is silent; `CMD []` is a decision."""
    assert read("FROM x") == ImageDefaults()
    assert read("FROM x\nENTRYPOINT []\nCMD []").entrypoint == ()


def test_last_instruction_wins_and_names_are_case_insensitive() -> None:
    """A later CMD replaces an earlier one."""
    assert read('from x\ncmd ["a"]\nCmd ["b"]').command == ("b",)


def test_only_the_final_stage_counts() -> None:
    """A build stage's CMD is not the image's."""
    image = read('FROM golang AS build\nCMD ["go"]\nSTOPSIGNAL SIGQUIT\nFROM scratch\nENTRYPOINT ["/app"]')
    assert image == ImageDefaults(entrypoint=("/app",))


def test_stage_inherits_from_an_earlier_stage_of_the_same_file() -> None:
    """`FROM base` starts with what `AS base` set."""
    image = read('FROM x AS Base\nENV A=1\nSTOPSIGNAL 3\nCMD ["a"]\nFROM --platform=linux/amd64 base\nENV B=$A')
    assert image.environment == (("A", "1"), ("B", "1"))
    assert (image.stop_signal, image.command) == ("3", ("a",))


def test_entrypoint_drops_an_inherited_command_but_not_its_own() -> None:
    """Setting ENTRYPOINT resets a CMD that came from the base, as BuildKit does."""
    assert read('FROM x AS b\nCMD ["a"]\nFROM b\nENTRYPOINT ["e"]').command is None
    assert read('FROM x\nCMD ["a"]\nENTRYPOINT ["e"]').command == ("a",)


def test_environment_in_both_syntaxes() -> None:
    """`NAME=value …` with quotes and escapes, and the old `NAME the rest`."""
    image = read("FROM x\nENV A=1 B=\"two words\" C=three\\ words D='$A'\nENV OLD all the rest\nENV A=2 E=$A${A}x")
    assert dict(image.environment) == {
        "A": "2",
        "B": "two words",
        "C": "three words",
        "D": "$A",
        "OLD": "all the rest",
        "E": "11x",
    }


def test_variables_come_from_arg_env_and_the_base_image() -> None:
    """ENV beats ARG, a build argument beats an ARG's default, `$PATH` is the base image's."""
    text = "ARG V=1\nFROM x\nARG V\nARG S=TERM\nARG V2=${V}.0\nENV VERSION=$V2 PATH=/opt/bin:$PATH\nSTOPSIGNAL SIG${S}"
    image = read(text, (("S", "QUIT"),), (("PATH", "/bin"),))
    assert dict(image.environment) == {"VERSION": "1.0", "PATH": "/opt/bin:/bin"}
    assert image.stop_signal == "SIGQUIT"


def test_defaults_and_alternatives_of_variables() -> None:
    """`${X:-word}` and `${X:+word}`; an escaped dollar stays."""
    image = read("FROM x\nENV A=${N:-none} B=${A:+some} C=\\$A")
    assert dict(image.environment) == {"A": "none", "B": "", "C": "$A"}


def test_relative_working_directories_add_up() -> None:
    """WORKDIR without a slash continues the one before."""
    assert read("FROM x\nENV D=app\nWORKDIR /srv\nWORKDIR $D/../web").working_directory == "/srv/web"


def test_lines_continue_and_comments_vanish() -> None:
    """A comment or a blank line inside a continued instruction is no part of it."""
    text = '# hello\n\nFROM x\nCMD ["a", \\\n  # why b\n\n  "b"]   \n# end'
    assert read(text).command == ("a", "b")


def test_escape_directive_changes_the_continuation() -> None:
    """With a backtick as escape, a backslash at a line's end is text."""
    text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM x\nENV P=C:\\dir `\n  Q=2\n"
    assert dict(read(text).environment) == {"P": "C:\\dir", "Q": "2"}


def test_here_documents_are_passed_over() -> None:
    """What looks like an instruction in a here-document is not one."""
    text = 'FROM x\nRUN <<EOF cat > f\nCMD ["wrong"]\nEOF\nCOPY <<-"A" <<B /d/\n\tCMD x\n\tA\nCMD y\nB\nCMD ["right"]'
    assert read(text).command == ("right",)


def test_other_instructions_with_cmd_in_them_do_not_count() -> None:
    """HEALTHCHECK CMD and ONBUILD CMD are not the image's CMD."""
    assert read("FROM x\nHEALTHCHECK CMD curl x\nONBUILD CMD y").command is None


def test_a_text_without_from_is_an_error() -> None:
    """No FROM, no image; the message says so."""
    with pytest.raises(BuildError, match="no FROM"):
        read('CMD ["a"]')


@pytest.mark.parametrize(
    ("copy", "path", "expected"),
    [
        ("COPY . .", "/app/server.py", "server.py"),
        ("", "/app/server.py", "server.py"),
        ("COPY e.sh /e.sh", "/e.sh", "e.sh"),
        ("COPY server.py /app/main.py", "/app/main.py", "server.py"),
        ("COPY src/ /app/", "/app/a/b.py", "src/a/b.py"),
        ('COPY --chmod=755 ["a.sh", "b.sh", "/bin/"]', "/bin/b.sh", "b.sh"),
        ("COPY --from=build /out /app", "/app/out", "out"),
    ],
)
def test_a_path_of_the_image_is_found_in_the_build_context(copy: str, path: str, expected: str) -> None:
    """COPY says where a file came from; without one it is sought below WORKDIR."""
    assert expected in read(f"FROM x\nWORKDIR /app\n{copy}").in_context(path)


@pytest.mark.parametrize("path", ["server.py", "/", "/etc/passwd", "/app/../etc/passwd", "/application"])
def test_other_paths_are_not_in_the_context(path: str) -> None:
    """Relative paths, the root and places outside WORKDIR belong to the machine."""
    assert read("FROM x\nWORKDIR /app").in_context(path) == ()


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader fail in any other way than BuildError."""
    assert isinstance(read("FROM x\n" + text), ImageDefaults)
    with contextlib.suppress(BuildError):
        read(text)


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), st.text("ab =$'\"\\", max_size=8), max_size=4))
def test_quoted_values_come_back(values: dict[str, str]) -> None:
    """Whatever is escaped by backslashes arrives unchanged."""
    escaped = {name: "".join("\\" + character for character in value) for name, value in values.items()}
    line = "ENV " + " ".join(f"{name}={value}" for name, value in escaped.items())
    assert dict(read(f"FROM x\n{line} LAST=1").environment) == {**values, "LAST": "1"}


# ── What a build takes from outside ──────────────────────────────────────────────────────────────────────────────────


def test_base_images_are_those_of_every_stage_but_the_file_s_own_and_scratch() -> None:
    """Each is named once, in order of first appearance; flags and stage names are not images."""
    text = "FROM --platform=linux/amd64 go:1 AS Build\nFROM build\nFROM scratch\nFROM debian\nFROM go:1 AS again\n"
    assert build_inputs(text).base_images == ("go:1", "debian")


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("ARG BASE=a\nFROM $BASE", (), "a"),
        ("ARG BASE=a\nFROM $BASE", (("BASE", "b"),), "b"),
        ('ARG BASE="a:1"\nFROM ${BASE}', (), "a:1"),
        ("ARG BASE\nFROM ${BASE:-c}", (), "c"),
        ("ARG TAG=1 NAME=app\nFROM reg/${NAME}:${TAG} AS x", (), "reg/app:1"),
        ("ARG NAME=a\nARG BASE=${NAME}:2\nFROM \\\n  $BASE", (), "a:2"),
        ("# escape=`\nFROM `\n  a", (), "a"),
    ],
)
def test_build_arguments_stand_in_the_name_of_a_base_image(
    text: str, build_args: tuple[tuple[str, str], ...], expected: str
) -> None:
    """As Docker reads FROM: defaults, `--build-arg`, and lines that go on."""
    assert build_inputs(text, build_args).base_images == (expected,)


@pytest.mark.parametrize(
    "text",
    ["", "CMD a", "FROM", "FROM $UNKNOWN AS x", "FROM x\nRUN <<EOF\nFROM y\nEOF", "FROM x\nARG B=y\nFROM $B"],
)
def test_what_is_no_base_image_is_not_taken_for_one(text: str) -> None:
    """No FROM, one without an image, a here-document, and an argument of a stage, which FROM does not see."""
    assert build_inputs(text).base_images in {(), ("x",)}


def test_every_declared_argument_is_named() -> None:
    """Before FROM and within stages, with and without a default; what RUN prints is none."""
    text = "ARG A\nFROM x\nARG B=1 C\nRUN <<EOF\nARG D\nEOF\n"
    assert build_inputs(text).arguments == {"A", "B", "C"}


STAGES = 'FROM a AS base\nCMD [one]\nFROM base AS dev\nCMD ["two"]\nFROM b\nCMD ["three"]\n'


@pytest.mark.parametrize(
    ("target", "command", "images"),
    [(None, "three", ("a", "b")), ("dev", "two", ("a",)), ("DEV", "two", ("a",)), ("1", "two", ("a",))],
)
def test_a_stage_is_built_as_if_it_were_the_last(target: str | None, command: str, images: tuple[str, ...]) -> None:
    """What later stages start from is not needed."""
    assert read(STAGES, target=target).command == (command,)
    assert build_inputs(STAGES, target=target).base_images == images


def test_a_stage_that_is_not_there_is_a_mistake() -> None:
    """As it is to the engine."""
    with pytest.raises(BuildError, match="the Dockerfile has no stage 'gone'"):
        read(STAGES, target="gone")
