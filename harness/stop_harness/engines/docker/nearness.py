"""Whether an engine behind a socket file shares this machine's processes and network. Nothing is started to find out.

The kernel release is no answer: it may be the same inside a VM, and is inside a container. The kernel does tell who
listens at a socket, also to a user without rights (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import os
import re
import socket
import struct
from ipaddress import IPv4Address, IPv4Network

from stop_harness.linux import proc
from stop_harness.records import dataclass

ENGINES = frozenset({"dockerd", "podman"})
ACTIVATOR = "systemd"
"""It listens for an engine that it starts, as in the packages of Debian, Ubuntu and Fedora."""

CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True)
class Nearness:
    """`processes`: the containers' are in our /proc, under the pids that the engine gives. `network`: their addresses
    can be reached from here, because the engine is in our network namespace or routes of ours lead into its own.
    `doubt`: why not, None where both are so."""

    processes: bool
    network: bool
    doubt: str | None


def of_socket(path: str) -> Nearness:
    """By the process that listens there. Raises OSError where nobody does."""
    peer = _listener(path)
    status = proc.status_of(peer) if peer else {}
    if not status:
        return Nearness(False, False, "its engine runs in another PID namespace")
    name = status.get("Name", "")
    if name in ENGINES:
        found = [peer]
    elif name == ACTIVATOR:
        found = [pid for pid in proc.all_pids() if proc.status_of(pid).get("Name") in ENGINES]
    else:
        return Nearness(False, False, f"its socket belongs to {name}, which may lead to another machine")
    beside = [pid for pid in found if _depth(pid) == _depth(os.getpid())]
    if not beside:
        return Nearness(False, False, "its engine runs in another PID namespace")
    network = any(_same_network(pid) or _leads_to(pid) for pid in beside)
    return Nearness(True, network, None if network else "its engine runs in another network namespace")


def _listener(path: str) -> int:
    """Its pid as we see it, 0 where we do not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        connection.connect(path)
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(data)[0])


def _depth(pid: int) -> int:
    return len(proc.namespace_pids(proc.status_of(pid)))


def _threads(pid: int) -> list[str]:
    """Below /proc/PID. Podman's first thread may stay behind in a container's network namespace (5.8): Go cannot end
    the first thread, which is how it is rid of others that were elsewhere."""
    try:
        return [f"task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _same_network(pid: int) -> bool:
    """A socket of ours stands in the list of its network namespace, which everybody may read, unlike `ns/net`."""
    with socket.socket(socket.AF_UNIX) as ours:
        inode = str(os.fstat(ours.fileno()).st_ino)
        lists = (proc.text_of(pid, f"{thread}/net/unix") for thread in _threads(pid))
        return any(inode in line.split() for text in lists for line in text.splitlines())


def _leads_to(pid: int) -> bool:
    """Routes of ours lead through that process's network namespace, to every network that is behind it there."""
    here = _routes(os.getpid(), "net/route")
    links = [gateway for _, gateway in here if int(gateway)]
    for thread in _threads(pid):
        addresses = re.findall(r"\|-- ([\d.]+)\s+/32 host LOCAL", proc.text_of(pid, f"{thread}/net/fib_trie"))
        through = [network for network, gateway in here if str(gateway) in addresses and not gateway.is_loopback]
        there = [network for network, gateway in _routes(pid, f"{thread}/net/route") if not int(gateway)]
        behind = [network for network in there if not any(link in network for link in links)]
        if through and all(any(network.subnet_of(way) for way in through) for network in behind):
            return True
    return False


def _routes(pid: int, file: str) -> list[tuple[IPv4Network, IPv4Address]]:
    """(network, gateway or 0.0.0.0) of each but the default route, as the kernel prints them: in its own byte order."""
    found = []
    for row in (line.split() for line in proc.text_of(pid, file).splitlines()[1:]):
        network, gateway, mask = (IPv4Address(struct.pack("=I", int(row[column], 16))) for column in (1, 2, 7))
        if int(mask):
            found.append((IPv4Network(f"{network}/{mask}"), gateway))
    return found
