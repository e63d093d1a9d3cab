"""What a Dockerfile would run, where this machine has it: program, folder, environment, stop signal."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
from pathlib import Path

from stop_harness import signals
from stop_harness.engines import dockerfile
from stop_harness.engines.dockerfile import ImageDefaults
from stop_harness.engines.interface import SubjectFailed
from stop_harness.errors import BuildError, plain_reason
from stop_harness.model import (
    Problem,
    ProblemKind,
    Subject,
)


def dockerfile_of(subject: Subject) -> Path:
    return Path(subject.build_directory or ".", subject.dockerfile or "Dockerfile")


def read_dockerfile(subject: Subject) -> ImageDefaults:
    """A missing Dockerfile is an error only where the scenario names it: a directory and a command are enough here."""
    path = dockerfile_of(subject)
    try:
        return dockerfile.read(
            path.read_text(encoding="utf-8"), subject.build_args, _host_environment(), subject.target
        )
    except FileNotFoundError as error:
        if subject.dockerfile is None and Path(subject.build_directory or ".").is_dir():
            return ImageDefaults()
        raise BuildError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: cannot be read: {plain_reason(error)}") from error
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from error


def program_of(subject: Subject, image: ImageDefaults) -> tuple[str, ...]:
    """ENTRYPOINT and CMD as Docker joins them: a scenario's entrypoint drops the image's command, too."""
    entrypoint = image.entrypoint if subject.entrypoint is None else subject.entrypoint
    inherited = image.command if subject.entrypoint is None else None
    command = inherited if subject.command is None else subject.command
    return (*(entrypoint or ()), *(command or ()))


_PATH_IN_TEXT = re.compile(r"(?<![^\s'\"`=:;&|()<>])/[^\s'\"`=:;&|()<>]+")


def on_this_machine(words: tuple[str, ...], image: ImageDefaults, subject: Subject) -> tuple[str, ...]:
    """The image's paths within `words` (also in shell text) as paths in the build directory, where the file exists."""
    return tuple(_located(word, image, subject) for word in words)


def _located(word: str, image: ImageDefaults, subject: Subject) -> str:
    build_directory = os.path.abspath(subject.build_directory or ".")

    def find(path: str) -> str:
        places = (os.path.join(build_directory, place) for place in image.in_context(path))
        return next((os.path.normpath(place) for place in places if os.path.exists(place)), path)

    if find(word) != word:
        return find(word)
    is_shell_text = re.search(r"\s", word) is not None

    def replaced(match: re.Match[str]) -> str:
        place = find(match[0])
        # What is not found stays as it is: quoted, the `$` in /proc/$$/status would lose its meaning.
        return shlex.quote(place) if is_shell_text and place != match[0] else place

    return _PATH_IN_TEXT.sub(replaced, word)


def directory_of(subject: Subject, image: ImageDefaults) -> str:
    """The build directory stands for WORKDIR; a `working_directory` inside it for the place below."""
    build_directory = os.path.abspath(subject.build_directory or ".")
    wanted = subject.working_directory
    if wanted is None:
        return build_directory
    if not wanted.startswith("/"):
        return os.path.join(build_directory, wanted)
    return _located(wanted, image, subject)


def _host_environment() -> tuple[tuple[str, str], ...]:
    """PATH, HOME and LANG of this machine; PATH without our own virtual environment, which is not the subject's."""
    ours = {os.path.join(place, "bin") for place in (os.environ.get("VIRTUAL_ENV"),) if place}
    if sys.prefix != sys.base_prefix:
        ours.add(os.path.join(sys.prefix, "bin"))
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = os.pathsep.join(place for place in path if place.rstrip("/") not in ours)
    others = tuple((name, os.environ[name]) for name in ("HOME", "LANG") if name in os.environ)
    return (("PATH", kept), *others)


def environment_of(subject: Subject, image: ImageDefaults) -> tuple[tuple[str, str], ...]:
    of_image = ((name, _located(value, image, subject)) for name, value in image.environment)
    return tuple((dict(_host_environment()) | dict(of_image) | dict(subject.environment)).items())


def is_present_user(user: str) -> bool:
    name = user.partition(":")[0]
    if name.isdigit():
        return int(name) == os.geteuid()
    try:
        return pwd.getpwnam(name).pw_uid == os.geteuid()
    except KeyError:
        return False


def stop_signal_of(of_scenario: str | None, of_image: str | None) -> tuple[int, str]:
    """The stop signal's number and where it comes from. Raises SubjectFailed for a name that is none."""
    for name, source in ((of_scenario, "scenario"), (of_image, "image")):
        if name is not None:
            try:
                return signals.number(name), source
            except ValueError as error:
                problem = Problem(ProblemKind.START_FAILED, f"stop signal of the {source}: {error}")
                raise SubjectFailed(problem) from error
    return signals.SIGTERM, "default"
