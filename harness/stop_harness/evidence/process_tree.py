"""The process table of one look, read as a tree. Pure.

Programs are recognised by the name of their command only where their way with signals is a property of the program
itself: shells, inits, language runtimes and wrappers that only start something else.
"""

from __future__ import annotations

import itertools
import re
from enum import StrEnum
from functools import lru_cache

from stop_harness import signals
from stop_harness.evidence import runtimes
from stop_harness.model import ProcessInfo, SignalDisposition
from stop_harness.records import dataclass

SHELLS = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "rbash"})
INITS = frozenset(
    "init tini tini-static docker-init podman-init dumb-init catatonit systemd s6-svscan s6-linux-init".split()
)
WRAPPERS = frozenset("su runuser sudo doas gosu timeout npm npx yarn pnpm".split())
SUPERVISORS = frozenset("supervisord runsv runsvdir s6-supervise s6-svscan monit circusd forego honcho pm2".split())
"""Programs that start other programs and end them one by one: what they start is a service, not a job of theirs."""
GROUP_INITS = frozenset({"dumb-init"})
"""Inits that pass the stop signal on to the whole process group of their child: dumb-init(1)."""
TO_THE_GROUP, TO_THE_CHILD = "g", "c"
"""The letters of tini's option with which it does, and of dumb-init's with which it does not."""
RUNTIMES = frozenset({"python", "pypy", "node", "nodejs", "ruby", "java", "perl", "php"})
OWN_HANDLER = frozenset({"node", "nodejs"})
"""Runtimes that install a handler for SIGTERM which resets itself and raises the signal again."""
PLAIN = frozenset({"sleep", "tail", "cat", "yes", "tee"})
"""Programs that handle no signal at all, neither by a handler nor by waiting for one."""

BROUGHT_ALONG = {
    **dict.fromkeys(SHELLS | {"python", "pypy"}, ("INT",)),
    **dict.fromkeys(OWN_HANDLER, ("INT", "TERM", "USR1")),
    **dict.fromkeys(("npm", "npx", "yarn", "pnpm"), ("USR1",)),
}
"""Signals that a program catches because its runtime does: python raises KeyboardInterrupt, node opens its debugger for
SIGUSR1, and a shell that waits for a command notes SIGINT and ends if the command does (bash(1), SIGNALS). Such a
handler does nothing for the program."""

IGNORED_BY_DEFAULT = frozenset(signals.NUMBERS[name] for name in ("CHLD", "CONT", "URG", "WINCH"))
"""Signals whose default action is none, in any process: signal(7)."""

BACKGROUND = (1 << signals.NUMBERS["INT"] - 1) | (1 << signals.NUMBERS["QUIT"] - 1)
"""A shell without job control starts `command &` with both ignored: POSIX, "Asynchronous Lists"."""

COMMANDS_KEPT = 1024
"""Command lines whose programs are remembered: the trials of a run have the same few, and each is asked for often."""

_NAME_LENGTH = 70


class Reaction(StrEnum):
    """What the stop signal meets in a process, as far as one look can tell."""

    CAUGHT = "caught"
    AWAITED = "awaited"
    """The main thread sleeps in sigwait(3) or a relative; the kernel shows the signal as default meanwhile."""
    IGNORED = "ignored"
    BLOCKED = "blocked"
    """Blocked: taken later through signalfd(2), sigwait(3) or an unblocked moment, or never."""
    DEFAULT = "default"


def is_spared(process: ProcessInfo) -> bool:
    """Whether the kernel spares a container's first process the signals that it has no handler for, because it is PID 1
    of its PID namespace (`sig_task_ignored`, kernel/signal.c). Where nobody looked, it is: that is the rule."""
    return process.is_pid1 is not False


def called(process: ProcessInfo | None) -> str:
    """What a container's first process is called in sentences."""
    return "PID 1" if process is None or is_spared(process) else "the main process"


def ends_by_default(process: ProcessInfo, signal: int) -> bool:
    """Whether a container's first process is ended by a signal that it does nothing about."""
    return not is_spared(process) and signal not in IGNORED_BY_DEFAULT


def reaction(process: ProcessInfo, signal: int) -> Reaction:
    """What `signal` meets in `process`."""
    seen = process.disposition(signal)
    if seen is SignalDisposition.DEFAULT and "sigtimedwait" in process.waits_in:
        return Reaction.AWAITED
    return Reaction(seen.value)


def program(process: ProcessInfo) -> str:
    """The name by which a program is known: `python` for `/usr/bin/python3.11 -u app.py`, `npm` for `node …/npm run`.

    A process may write its own title (`worker: idle`); then it is the first word of that.
    """
    return program_of(process.command)


@lru_cache(maxsize=COMMANDS_KEPT)
def program_of(command: str) -> str:
    """The same, by the command line."""
    words = command.split()
    if not words:
        return ""
    name = _base(words[0])
    if name == "busybox" and len(words) > 1:
        name = words[1]
    if re.fullmatch(r"(?:python|pypy|ruby|perl|php)[0-9.]+", name):
        name = name.rstrip("0123456789.")
    if name in {"node", "nodejs"} and len(words) > 1:
        script = _base(words[1]).removesuffix(".js").removesuffix("-cli")
        script = "yarn" if script == "yarnpkg" else script  # Debian's name for it
        if script in WRAPPERS:
            return script
    return name


