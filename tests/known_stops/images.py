"""Build the images of the known stops on the engine; what is built already costs a look into its cache."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.known_stops import cases

BUILDS_AT_ONCE = 2
"""Half of a build is waiting for a package mirror."""

JAVA_COMPILER = """\
FROM debian:bookworm-slim
RUN mkdir -p /usr/share/man/man1
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jdk-headless && rm -rf /var/lib/apt/lists/*
COPY *.java /source/
RUN javac -d /classes /source/*.java
"""
"""The Java case comes as source, while its Dockerfile copies classes."""


class ImagesFailed(Exception):
    """Some images could not be built; one line each."""


def build(client: docker.DockerClient, directory: Path, names: Iterable[str], told: Callable[[str], None]) -> None:
    """Build the image of every case named. `told` gets a line for each. Raises ImagesFailed at the end."""
    with ThreadPoolExecutor(BUILDS_AT_ONCE) as pool:
        failures = pool.map(lambda name: _build(client, directory / name, told), dict.fromkeys(names))
        if failed := [failure for failure in failures if failure]:
            raise ImagesFailed("\n".join(failed))


def _build(client: docker.DockerClient, folder: Path, told: Callable[[str], None]) -> str | None:
    """None, or why there is no image."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch) / "context"
            shutil.copytree(folder, context, copy_function=_copy)
            context.chmod(0o755)
            if any(folder.glob("*.java")):
                _compile_java(client, folder, context)
            client.images.build(path=str(context), tag=cases.image(folder.name), rm=True)
    except (DockerException, OSError) as error:
        return f"{folder.name}: {error}"
    told(f"{folder.name}: built in {time.monotonic() - began:.1f} s")
    return None


def _copy(source: str, target: str) -> str:
    """With the executable bit for scripts, which the way of the folders to here may have lost."""
    script = Path(source).read_bytes().startswith(b"#!")
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if script else 0o644)
    return target


def _compile_java(client: docker.DockerClient, folder: Path, into: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "Dockerfile").write_text(JAVA_COMPILER)
        for source in folder.glob("*.java"):
            shutil.copy(source, scratch)
        compiler, _ = client.images.build(path=scratch, tag=cases.image(f"{folder.name}-compiler"), rm=True)
    container = client.containers.create(compiler, "true")
    try:
        chunks, _ = container.get_archive("/classes/.")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(into, filter="data")
    finally:
        container.remove()
