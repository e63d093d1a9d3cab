"""What a container can be given, and how each thing is called where people write it. Pure.

One row a key: its name in a scenario's `subject`, in a Compose file, in a container definition of Amazon ECS and in the
Docker Engine API, the option of `check`, what it may change about a stop, and who does not apply it. The readers of
Compose files and of `check`'s options, the engines' refusals and the table of docs/settings.md come from it.
"""

from __future__ import annotations

from stop_harness.model import AS_THE_IMAGE, DEFAULT_PIDS_LIMIT, Outcome, Subject
from stop_harness.records import dataclass

STARTS = (Outcome.NOT_RUNNING, Outcome.CRASHED)
"""Doubtful where a program may miss something that it needs to start."""

ANY = tuple(outcome for outcome in Outcome if outcome is not Outcome.INCONCLUSIVE)
"""Doubtful where the stop itself may be another one."""

SLOWER = (Outcome.GRACEFUL, Outcome.LOSSY)
"""Doubtful where a limit may make a stop slower: one that went well may then end in SIGKILL."""


@dataclass(frozen=True)
class ContainerKey:
    """One thing that a container can be given.

    `key`: of `subject`. `field`: of `ContainerSettings`, or of `Subject` where that has it; empty where both have none.
    `compose`, `task`, `api`, `option`: its name there; empty where there is none. `metavar`: what the option takes;
    empty: nothing. `many`: the option may be repeated. `changes`: what it may change about a stop. `doubts`: outcomes
    that may be others without it. `process`, `ecs`: why the engine of this name refuses it; empty: it applies it.
    """

    key: str
    field: str
    compose: str
    task: str
    api: str
    option: str
    metavar: str
    changes: str
    doubts: tuple[Outcome, ...] = ANY
    many: bool = False
    process: str = ""
    ecs: str = ""
    help: str = ""


_NO_CONTAINER = "it runs no container"
_NO_LIMITS = "it sets no limits"
_NO_PRIVILEGES = "it gives and takes no rights"
_HOST_FILES = "files lie where this machine has them"