def _base(word: str) -> str:
    return word.rpartition("/")[2].lstrip("-").rstrip(":")


@dataclass(frozen=True)
class Tree:
    """The processes of one look, in the order of the table."""

    processes: tuple[ProcessInfo, ...]

    @property
    def pid1(self) -> ProcessInfo | None:
        """PID 1 of the container: its pid where the engine prints the container's, else the first whose parent is not
        in the container. A command run by `exec` has such a parent too, but came later."""
        for process in self.processes:
            if process.pid == 1:
                return process
        known = {process.pid for process in self.processes}
        return next((process for process in self.processes if process.parent_pid not in known), None)

    def children(self, process: ProcessInfo) -> tuple[ProcessInfo, ...]:
        """Direct children that are alive."""
        return tuple(
            other
            for other in self.processes
            if other.parent_pid == process.pid and other is not process and other.state != "Z"
        )

    def descendants(self, process: ProcessInfo) -> tuple[ProcessInfo, ...]:
        """Everything below, nearest first."""
        found: list[ProcessInfo] = []
        layer = self.children(process)
        while layer:
            found += layer
            layer = tuple(
                child for parent in layer for child in self.children(parent) if child not in found and child != process
            )
        return tuple(found)

    def find(self, process: ProcessInfo) -> ProcessInfo | None:
        """The same process in this look; None if it is gone or a zombie."""
        return next((other for other in self.processes if other.pid == process.pid and not _dead(other)), None)

    def name(self, process: ProcessInfo) -> str:
        """`python3 server.py` (PID 7), for sentences. Docker prints the pids of its machine, not the container's."""
        pid1 = self.pid1
        if pid1 is not None and process.pid == pid1.pid:
            return f"{called(process)}, {quoted(process)},"
        inside = pid1 is not None and pid1.pid == 1
        return f"{quoted(process)} ({'PID' if inside else 'PID on the host'} {process.pid})"


def _dead(process: ProcessInfo) -> bool:
    """A zombie without further threads: it has left, nobody has reaped it."""
    return process.state == "Z" and (process.threads or 1) <= 1


def quoted(process: ProcessInfo) -> str:
    """The command, on one line and not longer than a sentence bears."""
    text = " ".join(process.command.replace("`", "'").split())
    return f"`{text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + '…'}`"


def is_shell(process: ProcessInfo) -> bool:
    """Whether it is a shell: it waits for its child and passes no signal on."""
    return program(process) in SHELLS


def is_init(process: ProcessInfo, signal: int) -> bool:
    """Whether it passes signals on and waits for them: by its name, or because that is what it does right now."""
    return program(process) in INITS and reaction(process, signal) not in {Reaction.IGNORED}


def has_own_handler(process: ProcessInfo, signal: int) -> bool:
    """Whether it catches a signal, and not merely because its runtime does."""
    brought = (signals.NUMBERS[name] for name in BROUGHT_ALONG.get(program(process), ()))
    return reaction(process, signal) in {Reaction.CAUGHT, Reaction.AWAITED} and signal not in brought


def busy_ns(before: ProcessInfo | None, late: ProcessInfo | None) -> int:
    """CPU time that a process used from one look to another; 0 where that is not known."""
    if before is None or late is None or before.cpu_ns is None or late.cpu_ns is None:
        return 0
    return max(0, late.cpu_ns - before.cpu_ns)


def is_frozen(process: ProcessInfo) -> bool:
    """Whether each of its threads waits for a lock without a time limit: only another process could wake one."""
    return process.locked_threads is not None and 0 < (process.threads or 0) <= process.locked_threads


def is_stuck(process: ProcessInfo) -> bool:
    """Whether each of its threads waits without a time limit, for a lock or for another thread of the same process.

    One thread of Go's runtime always has a limit: it watches the others, and wakes nobody who waits for a channel or a
    lock (runtime/proc.go, sysmon); whoever waits for time or for the network is seen in epoll_wait(2) there.
    """
    spare = 1 if runtimes.runtime(process) == runtimes.GO else 0
    waiting = (process.locked_threads or 0) + (process.polling_threads or 0)
    return waiting > 0 and 0 < (process.threads or 0) <= waiting + spare


def tells_group(pid1: ProcessInfo) -> bool:
    """Whether its command line says that it passes signals on to the whole process group of its child."""
    options = list(itertools.takewhile(lambda word: word.startswith("-"), pid1.command.split()[1:]))
    letters = "".join(word[1:] for word in options if not word.startswith("--"))
    if program(pid1) in GROUP_INITS:
        return TO_THE_CHILD not in letters and "--single-child" not in options
    return program(pid1) in INITS and TO_THE_GROUP in letters


def is_background(process: ProcessInfo) -> bool:
    """Whether a shell started it with `&`: then a trap is run at once, else after this process has ended."""
    return process.ignored & BACKGROUND == BACKGROUND
