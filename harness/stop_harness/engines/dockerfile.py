"""Dockerfile text → what the image would run, for an engine without images, and what a build takes from outside its
folder, for one with images. Pure: no file is opened here.

Of what it would run, only that is read which decides the start and the stop of the final stage: ENTRYPOINT, CMD, SHELL,
ENV, STOPSIGNAL, WORKDIR, EXPOSE and HEALTHCHECK (to know when it is ready), and COPY/ADD from the build context (to
find a file of the image in the build directory).
Grammar: Dockerfile reference, https://docs.docker.com/reference/dockerfile/.

Limits: the base image of another registry is not read, so its ENTRYPOINT, ENV and STOPSIGNAL are unknown; RUN has no
effect; USER and ONBUILD are ignored; substitution knows `$X`, `${X}`, `${X:-word}` and `${X:+word}`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from stop_harness.errors import BuildError

DEFAULT_SHELL = ("/bin/sh", "-c")
"""What runs the shell form on Linux unless SHELL says otherwise. Source: Dockerfile reference, SHELL."""

MOST_PORT = 65_535

NO_BASE_IMAGE = "scratch"
"""`FROM scratch` begins with an empty file system. Source: Dockerfile reference, FROM."""


@dataclass(frozen=True)
class ImageDefaults:
    """What the final stage of a Dockerfile sets; None where it sets nothing.

    `entrypoint` and `command` are argument lists; a shell form has become `(*SHELL, text)`. As in Docker the program is
    their concatenation: after a shell-form ENTRYPOINT the words of CMD are only `$0`, `$1`… of the shell, i.e. ignored.
    `environment` holds ENV in order of first appearance. `ports`: TCP ports of EXPOSE. `health_test`: the command of
    HEALTHCHECK, None without one. `copies` maps container paths to paths in the build context,
    later instructions later. `lines`: instruction → line on which the one stands that counts, from 1; for messages.
    """

    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[tuple[str, str], ...] = ()
    stop_signal: str | None = None
    working_directory: str | None = None
    copies: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    health_test: tuple[str, ...] | None = None
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def in_context(self, path: str) -> tuple[str, ...]:
        """Where the container's absolute `path` may lie in the build context, relative to it, likeliest first.

        By each COPY that covers it, the last one first, then under WORKDIR as if the Dockerfile said `COPY . WORKDIR`.
        Whether a file exists there is for the caller to see.
        """
        path = posixpath.normpath(path)
        if not path.startswith("/") or not path.strip("/"):
            return ()
        found = [
            posixpath.normpath(posixpath.join(context, inside))
            for container, context in reversed(self.copies)
            if (inside := _relative(path, container)) is not None
        ]
        inside = _relative(path, self.working_directory or "/")
        return tuple(dict.fromkeys(found if inside is None else (*found, inside)))


@dataclass(frozen=True)
class BuildInputs:
    """What a build is given: images, arguments and files.

    `base_images` are the images that the stages start from, each once, in order of first appearance, with build
    arguments filled in. Stages of the Dockerfile itself and `scratch` are not among them. `arguments` are the names
    that ARG declares anywhere, so that `--build-arg` has an effect. `copied`: the line of a COPY or ADD with a path in
    the build folder that it takes, normal and relative, wildcards as they were written. `named`: the words of RUN, CMD
    and ENTRYPOINT, each once; some of them may be files that were copied.
    """

    base_images: tuple[str, ...]
    arguments: frozenset[str]
    copied: tuple[tuple[int, str], ...] = ()
    named: tuple[str, ...] = ()


@dataclass
class _Stage:
    """One build stage while it is read. `command_is_own`: CMD stood in this stage, not in the one it inherits from."""

    defaults: ImageDefaults = ImageDefaults()
    shell: tuple[str, ...] = DEFAULT_SHELL
    arguments: dict[str, str] = field(default_factory=dict)
    command_is_own: bool = False


def read(
    text: str,
    build_args: tuple[tuple[str, str], ...] = (),
    base_environment: tuple[tuple[str, str], ...] = (),
    target: str | None = None,
) -> ImageDefaults:
    """The defaults of the stage `target`, by name or number, else of the final one. `base_environment` stands for the
    base image's variables (`$PATH`).

    Raises BuildError where there is no FROM, or no such stage: such a file builds nowhere.
    """
    reader = _read_all(text, build_args, base_environment, target)
    if reader.stage is None:
        raise BuildError("the Dockerfile has no FROM instruction")
    if target is not None and not reader.is_at(target):
        raise BuildError(f"the Dockerfile has no stage {target!r}")
    return reader.stage.defaults


def build_inputs(text: str, build_args: tuple[tuple[str, str], ...] = (), target: str | None = None) -> BuildInputs:
    """Base images, declared arguments and files, as far as the stage `target` needs them. A file without FROM has no
    base image: the build gives the error."""
    reader = _read_all(text, build_args, (), target)
    images, named = (tuple(dict.fromkeys(words)) for words in (reader.base_images, reader.named))
    return BuildInputs(images, frozenset(reader.declared), tuple(reader.copied), named)


def _read_all(
    text: str,
    build_args: tuple[tuple[str, str], ...],
    base_environment: tuple[tuple[str, str], ...],
    target: str | None,
) -> _Reader:
    reader = _Reader(dict(build_args), dict(base_environment))
    escape, lines = _directives(list(enumerate(text.removeprefix("\ufeff").splitlines(), start=1)))
    for line, instruction, rest in _instructions(lines, escape):
        if instruction == "FROM" and target is not None and reader.is_at(target):
            break  # no stage needs a later one
        reader.take(instruction, rest, escape)
        reader.stands_on(line, instruction)
        reader.remember(line, instruction, rest, escape)
    return reader


class _Reader:
    """Applies instructions in order; `stage` is the one that is open, None before the first FROM."""

    def __init__(self, build_args: dict[str, str], base_environment: dict[str, str]) -> None:
        self.stage: _Stage | None = None
        self.base_images: list[str] = []
        self.declared: set[str] = set()
        self.copied: list[tuple[int, str]] = []
        self.named: list[str] = []
        self._named: dict[str, _Stage] = {}
        self._build_args = build_args
        self._base = base_environment
        self._global_arguments: dict[str, str] = {}
        self._number = -1

    def is_at(self, target: str) -> bool:
        """Whether the open stage has this name, or this number from 0."""
        named = self._named.get(target.lower())
        return self.stage is not None and (named is self.stage or (named is None and target == str(self._number)))

    def stands_on(self, line: int, instruction: str) -> None:
        """Where the instruction that was taken last stands. A CMD that ENTRYPOINT dropped stands nowhere."""
        if self.stage is not None:
            lines = {**self.stage.defaults.lines, instruction: line}
            if self.stage.defaults.command is None:
                lines.pop("CMD", None)
            self.stage.defaults = replace(self.stage.defaults, lines=lines)

    def take(self, instruction: str, rest: str, escape: str) -> None:
        """One instruction. What the stop does not depend on is passed over."""
        if instruction == "FROM":
            self._open_stage([word for word in _words(rest, escape) if not word.startswith("--")], escape)
        elif instruction == "ARG":
            self._declare(rest, escape)
        elif self.stage is None:
            return
        elif instruction == "SHELL":
            self.stage.shell = _exec_form(rest) or self.stage.shell
        elif instruction in ("ENTRYPOINT", "CMD"):
            self._set_program(self.stage, instruction, rest)
        else:
            self._set_default(self.stage, instruction, rest, escape)

    def remember(self, line: int, instruction: str, rest: str, escape: str) -> None:
        """What of an instruction may be a file of the build folder."""
        if instruction in ("COPY", "ADD"):
            self.copied += [(line, source) for source in _sources(rest, self._variables(), escape)]
        elif instruction in ("RUN", "CMD", "ENTRYPOINT"):
            self.named += re.findall(r"[\w./-]+", rest)

    def _open_stage(self, words: list[str], escape: str) -> None:
        """FROM, without its flags. Variables count in the image's name only: those from before the first FROM."""
        self._number += 1
        image = _expand(words[0], self._global_arguments, escape) if words else ""
        base = self._named.get(image.lower())
        if image and base is None and image.lower() != NO_BASE_IMAGE:
            self.base_images.append(image)
        self.stage = _Stage(base.defaults, base.shell) if base else _Stage()
        if len(words) == 3 and words[1].upper() == "AS":
            self._named[words[2].lower()] = self.stage

    def _declare(self, rest: str, escape: str) -> None:
        """ARG. One before the first FROM is visible in a stage only where the stage declares it again."""
        known = self._global_arguments if self.stage is None else self.stage.arguments
        for word in _words(rest, escape):
            name, given, value = word.partition("=")
            self.declared.add(name)
            if name in self._build_args:
                known[name] = self._build_args[name]
            elif given:
                known[name] = _expand(value, self._variables(), escape)
            elif name in self._global_arguments:
                known[name] = self._global_arguments[name]

    def _variables(self) -> dict[str, str]:
        """What `$X` may name here; ENV wins over ARG."""
        if self.stage is None:
            return self._global_arguments
        return {**self._base, **self.stage.arguments, **dict(self.stage.defaults.environment)}

    @staticmethod
    def _set_program(stage: _Stage, instruction: str, rest: str) -> None:
        program = _exec_form(rest)
        if program is None:
            program = (*stage.shell, rest) if rest else ()
        if instruction == "CMD":
            stage.command_is_own = True
            stage.defaults = replace(stage.defaults, command=program)
            return
        # A stage that sets ENTRYPOINT drops the CMD it only inherited: BuildKit, dispatchEntrypoint.
        command = stage.defaults.command if stage.command_is_own else None
        stage.defaults = replace(stage.defaults, entrypoint=program, command=command)

    def _set_default(self, stage: _Stage, instruction: str, rest: str, escape: str) -> None:
        variables = self._variables()
        defaults = stage.defaults
        if instruction == "ENV":
            pairs = dict(defaults.environment) | _environment(rest, variables, escape)
            stage.defaults = replace(defaults, environment=tuple(pairs.items()))
        elif instruction == "STOPSIGNAL":
            stage.defaults = replace(defaults, stop_signal=_expand(rest, variables, escape))
        elif instruction == "WORKDIR":
            place = posixpath.join(defaults.working_directory or "/", _expand(rest, variables, escape))
            stage.defaults = replace(defaults, working_directory=posixpath.normpath(place))
        elif instruction == "EXPOSE":
            ports = _ports([_expand(word, variables, escape) for word in _words(rest, escape)])
            stage.defaults = replace(defaults, ports=tuple(dict.fromkeys((*defaults.ports, *ports))))
        elif instruction == "HEALTHCHECK":
            stage.defaults = replace(defaults, health_test=_health_test(rest, stage.shell))
        elif instruction in ("COPY", "ADD"):
            copies = _copies(rest, defaults.working_directory or "/", variables, escape)
            stage.defaults = replace(defaults, copies=(*defaults.copies, *copies))


# ── Lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


Numbered = tuple[int, str]
"""A line with its number, from 1."""


def _directives(lines: list[Numbered]) -> tuple[str, list[Numbered]]:
    """The escape character and the lines after the parser directives, which count only at the very top."""
    escape = "\\"
    for index, (_, line) in enumerate(lines):
        directive = re.fullmatch(r"\s*#\s*(\w+)\s*=\s*(.*?)\s*", line)
        if directive is None:
            return escape, lines[index:]
        if directive[1].lower() == "escape" and directive[2] in ("\\", "`"):
            escape = directive[2]
    return escape, []


def _instructions(lines: list[Numbered], escape: str) -> Iterator[tuple[int, str, str]]:
    """(line, INSTRUCTION, rest) of each logical line, by its first line. Comments and blank lines inside a continued
    line vanish, as in Docker; the bodies of here-documents are passed over."""
    continued = re.compile(re.escape(escape) + r"[ \t]*$")
    logical, began = "", 0
    remaining = iter(lines)
    for number, line in remaining:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        began = began if logical else number
        more = continued.search(line)
        logical += line[: more.start()] if more else line
        if more:
            continue
        for found in _instruction(logical, remaining):
            yield began, *found
        logical = ""
    for found in _instruction(logical, remaining):
        yield began, *found


