"""`DOCKER_HOST`, its TLS variables and docker contexts name the same engine as they do for the docker CLI."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker.address import Address, Tls, chosen
from stop_harness.errors import ChosenEngineError
from tests.tls_front import certificate

REMOTE = "tcp://192.0.2.1:2376"
OTHER = "tcp://192.0.2.2:2375"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user who has two contexts, one of them encrypted, and uses none."""
    for name, endpoint in {"plain": {"Host": OTHER}, "safe": {"Host": REMOTE, "SkipTLSVerify": False}}.items():
        meta = _meta(tmp_path, name)
        meta.parent.mkdir(parents=True)
        meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    _pem_files(tmp_path / "contexts" / "tls" / _key("safe") / "docker")
    return {"HOME": str(tmp_path.parent), "DOCKER_CONFIG": str(tmp_path)}


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _meta(folder: Path, name: str) -> Path:
    return folder / "contexts" / "meta" / _key(name) / "meta.json"


def _pem_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).write_text("")
    return folder


def _use(environment: dict[str, str], name: str) -> None:
    (Path(environment["DOCKER_CONFIG"]) / "config.json").write_text(json.dumps({"currentContext": name}))


def test_nothing_is_chosen_without_a_word_of_the_user(environment: dict[str, str]) -> None:
    """No variable and no current context, or the default one: the usual sockets are tried."""
    assert chosen(environment) is None
    assert chosen(environment | {"DOCKER_CONTEXT": "default"}) is None
    _use(environment, "default")
    assert chosen(environment) is None


def test_docker_host_is_before_docker_context_and_that_before_the_current_context(environment: dict[str, str]) -> None:
    """As in the CLI, which warns that DOCKER_HOST overrides the active context."""
    _use(environment, "plain")
    assert chosen(environment) == Address(OTHER, None, "plain")
    environment["DOCKER_CONTEXT"] = "safe"
    found = chosen(environment)
    assert found is not None
    assert (found.url, found.context) == (REMOTE, "safe")
    environment["DOCKER_HOST"] = "unix:///somewhere.sock"
    assert chosen(environment) == Address("unix:///somewhere.sock")
    assert chosen(environment | {"DOCKER_HOST": "", "DOCKER_CONTEXT": ""}) == Address(OTHER, None, "plain")


def test_default_context_by_variable_is_before_the_current_context(environment: dict[str, str]) -> None:
    """`DOCKER_CONTEXT=default` is how one leaves a current context for one command."""
    _use(environment, "plain")
    assert chosen(environment | {"DOCKER_CONTEXT": "default"}) is None


def test_a_context_brings_its_certificates(environment: dict[str, str]) -> None:
    """They lie beside it; without any, and without a word about verification, there is no TLS."""
    folder = Path(environment["DOCKER_CONFIG"]) / "contexts" / "tls" / _key("safe") / "docker"
    found = chosen(environment | {"DOCKER_CONTEXT": "safe"})
    assert found is not None
    assert found.tls == Tls(str(folder / "ca.pem"), str(folder / "cert.pem"), str(folder / "key.pem"), verify=True)
    plain = chosen(environment | {"DOCKER_CONTEXT": "plain"})
    assert plain is not None
    assert plain.tls is None


@pytest.mark.parametrize(
    ("variables", "verify"),
    [
        ({}, None),
        ({"DOCKER_TLS": "1"}, False),
        ({"DOCKER_TLS_VERIFY": "1"}, True),
        ({"DOCKER_TLS_VERIFY": "0"}, True),
        ({"DOCKER_TLS_VERIFY": ""}, None),
    ],
)
def test_tls_variables_mean_what_they_mean_to_the_cli(
    environment: dict[str, str], tmp_path: Path, variables: dict[str, str], verify: bool | None
) -> None:
    """Any value but the empty one switches it on; a folder of certificates alone does not."""
    folder = _pem_files(tmp_path / "pem")
    found = chosen(environment | variables | {"DOCKER_HOST": REMOTE, "DOCKER_CERT_PATH": str(folder)})
    assert found is not None
    assert (found.tls.verify if found.tls else None) is verify
    if found.tls:
        assert found.tls.authority == str(folder / "ca.pem")


def test_an_address_goes_to_another_process_whole(environment: dict[str, str]) -> None:
    """The reaper gets the same engine, with the same certificates."""
    for name in ("plain", "safe"):
        address = chosen(environment | {"DOCKER_CONTEXT": name})
        assert address is not None
        assert Address.from_json(address.to_json()) == address


