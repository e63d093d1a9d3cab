"""What a manifest shows of the stop of its pod, by the rules of `pod_rules`. Pure."""

from __future__ import annotations

import re

from stop_harness.evidence import exec_form
from stop_harness.evidence.process_tree import SHELLS
from stop_harness.model import NS_PER_S, Finding, Group, Hook, HookKind, Member, Role, Severity, StaticFinding
from stop_harness.verdict.pod_rules import POD_RULES

NOT_REPRODUCED = (
    "not applied: the cluster around the pod: endpoints are not removed, nothing is evicted, no node is shut down, "
    "there is no network plugin, and an OOM kill ends one process (docs/kubernetes.md)"
)

MINIMUM_S = 2
"""What a container is left, however long its hook took; kubelet, minimumGracePeriodInSeconds."""

AT_ONCE = frozenset("apachectl echo haproxy httpd kill killall nginx pkill true".split())
"""Programs of hooks that begin the stop or do nothing, and wait for nobody."""

_SEVERITIES = {rule.id: rule.severity for rule in POD_RULES}
_SLEEP = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_OF_A_SHELL = frozenset({"&&", "||", ";", "|", "&", ">", "<"})
_EXPANDED = re.compile(r"\$[({A-Za-z_]")


def of_pod(scenario: str, group: Group) -> tuple[StaticFinding, ...]:
    """Of one scenario's pod, container by container."""
    shared_pid = group.shared is not None and group.shared.pid
    found = [StaticFinding(scenario, Finding("not-applied", Severity.NOTE, NOT_REPRODUCED))]
    for member in group.members:
        if member.role is Role.INIT:
            continue
        for rule, text in (
            *_hooks(member),
            *_grace(member, group.grace_ns // NS_PER_S),
            *_endpoints(member),
            *_command(member, shared_pid=shared_pid),
            *_signal(member),
        ):
            where = f"{member.place}: " if member.place else ""
            found.append(StaticFinding(scenario, Finding(rule, _severity(rule), where + text), member.name))
    return tuple(found)


def _severity(rule: str) -> Severity:
    return _SEVERITIES[rule]


def _grace(member: Member, grace_s: int) -> list[tuple[str, str]]:
    seconds = sum(slept_s(hook) for hook in member.before_stop)
    if seconds <= 0 or seconds + MINIMUM_S <= grace_s:
        return []
    left_s = max(0.0, grace_s - seconds)
    begin = f"preStop sleeps {seconds:g} s of the grace period of {grace_s} s"
    if left_s:
        text = f"{begin}; SIGKILL comes {MINIMUM_S} s after the stop signal"
    else:
        text = f"{begin}: it is cut off, and SIGKILL comes {MINIMUM_S} s after the stop signal"
    return [("grace-shorter-than-pre-stop", text)]


def slept_s(hook: Hook) -> float:
    """The time that a hook sleeps by what it says, in seconds; what a script does is not known."""
    if hook.kind is HookKind.SLEEP:
        return hook.sleep_ns / NS_PER_S
    if hook.kind is not HookKind.EXEC:
        return 0.0
    line = exec_form.shell_line(hook.command)
    lines = (hook.command,) if line is None else tuple(_words(part) for part in exec_form.commands(line))
    return sum(_sleep(words) for words in lines)


def _words(command: str) -> tuple[str, ...]:
    words = exec_form.simple_words(command.removeprefix("exec "))
    return words or ()


def _sleep(words: tuple[str, ...]) -> float:
    if not words or exec_form.base_name(words[0]) != "sleep":
        return 0.0
    parts = [_SLEEP.fullmatch(word) for word in words[1:]]
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts if part is not None)


def _endpoints(member: Member) -> list[tuple[str, str]]:
    if not member.services or any(_may_wait(hook) for hook in member.before_stop):
        return []
    service = f"Service {' and '.join(member.services)} sends to it"
    hook = "no preStop waits" if member.before_stop else "there is no preStop"
    text = (
        f"{service}, and {hook} until its endpoint is gone: a `sleep` of some seconds keeps requests from being refused"
    )
    return [("endpoint-removal-not-awaited", text)]


def _may_wait(hook: Hook) -> bool:
    """What a script or an HTTP hook does is not known."""
    if hook.kind is not HookKind.EXEC:
        return hook.kind is not HookKind.INVALID
    line = exec_form.shell_line(hook.command)
    if line is not None:
        commands = exec_form.commands(line)
        firsts = [exec_form.base_name(part.split()[0]) for part in commands]
        return bool(set(firsts) - AT_ONCE)
    return bool(hook.command) and exec_form.base_name(hook.command[0]) not in AT_ONCE


def _command(member: Member, *, shared_pid: bool) -> list[tuple[str, str]]:
    words = (*(member.subject.entrypoint or ()), *(member.subject.command or ()))
    line = exec_form.shell_line(words)
    firsts = [command.split()[0] for command in exec_form.commands(line or "")]
    if not firsts or firsts[-1] == "exec" or "trap" in firsts:
        return []
    shown = " ".join(f"{words[0]} {words[1]} {line}".split())
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    who = "a shell gets the stop signal" if shared_pid else "a shell is PID 1"
    unless = "" if member.subject.entrypoint else ", unless the image's ENTRYPOINT is an init"
    return [
        ("shell-form-command", f"{who} (`{shown}`) and passes no signal on{unless}; begin its last command with `exec`")
    ]


def _hooks(member: Member) -> list[tuple[str, str]]:
    found = []
    for name, hooks in (("preStop", member.before_stop), ("postStart", member.after_start)):
        for hook in hooks:
            why = _why_not(hook)
            if why:
                after = (
                    "the stop signal follows at once" if name == "preStop" else "the container is killed and restarted"
                )
                found.append(("hook-cannot-run", f"{name}: {why}; it fails, and {after}"))
    return found


def _why_not(hook: Hook) -> str:
    if hook.kind is HookKind.INVALID:
        return "a tcpSocket hook cannot be performed"
    if hook.kind is not HookKind.EXEC:
        return ""
    if not hook.command:
        return "the command is empty"
    program, rest = hook.command[0], hook.command[1:]
    if " " in program:
        return f"`{program}` is one word, and no program is called so; write a list of words"
    if exec_form.base_name(program) in SHELLS:
        return ""
    odd = next((word for word in rest if word in _OF_A_SHELL or _EXPANDED.search(word)), None)
    return f"`{odd}` is for a shell, and {program} gets it as it is; write [sh, -c, …]" if odd is not None else ""


def _signal(member: Member) -> list[tuple[str, str]]:
    if member.stop_signal is None:
        return []
    text = f"stopSignal {member.stop_signal} needs Kubernetes 1.33 with the feature gate ContainerStopSignals; "
    return [("stop-signal-is-new", text + "elsewhere the image's STOPSIGNAL is sent, else SIGTERM")]