def _instruction(logical: str, remaining: Iterator[Numbered]) -> Iterator[tuple[str, str]]:
    words = logical.strip().split(None, 1)
    if not words:
        return
    instruction, rest = words[0].upper(), words[1] if len(words) == 2 else ""
    if instruction in ("RUN", "COPY", "ADD"):
        for tabs, end in re.findall(r"(?<!<)<<(-?)[\"']?(\w+)[\"']?", rest):
            for _, line in remaining:
                if (line.lstrip("\t") if tabs else line) == end:
                    break
    yield instruction, rest


# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _exec_form(rest: str) -> tuple[str, ...] | None:
    """The exec form, None for anything else: text that is not a JSON list of strings is a shell form, as in Docker."""
    if not rest.startswith("["):
        return None
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    return tuple(words) if all(isinstance(word, str) for word in words) else None


def _environment(rest: str, variables: Mapping[str, str], escape: str) -> dict[str, str]:
    """Both syntaxes of ENV: `NAME=value …` and `NAME the rest of the line`."""
    words = _words(rest, escape)
    if words and "=" not in words[0]:
        value = rest.split(None, 1)[1] if len(words) > 1 else ""
        return {words[0]: _expand(value, variables, escape)}
    # Every value of one instruction sees the variables from before it: Dockerfile reference, environment replacement.
    pairs = (word.partition("=") for word in words)
    return {_expand(name, variables, escape): _expand(value, variables, escape) for name, _, value in pairs}


