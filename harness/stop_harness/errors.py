"""The error tree, by who is at fault. The subject's misbehaviour is data, never an exception."""

from __future__ import annotations

import errno
from importlib.util import find_spec

WRONG_PLACE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
)
"""What the system says where a path cannot be a file at all: the user's mistake. Everything else that keeps a file from
being written (a full or read-only disk, missing rights, an I/O error) is the machine's."""


class StopHarnessError(Exception):
    """Base of every error that the command line turns into a message and `exit_code`."""

    exit_code = 4


class UsageError(StopHarnessError):
    """The user's command line or settings."""

    exit_code = 2


class ScenarioError(StopHarnessError):
    """A scenario file. `problems` are lines of the form `file:line:column: key: what is wrong; what is allowed`."""

    exit_code = 2

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EngineError(StopHarnessError):
    """The engine does not answer, refuses, or died; also an image that cannot be had."""

    exit_code = 4


class ChosenEngineError(EngineError):
    """The engine that the user named, by `DOCKER_HOST` or a docker context, is unknown or does not answer.

    No other engine is taken in its place: a verdict of another engine says nothing about the one that was meant.
    """


class BaseImageMissing(EngineError):
    """The base image of the shipped samples can neither be found nor pulled."""


class ImageError(StopHarnessError):
    """An image that a scenario names can neither be found nor pulled."""

    exit_code = 2


class BuildError(StopHarnessError):
    """A Dockerfile does not build: the user's mistake, hence 2. The message ends with the build log's last lines."""

    exit_code = 2


class StoreError(StopHarnessError):
    """A run directory that cannot be written or read."""

    exit_code = 2


class UnfinishedRun(StoreError):
    """A run directory of a run that was killed in its first second: among others it is passed over."""


class NotWritten(StoreError):
    """A file that was asked for could not be written: the disk is full or read-only, or its folder is gone."""

    exit_code = 4


def plain_reason(error: Exception) -> str:
    """What went wrong, for a sentence that names the file already: `No such file or directory`."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def not_written(message: str, error: OSError) -> StoreError:
    """The error for a file or folder that could not be written: exit code 2 where its path cannot be right, else 4."""
    return StoreError(message) if error.errno in WRONG_PLACE else NotWritten(message)


class MissingExtra(StopHarnessError):
    """What was asked for needs packages that come with an extra which is not installed."""

    exit_code = 2


EXTRAS = {
    "report": ("matplotlib", "pandas"),
    "ecs": ("boto3", "botocore", "jmespath"),
    "watch": ("prometheus_client",),
    "explore": ("hypothesis",),
}
"""Packages that only some commands need, by the extra of pyproject.toml that brings them."""


def missing_extra(extra: str, what: str) -> MissingExtra | None:
    """The sentence that says what to install for `what`; None where nothing is missing."""
    if all(map(_is_installed, EXTRAS[extra])):
        return None
    return MissingExtra(f"{what} needs stop-harness[{extra}]: {install_command(extra)}")


def install_command(extra: str) -> str:
    """What brings an extra, in the way in which this copy was installed: from a clone, from a repository, by name.

    pip writes down where it took a distribution from: PEP 610, `direct_url.json`.
    """
    import json
    import shlex
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    clone, editable = Path(__file__).resolve().parents[2], True
    try:
        told = json.loads(metadata.distribution("stop-harness").read_text("direct_url.json") or "{}")
        url, folder = str(told.get("url", "")), told.get("dir_info")
        if (repository := told.get("vcs_info")) is not None:
            return "pip install " + shlex.quote(f"stop-harness[{extra}] @ {repository.get('vcs')}+{url}")
        if folder is not None and url.startswith("file:"):
            clone, editable = Path(unquote(urlsplit(url).path)), bool(folder.get("editable"))
    except (OSError, ValueError, metadata.PackageNotFoundError):
        pass
    if not (clone / "pyproject.toml").is_file():
        return f"pip install 'stop-harness[{extra}]'"
    where = "." if clone == Path.cwd() else str(clone)
    return f"pip install {'-e ' if editable else ''}{shlex.quote(f'{where}[{extra}]')}"


def require_extra(extra: str, what: str) -> None:
    """Raise MissingExtra unless every package of the extra is installed. `what` begins a sentence."""
    error = missing_extra(extra, what)
    if error is not None:
        raise error


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


class HarnessBug(StopHarnessError):
    """Something that cannot happen did; ours to mend."""


class SurroundingsError(StopHarnessError):
    """The machine gives the harness itself too little to begin with: threads, memory, files."""
