"""A bad network for whoever is in one network namespace: packets late, lost or rationed, and connections reset.

Only packets that come in or go out are touched, none on its loopback. What stays when this process is killed are rules
that let everything pass; they go with the namespace.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import subprocess
from collections.abc import Callable

from stop_harness.linux import network_namespace
from stop_harness.linux.packet_queue import PacketQueue, Schedule

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
COMMAND_S = 20
LONGEST_BACKLOG_NS = 1_000_000_000
"""Of a link with a bandwidth: what would wait longer than that is lost, as in any router's buffer."""


class CannotDisturb(Exception):
    """Why not, as a sentence."""


# ── what becomes of a packet ────────────────────────────────────────────────────────────────────────────────────────


def late(delay_ns: int, jitter_ns: int = 0) -> Schedule:
    """So much later each way, each by up to `jitter_ns` more or less."""
    if not jitter_ns:
        return lambda _size, _leaves, now_ns: now_ns + delay_ns
    least_ns, most_ns = max(0, delay_ns - jitter_ns), delay_ns + jitter_ns
    return lambda _size, _leaves, now_ns: now_ns + random.randint(least_ns, most_ns)  # nosec B311 # no secret


def late_answers(delay_ns: int) -> Schedule:
    """So much later on the way in alone."""
    return lambda _size, leaves, now_ns: now_ns if leaves else now_ns + delay_ns


def lossy(share: float) -> Schedule:
    """So many of them are lost."""
    return lambda _size, _leaves, now_ns: None if random.random() < share else now_ns  # nosec B311 # no secret


def rationed(bits_per_s: float) -> Schedule:
    """A link with a bandwidth, each way."""
    free_ns = {True: 0, False: 0}

    def schedule(size: int, leaves: bool, now_ns: int) -> int | None:
        begins_ns = max(now_ns, free_ns[leaves])
        if begins_ns - now_ns > LONGEST_BACKLOG_NS:
            return None
        free_ns[leaves] = begins_ns + round(size * 8e9 / bits_per_s)
        return free_ns[leaves]

    return schedule


# ── where ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def disturb(
    namespace: int,
    schedule: Schedule,
    port: int | None = None,
    *,
    only: tuple[str, ...] = (),
    but: tuple[str, ...] = (),
) -> Callable[[], None]:
    """From now on, packets of a namespace come and go by a schedule. `port`: only what comes from or goes to that TCP
    or UDP port. `only`: in place of that, what fits one of these matches of iptables (IPv4), such as `OUTPUT -d
    10.0.0.1`. `but`: not what fits one of these. Returns what ends it, once. `namespace` is closed then, or here.
    Raises CannotDisturb."""
    with contextlib.ExitStack() as kept:
        kept.callback(os.close, namespace)
        _refuse_our_own(namespace)
        try:
            queue = PacketQueue(namespace, schedule)
        except OSError as error:
            raise CannotDisturb(f"the kernel gives no packet queue (nfnetlink_queue): {error.strerror}") from None
        kept.callback(queue.close)
        rules = [f"{match} {_target(queue.number)}" for match in only] or _rules(queue.number, port)
        every = [*rules, *(f"{match} -j ACCEPT" for match in but)]  # each is put before the last
        tables = ["iptables", "ip6tables"] if not only and os.path.exists("/proc/net/if_inet6") else ["iptables"]
        for table in tables:
            _change(namespace, table, [f"-I {rule}" for rule in every])
        if _count(namespace, queue.number) != len(rules):
            raise CannotDisturb("iptables took the rules, but they are not there")
        held = kept.pop_all()

    def undo() -> None:
        with held:
            for table in tables:
                _change(namespace, table, [f"-D {rule}" for rule in every])
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
        undo = disturb(network_namespace.fresh(), late(1))
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


def _rules(number: int, port: int | None) -> list[str]:
    sides = {"INPUT": "! -i lo", "OUTPUT": "! -o lo"}
    target = _target(number)
    if port is None:
        return [f"{chain} {side} {target}" for chain, side in sides.items()]
    return [
        f"{chain} {side} -p {protocol} {end} {port} {target}"
        for chain, side in sides.items()
        for protocol in ("tcp", "udp")
        for end in ("--sport", "--dport")
    ]


def _change(namespace: int, table: str, lines: list[str]) -> None:
    """All of them at once, or none."""
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
