"""Images of one program of ours, made on the engine from the program's bytes alone: no registry and no build."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.small_elf import MACHINE_OF_ARCHITECTURE


def machine(api: Any) -> str:
    """The engine's machine as the kernel calls it, "" for one that our programs are not made for. Raises what the SDK
    raises."""
    return MACHINE_OF_ARCHITECTURE.get(str(api.version().get("Arch")), "")


def imported(api: Any, name: str, program: bytes, labels: dict[str, str], change: str) -> str:
    """`stop-harness/<name>:<hash>`, whose file system is the program alone, as `/<name>`; imported if the engine does
    not have it. `change`: one line of a Dockerfile, such as `CMD ["/name"]`. Raises what the SDK raises."""

    repository, tag = f"stop-harness/{name}", hashlib.sha256(program).hexdigest()[:16]
    try:
        api.inspect_image(f"{repository}:{tag}")
    except sdk.errors.ImageNotFound:
        changes = [*(f"LABEL {key}={value}" for key, value in labels.items()), change]
        answer = api.import_image_from_data(_tar(name, program), changes=changes)
        api.tag(_id_in(answer), repository, tag)  # Podman 4.3 calls what it imports `latest`, whatever is asked for
    return f"{repository}:{tag}"


def _id_in(answer: str) -> str:
    """Of the image that was imported: the last line's `status`. Raises DockerException where there is none."""

    with contextlib.suppress(ValueError, LookupError, TypeError):
        return str(json.loads(answer.splitlines()[-1])["status"])
    raise sdk.errors.ImageLoadError(f"the import of a program answered {answer[:200]!r}")


def _tar(name: str, content: bytes) -> bytes:
    """A file system of one program."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