def _ports(words: list[str]) -> tuple[int, ...]:
    """TCP ports: `8080`, `8080/tcp`, `8000-8010`; of another form, or another protocol, none."""
    found: list[int] = []
    for word in words:
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/tcp)?", word.lower())
        if match is not None:
            found += range(int(match[1]), min(int(match[2] or match[1]), MOST_PORT) + 1)
    return tuple(found)


def _health_test(rest: str, shell: tuple[str, ...]) -> tuple[str, ...] | None:
    """The command behind the options and CMD; None for NONE, or a form that no build takes."""
    words = re.sub(r"^(--\S+\s+)*", "", rest)
    kind, _, command = words.partition(" ")
    if kind.upper() != "CMD" or not command.strip():
        return None
    return _exec_form(command.strip()) or (*shell, command.strip())


_ELSEWHERE = re.compile(r"^<<|://|^git@")
"""A here-document, an address: what COPY and ADD take, and no file of the build folder."""


def _copy_words(rest: str, variables: Mapping[str, str], escape: str) -> list[str]:
    """Sources and, last, the target; empty for what does not come from the build folder."""
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        if flag.startswith("--from"):
            return []
    words = [_expand(word, variables, escape) for word in _exec_form(rest) or _words(rest, escape)]
    return words if len(words) > 1 else []


def _sources(rest: str, variables: Mapping[str, str], escape: str) -> list[str]:
    words = _copy_words(rest, variables, escape)[:-1]
    return [posixpath.normpath(word.lstrip("/") or ".") for word in words if not _ELSEWHERE.search(word)]


def _copies(
    rest: str, working_directory: str, variables: Mapping[str, str], escape: str
) -> tuple[tuple[str, str], ...]:
    """(container path, context path) of each source; empty for what does not come from the context or has wildcards."""
    words = _copy_words(rest, variables, escape)
    if not words or any(re.search(r"[*?\[]", word) or _ELSEWHERE.search(word) for word in words[:-1]):
        return ()
    target = words[-1]
    place = posixpath.normpath(posixpath.join(working_directory, target))
    sources = [posixpath.normpath(source.lstrip("/") or ".") for source in words[:-1]]
    # Text cannot tell a file, which keeps its name below a directory, from a directory, which gives its content.
    content = [(place, source) for source in sources]
    named = [(posixpath.join(place, posixpath.basename(source)), source) for source in sources if source != "."]
    directory = len(sources) > 1 or target.endswith(("/", ".")) or place == working_directory
    return tuple(content + named if directory else content)


def _relative(path: str, directory: str) -> str | None:
    """`path` relative to `directory`, both absolute and normal; None where it lies outside."""
    if path == directory:
        return "."
    prefix = directory.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _words(text: str, escape: str) -> list[str]:
    """Split at blanks outside quotes; quotes and escapes stay in the words for `_expand`."""
    mark = re.escape(escape)
    return re.findall(rf"""(?:{mark}.|"(?:{mark}.|[^"])*"|'[^']*'|[^\s])+""", text)


_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})")


def _expand(word: str, variables: Mapping[str, str], escape: str) -> str:
    """Remove quotes and escapes and put in variables; an unknown one is empty. Single quotes keep `$` as it is."""
    result: list[str] = []
    quote = ""
    position = 0
    while position < len(word):
        character = word[position]
        variable = _VARIABLE.match(word, position) if quote != "'" else None
        if variable:
            result.append(_value(variable, variables))
            position = variable.end()
            continue
        if character == escape and quote != "'" and position + 1 < len(word):
            following = word[position + 1]
            # Within double quotes only these lose the escape character, as in a shell.
            result.append(following if not quote or following in f'"${escape}' else character + following)
            position += 2
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        else:
            result.append(character)
        position += 1
    return "".join(result)


def _value(variable: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables.get(variable[1] or variable[2], "")
    if variable[3] == "-":
        return value or variable[4]
    if variable[3] == "+":
        return variable[4] if value else ""
    return value
