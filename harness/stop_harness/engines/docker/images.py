"""Images for the docker engine: pulled once, built once, and not again while nothing changed."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stop_harness.engines import reference_program
from stop_harness.engines.docker import build_context, own_images, sdk
from stop_harness.engines.docker.engine_api import EngineApi
from stop_harness.engines.interface import BuildOutput, PrepareProgress, configure
from stop_harness.errors import BaseImageMissing, BuildError, EngineError, ImageError
from stop_harness.model import Configuration, ContainerSettings, Scenario, Subject
from stop_harness.records import dataclass

BASE_IMAGE_ARGUMENT = "BASE_IMAGE"
"""Build argument by which the shipped samples name their base image; set from STOP_HARNESS_BASE_IMAGE."""

PARALLEL_BUILDS = 4
BUILD_LOG_LINES = 15
BUILD_TIMEOUT_S = 3600
HASH_BLOCK_BYTES = 1 << 20

HOW_TO_MAKE_A_BASE_IMAGE = """\
Without a registry, make one from Debian's packages and name it:
  apt-get install -y mmdebstrap
  mmdebstrap --variant=minbase --include=python3 bookworm - | docker import - stop-harness-base
  export STOP_HARNESS_BASE_IMAGE=stop-harness-base"""


@dataclass(frozen=True)
class Build:
    """One image to build. `scenario` is the first that needs it, for messages; scenarios of one folder share it."""

    scenario: str = field(compare=False)
    directory: Path
    dockerfile: str
    arguments: tuple[tuple[str, str], ...]
    text: str
    platform: str | None = None
    target: str | None = None

    @property
    def base_images(self) -> tuple[str, ...]:
        """Images that the Dockerfile starts from, build arguments filled in, own stages and `scratch` left out."""
        from stop_harness.engines.dockerfile import build_inputs

        return build_inputs(self.text, self.arguments, self.target).base_images


class Images:
    """Resolves each subject to an image id that can be started without looking again."""

    def __init__(self, api: EngineApi, labels: dict[str, str], base_image: str | None) -> None:
        self._api, self._labels, self._base_image = api, labels, base_image
        self._resolved: dict[Subject | Build, str] = {}
        self._builds: dict[tuple[object, ...], Build] = {}

    def of(self, scenario: Scenario) -> str:
        """The image that `prepare` found or made for this scenario."""
        return self._resolved[self._key(scenario)]

    def configuration(self, scenario: Scenario) -> Configuration:
        """Image and scenario together, joined as the engine joins them. Raises DockerException."""
        image = self._api.inspect_image(self.of(scenario))["Config"] or {}
        entrypoint, command = tuple(image.get("Entrypoint") or ()), tuple(image.get("Cmd") or ())
        return configure(scenario, entrypoint, command, image.get("StopSignal"))

    def prepare(self, scenarios: tuple[Scenario, ...], progress: PrepareProgress) -> None:
        """Find, pull or build everything. Raises ImageError, BuildError, BaseImageMissing or EngineError."""
        wanted = {self._key(scenario): scenario for scenario in reversed(scenarios)}
        builds = []
        for key, scenario in reversed(wanted.items()):
            if isinstance(key, Build):
                self._find_bases(key, progress)
                builds.append(key)
            else:
                self._find(scenario, key, progress)
        missing = [build for build in builds if build not in self._resolved and not self._is_built(build)]
        # The first build runs alone: the layers it shares with the others then come from the cache.
        for build in missing[:1]:
            self._build(build, progress)
        _side_by_side(lambda build: self._build(build, progress), missing[1:])

    def reference(self) -> Scenario | None:
        """The image of the tiny program, imported if it is not there; None for an architecture it is not made for.
        Raises DockerException."""
        program = reference_program.build(own_images.machine(self._api))
        if program is None:
            return None
        name = own_images.imported(self._api, "reference", program, self._labels, 'CMD ["/reference"]')
        image = self._local_id(name)
        if image is None:
            return None
        subject = Subject(image=name)
        self._resolved[subject] = image
        return reference_program.scenario(subject)

    def _key(self, scenario: Scenario) -> Subject | Build:
        subject = scenario.subject
        if subject.build_directory is None:
            return Subject(image=subject.image, settings=ContainerSettings(platform=subject.settings.platform))
        directory = Path(subject.build_directory)
        file = subject.dockerfile or "Dockerfile"
        # Read once: one run stops one program, whatever becomes of the folder in the meantime.
        source = (directory, file, subject.build_args, subject.settings.platform, subject.target)
        if source not in self._builds:
            self._builds[source] = self._read(scenario, directory, file)
        return self._builds[source]

    def _read(self, scenario: Scenario, directory: Path, file: str) -> Build:
        """What its folder asks for now. Raises BuildError."""
        subject = scenario.subject
        try:
            text = (directory / file).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise BuildError(f"{scenario.name}: cannot read {directory / file}: {error.strerror}") from None
        arguments = dict(subject.build_args)
        from stop_harness.engines.dockerfile import build_inputs

        if self._base_image and BASE_IMAGE_ARGUMENT in build_inputs(text).arguments:
            arguments.setdefault(BASE_IMAGE_ARGUMENT, self._base_image)
        given = tuple(sorted(arguments.items()))
        return Build(scenario.name, directory, file, given, text, subject.settings.platform, subject.target)

    def _find(self, scenario: Scenario, key: Subject, progress: PrepareProgress) -> None:
        assert key.image is not None
        try:
            platform = key.settings.platform
            found = self._local_id(key.image) if platform is None else self._local_id_for(key.image, platform)
            self._resolved[key] = found or self._pull(key.image, progress, platform)
        except sdk.errors.APIError as error:
            name = scenario.name
            if scenario.positions.places:
                name = f"{scenario.location('subject', 'image')}: {name}"
            raise ImageError(
                f"{name}: image {key.image!r} is not on the engine and cannot be pulled: {_reason(error)}\n"
                "Check the name, log in to its registry, or build it first."
            ) from None

    def _find_bases(self, build: Build, progress: PrepareProgress) -> None:
        for image in build.base_images:
            try:
                if self._local_id(image) is None:
                    self._pull(image, progress)
            except sdk.errors.APIError as error:
                raise BaseImageMissing(
                    f"{build.scenario}: base image {image!r} is not on the engine and cannot be pulled: "
                    f"{_reason(error)}\n{HOW_TO_MAKE_A_BASE_IMAGE}"
                ) from None

    def _local_id(self, name: str) -> str | None:
        try:
            return str(self._api.inspect_image(name)["Id"])
        except sdk.errors.ImageNotFound:
            return None
        except sdk.NONSENSE_ERRORS as error:
            what = f"{type(error).__name__}: {error}"
            raise EngineError(f"the engine described image {name} in a way that makes no sense ({what})") from None

    def _local_id_for(self, name: str, platform: str) -> str | None:
        """The image, if the engine has it for this platform."""
        try:
            image = self._api.inspect_image(name)
        except sdk.errors.ImageNotFound:
            return None
        wanted, found = platform.split("/"), [image.get(key) or "" for key in ("Os", "Architecture", "Variant")]
        # `linux/arm64` is any variant of it.
        return (
            str(image["Id"]) if wanted[:2] == found[:2] and (len(wanted) < 3 or wanted[2] in [*found[2:], ""]) else None
        )

    def _pull(self, name: str, progress: PrepareProgress, platform: str | None = None) -> str:
        progress(name, "pulling")
        repository, tag = sdk.utils.parse_repository_tag(name)
        image = self._api.client.images.pull(repository, tag=tag or "latest", platform=platform)
        progress(name, "pulled")
        return str(image.id)

    def _is_built(self, build: Build) -> bool:
        image = self._local_id(self._tag(build))
        if image is not None:
            self._resolved[build] = image
        return image is not None

    def _tag(self, build: Build) -> str:
        """A name made of everything the image depends on, so that an unchanged folder is never built again."""
        parts = ([build.platform] if build.platform else [], [("target", build.target)] if build.target else [])
        depends_on = (build.dockerfile, build.arguments, *parts[0], *parts[1])
        digest = hashlib.sha256(repr(depends_on).encode())
        for image in build.base_images:
            digest.update((self._local_id(image) or image).encode())
        try:
            for path, size_mode_content in _context_files(build):
                digest.update(path.encode())
                for block in size_mode_content:
                    digest.update(block)
        except OSError as error:
            changed = " (it changed while it was read)" if isinstance(error, FileNotFoundError) else ""
            where = error.filename or build.directory
            raise BuildError(f"{build.scenario}: cannot read {where}: {error.strerror}{changed}") from None
        name = re.sub(r"[^a-z0-9]+", "-", build.directory.resolve().name.lower()).strip("-") or "image"
        return f"stop-harness/{name}:{digest.hexdigest()[:16]}"

    def _build(self, build: Build, progress: PrepareProgress) -> None:
        progress(build.scenario, "building")
        tag, log = self._tag(build), list[str]()
        try:
            stream = self._api.build(
                path=str(build.directory),
                dockerfile=build.dockerfile,
                tag=tag,
                buildargs=dict(build.arguments),
                labels=self._labels,
                platform=build.platform,
                target=build.target,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=BUILD_TIMEOUT_S,
            )
            for message in stream:
                lines = str(message.get("stream") or message.get("error") or "").splitlines()
                log.extend(lines)
                for line in filter(str.strip, lines):
                    progress(build.scenario, BuildOutput(line))
                if "error" in message:
                    raise _build_error(build, log)
        except sdk.errors.APIError as error:
            raise _build_error(build, [*log, _reason(error)]) from None
        except OSError as error:
            raise EngineError(f"{build.scenario}: the engine stopped answering during the build: {error}") from None
        image = self._local_id(tag)
        if image is None:
            raise _build_error(build, [*log, "the engine reports no image"])
        self._resolved[build] = image
        progress(build.scenario, "built")


def _side_by_side(work: Callable[[Build], None], builds: list[Build]) -> None:
    """So many at a time. Raises the first error, or KeyboardInterrupt, at once.

    No pool, which would wait for the others: theirs are daemon threads, whose connections close when this process ends,
    and with its connection the engine ends a build.
    """
    free = threading.BoundedSemaphore(PARALLEL_BUILDS)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def perform(build: Build) -> None:
        with free:
            try:
                work(build)
            except BaseException as error:  # noqa: BLE001 - it is raised where the builds are waited for
                ended.put(error)
            else:
                ended.put(None)

    for build in builds:
        threading.Thread(target=perform, args=(build,), name=f"build {build.scenario}", daemon=True).start()
    for _ in builds:
        if (error := ended.get()) is not None:
            raise error


def _context_files(build: Build) -> Iterator[tuple[str, Iterator[bytes]]]:
    """(path, its mode and content in blocks) of each file that the build sends, in a stable order."""
    sent = build_context.matcher(build.directory, build.dockerfile).walk(str(build.directory))
    for path in sorted(set(sent)):
        yield path, _blocks(build.directory / path)


def _blocks(path: Path) -> Iterator[bytes]:
    status = path.lstat()
    yield f"\0{status.st_mode:o}\0".encode()
    if path.is_symlink():
        yield os.readlink(path).encode()
    elif path.is_file():
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                yield block


def _build_error(build: Build, log: list[str]) -> BuildError:
    lines = [line for line in log if line.strip()]
    tail = "\n  ".join(lines[-BUILD_LOG_LINES:]) or "(the engine sent no build log)"
    return BuildError(f"{build.scenario}: {build.directory / build.dockerfile} does not build:\n  {tail}")


def _reason(error: Any) -> str:
    return " ".join(str(error.explanation or error).split())