KEYS = (
    ContainerKey(
        "tty",
        "tty",
        "tty",
        "pseudoTerminal",
        "Tty",
        "--tty",
        "",
        "shells and tools that find a terminal are interactive and ignore SIGTERM",
        process="it has no terminal to give",
        help="Give it a terminal.",
    ),
    ContainerKey(
        "stdin_open",
        "stdin_open",
        "stdin_open",
        "interactive",
        "OpenStdin",
        "--interactive",
        "",
        "a program that reads its input ends at once where that is closed",
        process="standard input is empty there",
        help="Keep its standard input open.",
    ),
    ContainerKey(
        "user",
        "",
        "user",
        "user",
        "User",
        "--user",
        "USER[:GROUP]",
        "what it may write, signal and open when it starts and when it stops",
        help="Run as this user, by name or number.",
    ),
    ContainerKey(
        "working_directory",
        "",
        "working_dir",
        "workingDirectory",
        "WorkingDir",
        "--workdir",
        "PATH",
        "where it finds its files",
        STARTS,
        help="Start it in this directory.",
    ),
    ContainerKey(
        "env_file",
        "env_files",
        "env_file",
        "environmentFiles",
        "Env",
        "--env-file",
        "FILE",
        "every setting of the program, such as how long it drains",
        many=True,
        help="Set the environment variables in this file. May be repeated.",
    ),
    ContainerKey(
        "volumes",
        "mounts",
        "volumes",
        "mountPoints",
        "HostConfig.Mounts",
        "--volume",
        "SOURCE:TARGET[:ro]",
        "its configuration, and how long it takes to write down what it holds",
        many=True,
        process=_HOST_FILES,
        ecs="files of this machine are not the cluster's; use a task definition with `volumes`",
        help="Mount a file or folder below this one, or a volume of its own. May be repeated.",
    ),
    ContainerKey(
        "tmpfs",
        "mounts",
        "tmpfs",
        "linuxParameters.tmpfs",
        "HostConfig.Tmpfs",
        "--tmpfs",
        "TARGET[:OPTIONS]",
        "where it can write, and how fast",
        many=True,
        process=_HOST_FILES,
        help="Keep this path in memory. May be repeated.",
    ),
    ContainerKey(
        "read_only",
        "read_only",
        "read_only",
        "readonlyRootFilesystem",
        "HostConfig.ReadonlyRootfs",
        "--read-only",
        "",
        "what it cannot write when it stops: pid files, state, sockets",
        process=_HOST_FILES,
        help="Make its root file system read-only.",
    ),
    ContainerKey(
        "cap_add",
        "cap_add",
        "cap_add",
        "linuxParameters.capabilities.add",
        "HostConfig.CapAdd",
        "--cap-add",
        "NAME",
        "whether it may signal, trace or reconfigure what it stops",
        many=True,
        process=_NO_PRIVILEGES,
        help="Add a capability. May be repeated.",
    ),
    ContainerKey(
        "cap_drop",
        "cap_drop",
        "cap_drop",
        "linuxParameters.capabilities.drop",
        "HostConfig.CapDrop",
        "--cap-drop",
        "NAME",
        "without KILL it may not signal processes of other users; without SETUID no change of the user",
        many=True,
        process=_NO_PRIVILEGES,
        help="Drop a capability. May be repeated.",
    ),
    ContainerKey(
        "security_opt",
        "security_opt",
        "security_opt",
        "dockerSecurityOptions",
        "HostConfig.SecurityOpt",
        "--security-opt",
        "OPTION",
        "which system calls it may use, and whether su and sudo work",
        many=True,
        process=_NO_PRIVILEGES,
        help="Set a security option, such as no-new-privileges. May be repeated.",
    ),
    ContainerKey(
        "privileged",
        "privileged",
        "privileged",
        "privileged",
        "HostConfig.Privileged",
        "--privileged",
        "",
        "everything that needs rights on the machine",
        process=_NO_PRIVILEGES,
        help="Give it every right on the engine's machine.",
    ),
    ContainerKey(
        "ulimits",
        "ulimits",
        "ulimits",
        "ulimits",
        "HostConfig.Ulimits",
        "--ulimit",
        "NAME=SOFT[:HARD]",
        "how many files, processes and how much memory it has when it stops",
        many=True,
        process=_NO_LIMITS,
        help="Set a resource limit, such as nofile=1024. May be repeated.",
    ),
    ContainerKey(
        "pids_limit",
        "pids_limit",
        "pids_limit",
        "",
        "HostConfig.PidsLimit",
        "",
        "",
        "whether it can start what it stops with",
        STARTS,
        process=_NO_LIMITS,
        ecs="no member of a task definition limits processes",
    ),
    ContainerKey(
        "cpus",
        "nano_cpus",
        "cpus",
        "cpu (of the task)",
        "HostConfig.NanoCpus",
        "--cpus",
        "N",
        "how long a stop takes that has to compute",
        SLOWER,
        process=_NO_LIMITS,
        ecs="a container of a task has shares, not a limit; use a task definition with `cpu`",
        help="Limit it to so many CPUs, such as 0.25.",
    ),
    ContainerKey(
        "cpu_shares",
        "cpu_shares",
        "cpu_shares",
        "cpu",
        "HostConfig.CpuShares",
        "--cpu-shares",
        "N",
        "how long a stop takes while others compute, too",
        SLOWER,
        process=_NO_LIMITS,
        help="Set its weight against other containers when CPUs are short.",
    ),
    ContainerKey(
        "memory",
        "memory_bytes",
        "mem_limit",
        "memory",
        "HostConfig.Memory",
        "",
        "",
        "whether the OOM killer ends it when it stops",
    ),
    ContainerKey(
        "memory_swap",
        "memory_swap_bytes",
        "memswap_limit",
        "linuxParameters.maxSwap",
        "HostConfig.MemorySwap",
        "--memory-swap",
        "SIZE",
        "whether it is killed or becomes slow at its memory limit",
        process=_NO_LIMITS,
        ecs="its instances have no swap; use a task definition with `maxSwap`",
        help="Limit memory and swap together; -1: as much swap as there is.",
    ),
    ContainerKey(
        "shm_size",
        "shm_size_bytes",
        "shm_size",
        "linuxParameters.sharedMemorySize",
        "HostConfig.ShmSize",
        "--shm-size",
        "SIZE",
        "whether what uses shared memory starts, and what it can hold",
        STARTS,
        process=_NO_LIMITS,
        help="Set the size of /dev/shm.",
    ),
    ContainerKey(
        "pid",
        "pid",
        "pid",
        "pidMode (of the task)",
        "HostConfig.PidMode",
        "--pid",
        "host",
        "as PID 1 a program without a handler ignores SIGTERM; in the machine's PID namespace SIGTERM ends it",
        process="the PID namespace of its subject is its own",
        help="Use the PID namespace of the engine's machine.",
    ),
    ContainerKey(
        "ipc",
        "ipc",
        "ipc",
        "ipcMode (of the task)",
        "HostConfig.IpcMode",
        "--ipc",
        "MODE",
        "which shared memory and queues it sees",
        STARTS,
        process="it shares the IPC namespace of this machine",
        ecs="use a task definition with `ipcMode`",
        help="Set its IPC namespace: none, private, shareable or host.",
    ),
    ContainerKey(
        "network",
        "network",
        "network_mode",
        "networkMode (of the task)",
        "HostConfig.NetworkMode",
        "--network",
        "NAME",
        "whom it reaches when it stops, and who reaches it",
        process="its network is this machine's, or a loopback of its own",
        ecs="use a task definition with `networkMode`",
        help="Use none, host, bridge, or a network that the engine has.",
    ),
    ContainerKey(
        "hostname",
        "hostname",
        "hostname",
        "hostname",
        "Hostname",
        "--hostname",
        "NAME",
        "how it names itself to others, such as in a cluster that it leaves",
        STARTS,
        process="its name is this machine's",
        help="Set its host name.",
    ),
    ContainerKey(
        "extra_hosts",
        "extra_hosts",
        "extra_hosts",
        "extraHosts",
        "HostConfig.ExtraHosts",
        "--add-host",
        "NAME:ADDRESS",
        "whom it finds when it stops, such as where it deregisters",
        many=True,
        process="it reads this machine's /etc/hosts",
        help="Add a name to its /etc/hosts. May be repeated.",
    ),
    ContainerKey(
        "healthcheck",
        "healthcheck",
        "healthcheck",
        "healthCheck",
        "Healthcheck",
        "--health-cmd",
        "COMMAND",
        "when it counts as ready; and a check may run, and be cut, while it stops",
        process="it runs no health checks",
        help="Check its health by this line, in place of the image's check.",
    ),
    ContainerKey(
        "sysctls",
        "sysctls",
        "sysctls",
        "systemControls",
        "HostConfig.Sysctls",
        "--sysctl",
        "NAME=VALUE",
        "how long connections stay, and how many can wait",
        many=True,
        process="it would be set for this machine",
        help="Set a kernel parameter of its namespaces. May be repeated.",
    ),
    ContainerKey(
        "labels",
        "labels",
        "labels",
        "dockerLabels",
        "Labels",
        "--label",
        "KEY=VALUE",
        "only what somebody else does who looks for it",
        (),
        many=True,
        process=_NO_CONTAINER,
        help="Label it. May be repeated.",
    ),
    ContainerKey(
        "platform",
        "platform",
        "platform",
        "runtimePlatform (of the task)",
        "platform",
        "--platform",
        "OS/ARCH",
        "an emulated program handles signals late",
        process="it runs this machine's programs",
        ecs="use a task definition with `runtimePlatform`",
        help="Use the image for this platform.",
    ),
)
"""In the order in which docs/settings.md shows them."""

BY_KEY = {row.key: row for row in KEYS}


def refusal(subject: Subject, engine: str) -> str | None:
    """Why an engine that is no Docker engine cannot run a subject as it is asked for; None if it can."""
    asked = [row for row in KEYS if getattr(row, engine) and _asks(subject, row)]
    if not asked:
        return None
    said = "; ".join(f"`{row.key}`: {getattr(row, engine)}" for row in asked)
    return f"engine {engine} does not apply {said}"


def _asks(subject: Subject, row: ContainerKey) -> bool:
    """Whether a scenario says anything of a key. A pids limit of our own is nobody's wish."""
    if row.key == "pids_limit":
        return subject.pids_limit not in {None, DEFAULT_PIDS_LIMIT}
    if row.field == "mounts":
        tmpfs = row.key == "tmpfs"
        return any((mount.kind == "tmpfs") is tmpfs for mount in subject.settings.mounts)
    if not row.field or row.field == "memory_bytes":
        return False
    return bool(getattr(subject.settings, row.field) != getattr(AS_THE_IMAGE, row.field))


def parameter(row: ContainerKey) -> str:
    """The name of an option's value in a program."""
    return row.option.removeprefix("--").replace("-", "_")