def test_an_unknown_context_is_an_error_that_names_it_and_the_known_ones(environment: dict[str, str]) -> None:
    """Whoever chose an engine does not get another one instead."""
    with pytest.raises(
        ChosenEngineError, match=r"'gone', chosen by DOCKER_CONTEXT, does not exist: known are default, p"
    ):
        docker_host.find(environment | {"DOCKER_CONTEXT": "gone"})
    _use(environment, "gone")
    with pytest.raises(ChosenEngineError, match=r"'gone', chosen by currentContext of .*config\.json"):
        docker_host.find(environment)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Endpoints": {}}', '{"Endpoints": {"docker": {}}}'])
def test_a_broken_context_is_an_error_that_names_its_file(environment: dict[str, str], text: str) -> None:
    """Never a traceback."""
    _meta(Path(environment["DOCKER_CONFIG"]), "plain").write_text(text)
    with pytest.raises(ChosenEngineError, match=r"'plain', chosen by DOCKER_CONTEXT, cannot be read: .*meta\.json"):
        docker_host.find(environment | {"DOCKER_CONTEXT": "plain"})


def test_a_context_that_does_not_answer_is_an_error_that_names_it(environment: dict[str, str], tmp_path: Path) -> None:
    """Also where another engine would answer."""
    meta = _meta(tmp_path, "plain")
    endpoint = {"Host": f"unix://{tmp_path}/dead.sock"}
    meta.write_text(json.dumps({"Name": "plain", "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    _use(environment, "plain")
    with pytest.raises(ChosenEngineError, match=r"dead\.sock \(docker context 'plain'\): No such file"):
        docker_host.find(environment)


@pytest.mark.parametrize(("host", "said"), [("127.0.0.1:1", "Connection refused"), ("no.such.host.invalid:1", "")])
def test_an_address_that_does_not_answer_is_said_in_one_plain_sentence(
    environment: dict[str, str], host: str, said: str
) -> None:
    """The system's own words, not those of the HTTP library; no other engine is asked instead."""
    with pytest.raises(ChosenEngineError, match=rf"^DOCKER_HOST: no engine answers at tcp://{host}: {said}") as failure:
        docker_host.find(environment | {"DOCKER_HOST": f"tcp://{host}"})
    assert "Connection" not in str(failure.value).replace("Connection refused", "")


class _Slow(BaseHTTPRequestHandler):
    """An engine on a busy machine: it says its version at once, and what else it is only seconds later."""

    def do_GET(self) -> None:
        """`/version` and `/info`."""
        slow = self.path.endswith("/info")
        if slow:
            self.server.patience.wait(docker_host.SLOW_S + 0.5)  # type: ignore[attr-defined] # its own
        text = json.dumps({"NCPU": 2} if slow else {"ApiVersion": "1.41", "Version": "20.10.24"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """To nobody."""


@pytest.mark.long
def test_an_engine_that_is_slow_to_say_who_it_is_is_waited_for() -> None:
    """`/info` takes longer than 5 s on a busy machine. It is an engine all the same, with a caveat that says so."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        server.patience = threading.Event()  # type: ignore[attr-defined] # nobody sets it: a wait that can end
        threading.Thread(target=server.serve_forever, daemon=True).start()
        info = docker_host.probe(Address(f"tcp://127.0.0.1:{server.server_address[1]}")).info
        server.shutdown()
    assert info.product == "Docker Engine"
    assert [caveat for caveat in info.caveats if caveat.startswith("slow: it took")] != []


def test_contexts_are_those_of_the_cli(tmp_path: Path) -> None:
    """What `docker context create` writes is found; the CLI and we name the same engine."""
    if shutil.which("docker") is None:
        pytest.skip("the docker CLI is not installed")
    environment = {"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "docker"), "PATH": "/usr/bin:/bin"}
    public, key = certificate(tmp_path)
    contexts = {
        "safe": f"host={REMOTE},ca={public},cert={public},key={key}",
        "blind": f"host={REMOTE},skip-tls-verify=true",
        "plain": f"host={OTHER}",
    }
    for name, text in contexts.items():
        subprocess.run(["docker", "context", "create", name, "--docker", text], check=True, env=environment, timeout=60)
    subprocess.run(["docker", "context", "use", "safe"], check=True, env=environment, timeout=60)
    current = chosen(environment)
    assert current is not None
    assert (current.url, current.tls is not None and current.tls.verify) == (REMOTE, True)
    blind, plain = (chosen(environment | {"DOCKER_CONTEXT": name}) for name in ("blind", "plain"))
    assert blind == Address(REMOTE, Tls(None, None, None, verify=False), "blind")
    assert plain == Address(OTHER, None, "plain")
