"""A bad network for whoever is in one network namespace: packets late, lost or rationed, and connections reset.

Only packets that come in or go out are touched, none on its loopback. What stays when this process is killed are rules
that let everything pass; they go with the namespace.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Callable

from stop_harness.linux import network_namespace
from stop_harness.linux.disturbance import CannotDisturb, Disturbance, Packets, all_packets, late
from stop_harness.linux.packet_queue import PacketQueue

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
COMMAND_S = 20


def disturb(namespace: int, disturbance: Disturbance) -> Callable[[], None]:
    """From now on. Returns what ends it, once. `namespace` is closed then, or here. Raises CannotDisturb."""
    with contextlib.ExitStack() as kept:
        kept.callback(os.close, namespace)
        _refuse_our_own(namespace)
        try:
            queue = PacketQueue(namespace, disturbance.course.schedule())
        except OSError as error:
            raise CannotDisturb(f"the kernel gives no packet queue (nfnetlink_queue): {error.strerror}") from None
        kept.callback(queue.close)
        rules = [(item, _target(queue.number)) for item in disturbance.only]
        rules += [(item, "-j ACCEPT") for item in disturbance.but]  # each is put before the last
        families = ["iptables", "ip6tables"] if os.path.exists("/proc/net/if_inet6") else ["iptables"]
        tables = {
            family: [f"{_match(item)} {target}" for item, target in rules if family == "iptables" or item.any_version]
            for family in families
        }
        for family, lines in tables.items():
            _change(namespace, family, [f"-I {line}" for line in lines])
        if _count(namespace, queue.number) != len(disturbance.only):
            raise CannotDisturb("iptables took the rules, but they are not there")
        held = kept.pop_all()

    def undo() -> None:
        with held:
            for family, lines in tables.items():
                _change(namespace, family, [f"-D {line}" for line in lines])
            if _count(namespace, queue.number):
                raise CannotDisturb("rules of iptables in its network namespace could not be removed")

    return undo


def reset(namespace: int, port: int | None = None) -> int:
    """Reset the connections of a namespace, or those of a port, for both of their ends. How many there were. Raises
    CannotDisturb."""
    _refuse_our_own(namespace)
    wanted = ["-Hnt", "state", "established", "state", "close-wait", "not", "dst", "127.0.0.0/8", "not", "dst", "[::1]"]
    if port is not None:
        wanted += ["and", "(", "sport", "=", f":{port}", "or", "dport", "=", f":{port}", ")"]
    before = _run(namespace, "ss", *wanted).splitlines()
    _run(namespace, "ss", "-K", *wanted)
    left = set(before) & set(_run(namespace, "ss", *wanted).splitlines())
    if left:
        raise CannotDisturb("the kernel resets no connections of others (CONFIG_INET_DIAG_DESTROY)")
    return len(before)


@functools.cache
def why_not() -> str | None:
    """Why nothing of this can be done on this machine; None: it was tried in a namespace that nobody is in."""
    try:
        undo = disturb(network_namespace.fresh(), Disturbance(late(1), all_packets()))
        undo()
    except OSError as error:
        return f"no network namespace can be made: {error.strerror}"
    except CannotDisturb as error:
        return str(error)
    return None


def _refuse_our_own(namespace: int) -> None:
    if network_namespace.is_ours(namespace):
        raise CannotDisturb("it is in the network of the engine's machine, which is not to be disturbed")


def _target(number: int) -> str:
    return f"-j NFQUEUE --queue-num {number} --queue-bypass"


def _match(packets: Packets) -> str:
    """In iptables' own words."""
    words = ["OUTPUT" if packets.leaves else "INPUT"]
    if not packets.loopback:
        words.append(f"! {'-o' if packets.leaves else '-i'} lo")
    options = {
        "-p": packets.protocol or None,
        "-s": packets.source,
        "-d": packets.destination,
        "--sport": packets.from_port,
        "--dport": packets.to_port,
    }
    return " ".join([*words, *(f"{option} {value}" for option, value in options.items() if value is not None)])


def _change(namespace: int, table: str, lines: list[str]) -> None:
    """All of them at once, or none."""
    if not lines:
        return
    text = "\n".join(("*filter", *lines, "COMMIT", ""))
    _run(namespace, f"{table}-restore", "--noflush", "--wait", given=text)


def _count(namespace: int, number: int) -> int:
    listed = _run(namespace, "iptables", "--wait", "-S").splitlines()
    return sum(f"--queue-num {number} " in f"{line} " for line in listed)


def _run(namespace: int, program: str, *words: str, given: str = "") -> str:
    """A program of this machine in that namespace."""
    enter, found = _find("nsenter"), _find(program)
    if enter is None or found is None:
        raise CannotDisturb(f"there is no {program if enter else 'nsenter'} on this machine")
    command = [enter, f"--net=/proc/self/fd/{namespace}", found, *words]
    try:
        done = subprocess.run(  # nosec B603 # programs of the system, words of ours, no shell
            command, check=False, input=given, capture_output=True, text=True, timeout=COMMAND_S, pass_fds=(namespace,)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotDisturb(f"{program}: {error}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:200] or f"exit code {done.returncode}"
        raise CannotDisturb(f"{program}: {said}")
    return done.stdout


def _find(program: str) -> str | None:
    return shutil.which(program, path=SYSTEM_PATH)
