"""Where an engine is and how it is spoken to: `DOCKER_HOST` with its TLS settings, or a docker context, read as the
docker CLI reads them; and the one way to a client for it, for everybody who talks to the engine.

Sources: "docker context" and "Environment variables" in the docker CLI's reference; cli/context/store of docker/cli for
the files of a context.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stop_harness.engines.docker import sdk
from stop_harness.errors import ChosenEngineError, plain_reason
from stop_harness.records import dataclass

DEFAULT_CONTEXT = "default"
"""Not stored anywhere: it stands for `DOCKER_HOST`, or for the usual sockets."""


@dataclass(frozen=True)
class Tls:
    """PEM files; None where there is none. Without `authority` the system's are asked; not `verify`: anybody is
    believed."""

    authority: str | None
    certificate: str | None
    key: str | None
    verify: bool


@dataclass(frozen=True)
class Address:
    """An engine's address as the user wrote it: unix, tcp, http, https, ssh or npipe. `context`: the docker context
    that it comes from, None for others."""

    url: str
    tls: Tls | None = None
    context: str | None = None

    def __str__(self) -> str:
        return f"{self.url} (docker context {self.context!r})" if self.context else self.url

    def hostname(self) -> str | None:
        """The machine that publishes the ports; None for a socket file."""
        if self.url.startswith("ssh://"):
            from stop_harness.engines.docker import ssh_tunnel  # late: most engines are on this machine

            return ssh_tunnel.hostname(self.url)
        return urlsplit(self.url).hostname if urlsplit(self.url).scheme in {"tcp", "http", "https"} else None

    def to_json(self) -> str:
        """For another process, see `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Address:
        """What `to_json` wrote."""
        fields = json.loads(text)
        tls = fields.pop("tls")
        return cls(**fields, tls=Tls(**tls) if tls else None)


CONNECT_TIMEOUT_S = 5
"""For the connection itself, which a machine accepts however busy its engine is."""

ANY_VERSION = "1.24"
"""Stands in the client that asks which API version to use; that question carries none."""


def connect(
    address: Address,
    *,
    version: str | None = None,
    timeout_s: float | None = 60,
    connections: int = 10,
    reached_within_s: float | None = None,
) -> sdk.DockerClient:
    """A client; asks the engine for its API version unless that is given. `timeout_s`: of one answer, None for ever.
    `connections`: kept open at most. `reached_within_s`: of one connection through a network, None: as an answer.
    Raises DockerException, requests' errors, OSError or ValueError."""
    if version is None:
        version = str(ask_version(address, timeout_s=timeout_s, reached_within_s=reached_within_s)["ApiVersion"])
    return _client(address, version, _timeouts(address, timeout_s, reached_within_s), connections)


def ask_version(address: Address, *, timeout_s: float | None, reached_within_s: float | None = None) -> dict[str, Any]:
    """`GET /version`, without one: who answers, and with which `ApiVersion`. Takes and raises what `connect` does."""
    asking = _client(address, ANY_VERSION, _timeouts(address, timeout_s, reached_within_s), connections=1)
    try:
        return require_api_version(asking.version(api_version=False))
    finally:
        asking.close()


def require_api_version(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer to `GET /version`. Raises ValueError where it says none."""
    if not answer.get("ApiVersion"):
        raise ValueError("what answers does not say an API version: is it a Docker or Podman engine?")
    return answer


Timeouts = float | tuple[float, float | None] | None
"""As requests takes them: of both, or (of the connection, of an answer); None for ever."""


def _timeouts(address: Address, timeout_s: float | None, reached_within_s: float | None) -> Timeouts:
    return timeout_s if reached_within_s is None or socket_file(address) else (reached_within_s, timeout_s)


def _client(address: Address, version: str, timeouts: Timeouts, connections: int) -> sdk.DockerClient:
    import requests

    socket = socket_file(address)
    client = sdk.DockerClient(
        base_url=f"unix://{socket}" if socket else address.url,
        version=version,
        timeout=timeouts,  # type: ignore[arg-type] # requests reads all of them
        max_pool_size=connections,
        tls=_tls_config(address.tls) if address.tls else False,
    )
    # Else requests looks for a proxy at each call (0.3 ms, measured) and puts REQUESTS_CA_BUNDLE in the place of ours.
    client.api.trust_env = False
    if not socket:
        client.api.proxies.update(requests.utils.get_environ_proxies(client.api.base_url))
    return client


def _tls_config(tls: Tls) -> sdk.TLSConfig:
    own = (tls.certificate, tls.key) if tls.certificate and tls.key else None
    return sdk.TLSConfig(client_cert=own, ca_cert=tls.authority, verify=tls.verify)


def of_client(api: Any) -> Address | None:
    """Where a client of the docker SDK finds its engine; None where that cannot be told, as through ssh."""
    base = str(getattr(api, "base_url", ""))
    if base.startswith("http+docker://"):
        path = getattr(getattr(api, "_custom_adapter", None), "socket_path", None)
        return Address(f"unix://{path}") if isinstance(path, str) else None
    if not base.startswith(("http://", "https://")):
        return None
    scheme, _, rest = base.partition("://")
    if scheme == "http":
        return Address(f"tcp://{rest}")
    certificate, key = api.cert if isinstance(api.cert, tuple) else (None, None)
    authority = api.verify if isinstance(api.verify, str) else None
    return Address(f"tcp://{rest}", Tls(authority, certificate, key, verify=bool(api.verify)))


def socket_file(address: Address) -> str | None:
    """The file through which the engine is reached, for ssh the near end of a tunnel; None for others. Raises OSError
    where ssh cannot connect."""
    if address.url.startswith("ssh://"):
        from stop_harness.engines.docker import ssh_tunnel  # late: most engines are on this machine

        return ssh_tunnel.socket_to(address.url)
    return address.url.removeprefix("unix://") if address.url.startswith("unix://") else None


def chosen(environment: dict[str, str]) -> Address | None:
    """The engine that the user named: by `DOCKER_HOST`, else `DOCKER_CONTEXT`, else the configuration's
    `currentContext`; None for none or the default context. Raises ChosenEngineError for a context that cannot be
    read."""
    if url := environment.get("DOCKER_HOST"):
        return Address(url, _environment_tls(url, environment))
    folder = _configuration_folder(environment)
    name, chosen_by = environment.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not name:
        name, chosen_by = _current_context(folder / "config.json"), f"currentContext of {folder / 'config.json'}"
    return _context(folder / "contexts", name, chosen_by) if name and name != DEFAULT_CONTEXT else None


def _configuration_folder(environment: dict[str, str]) -> Path:
    own = environment.get("DOCKER_CONFIG")
    return Path(own) if own else Path(environment.get("HOME") or "/") / ".docker"


def _environment_tls(url: str, environment: dict[str, str]) -> Tls | None:
    """Any value of DOCKER_TLS_VERIFY counts, also "0": so says the CLI. A folder alone asks for nothing."""
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    if url.startswith(("unix:", "ssh:", "npipe:")) or not (verify or environment.get("DOCKER_TLS")):
        return None
    return _tls(Path(environment.get("DOCKER_CERT_PATH") or _configuration_folder(environment)), verify=verify)


def _tls(folder: Path, *, verify: bool) -> Tls:
    authority, certificate, key = (
        str(folder / name) if (folder / name).exists() else None for name in ("ca.pem", "cert.pem", "key.pem")
    )
    return Tls(authority, certificate, key, verify)


def _current_context(file: Path) -> str | None:
    try:
        configuration = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ChosenEngineError(
            f"{file}: the docker CLI's configuration cannot be read: {plain_reason(error)}"
        ) from None
    name = configuration.get("currentContext") if isinstance(configuration, dict) else None
    return str(name) if name else None


def _context(folder: Path, name: str, chosen_by: str) -> Address:
    """A stored context: its files lie in folders that are named by the SHA-256 of its name."""
    key = hashlib.sha256(name.encode()).hexdigest()
    file = folder / "meta" / key / "meta.json"
    what = f"docker context {name!r}, chosen by {chosen_by}"
    try:
        endpoint = json.loads(file.read_text(encoding="utf-8"))["Endpoints"]["docker"]
        url, skip_verify = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        known = ", ".join([DEFAULT_CONTEXT, *_context_names(folder)])
        raise ChosenEngineError(f"{what}, does not exist: known are {known} (`docker context ls`)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChosenEngineError(f"{what}, cannot be read: {file}: {error!r}") from None
    pem_files = folder / "tls" / key / "docker"
    encrypted = not url.startswith(("unix:", "ssh:", "npipe:")) and (skip_verify or pem_files.is_dir())
    return Address(url, _tls(pem_files, verify=not skip_verify) if encrypted else None, name)


def _context_names(folder: Path) -> list[str]:
    names = []
    for file in folder.glob("meta/*/meta.json"):
        try:
            names.append(str(json.loads(file.read_text(encoding="utf-8"))["Name"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(names)
