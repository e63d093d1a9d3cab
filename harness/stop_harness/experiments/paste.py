"""A remedy as lines to paste into a Dockerfile, a Compose file, an ECS task definition, a Kubernetes pod. Pure."""

from __future__ import annotations

import json

from stop_harness.model import NS_PER_S, Configuration, Form, Paste, Remedy

FARGATE_LONGEST_S = 120
"""Longest stopTimeout on Fargate. Source: ECS API reference, ContainerDefinition."""


def lines(remedy: Remedy, configuration: Configuration, form: Form = Form.IMAGE) -> tuple[Paste, ...]:
    """The form that the user has, or of an image every place that has a key for the whole change."""
    if remedy.stop_delay_ns is not None:  # Kubernetes alone has a key for it
        return (_pre_stop(remedy.stop_delay_ns),) if len(remedy.kinds) == 1 else ()
    if form is Form.KUBERNETES:
        return (_kubernetes(remedy, configuration),)
    made = {
        Form.COMPOSE: (_compose(remedy, configuration),),
        Form.TASK: (_ecs(remedy, configuration, beside=True),),
        Form.IMAGE: (
            _dockerfile(remedy, configuration),
            _docker_run(remedy, configuration),
            _compose(remedy, configuration),
            _ecs(remedy, configuration),
            None if remedy.init or remedy.stop_signal is not None else _kubernetes(remedy, configuration),
        ),
    }[form]
    return tuple(paste for paste in made if paste is not None)


def _words(words: tuple[str, ...]) -> str:
    """A list of words as Dockerfile, YAML and JSON all read it."""
    return json.dumps(list(words), ensure_ascii=False)


def _argument_lists(remedy: Remedy, configuration: Configuration) -> dict[str, tuple[str, ...]]:
    """`entrypoint` and `command` as far as the remedy sets them; an entrypoint of its own drops the image's command,
    and takes away one that stands beside it."""
    if remedy.entrypoint is not None:
        command = remedy.command or ()
        return {"entrypoint": remedy.entrypoint, **({"command": command} if command or configuration.command else {})}
    return {} if remedy.command is None else {"command": remedy.command}


def _dockerfile(remedy: Remedy, configuration: Configuration) -> Paste | None:
    """The image's side. A stop timeout has no instruction."""
    if remedy.stop_timeout_ns is not None:
        return None
    text = []
    lists = _argument_lists(remedy, configuration)
    if remedy.init:
        entrypoint = lists.get("entrypoint", configuration.entrypoint)
        lists = {
            "entrypoint": ("tini", "--", *entrypoint),
            "command": lists.get("command", configuration.command),  # a new ENTRYPOINT drops an inherited CMD
        }
        text.append("# needs tini in the image: apt-get install tini, apk add tini")
    if "entrypoint" in lists:
        text.append(f"ENTRYPOINT {_words(lists['entrypoint'])}")
    if "command" in lists:
        text.append(f"CMD {_words(lists['command'])}")
    if remedy.stop_signal is not None:
        text.append(f"STOPSIGNAL {remedy.stop_signal}")
    return Paste("Dockerfile", "\n".join(text))


def _docker_run(remedy: Remedy, configuration: Configuration) -> Paste | None:
    """Options of `docker run`; a changed command is said better elsewhere."""
    if _argument_lists(remedy, configuration):
        return None
    options = ["--init"] if remedy.init else []
    options += [f"--stop-signal {remedy.stop_signal}"] if remedy.stop_signal else []
    options += [f"--stop-timeout {_seconds(remedy)}"] if remedy.stop_timeout_ns is not None else []
    return Paste("docker run", " ".join(options))


def _compose(remedy: Remedy, configuration: Configuration) -> Paste:
    text = [f"{key}: {_words(words)}" for key, words in _argument_lists(remedy, configuration).items()]
    text += ["init: true"] if remedy.init else []
    text += [f"stop_signal: {remedy.stop_signal}"] if remedy.stop_signal else []
    text += [f"stop_grace_period: {_seconds(remedy)}s"] if remedy.stop_timeout_ns is not None else []
    return Paste("Compose", "\n".join(text))


def _ecs(remedy: Remedy, configuration: Configuration, *, beside: bool = False) -> Paste | None:
    """Keys of a container definition; the stop signal has none, ECS takes the image's STOPSIGNAL. `beside`: they come
    beside those of a definition that is there, whose `command` would go on as arguments of a new `entryPoint`."""
    if remedy.stop_signal is not None:
        return None
    keys: dict[str, object] = {}
    for key, words in _argument_lists(remedy, configuration).items():
        keys["entryPoint" if key == "entrypoint" else key] = list(words)
    if beside and "entryPoint" in keys:
        keys.setdefault("command", [])
    if remedy.init:
        keys["linuxParameters"] = {"initProcessEnabled": True}
    if remedy.stop_timeout_ns is not None:
        keys["stopTimeout"] = _seconds(remedy)
    if remedy.stop_timeout_ns is not None and _seconds(remedy) > FARGATE_LONGEST_S:
        return None
    return Paste("ECS task definition", ",\n".join(f'"{key}": {json.dumps(value)}' for key, value in keys.items()))


def _kubernetes(remedy: Remedy, configuration: Configuration) -> Paste:
    """Kubernetes calls the entrypoint `command` and the command `args`; it has no init. An image's STOPSIGNAL is the
    older way to another stop signal: the key came with version 1.33 (kubernetes.io, "Container Lifecycle Hooks")."""
    names = {"entrypoint": "command", "command": "args"}
    text = [f"{names[key]}: {_words(words)}" for key, words in _argument_lists(remedy, configuration).items()]
    if remedy.stop_signal is not None:
        text.append(
            f"lifecycle: {{stopSignal: {remedy.stop_signal}}}  # Kubernetes 1.33; before, STOPSIGNAL of the image"
        )
    if remedy.stop_timeout_ns is not None:
        text.append(f"terminationGracePeriodSeconds: {_seconds(remedy)}")
    return Paste("Kubernetes", "\n".join(text))


def _pre_stop(delay_ns: int) -> Paste:
    """The sleep counts as grace period: terminationGracePeriodSeconds has to have room for it."""
    seconds = -(-delay_ns // NS_PER_S)
    return Paste("Kubernetes", f"lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}")


def _seconds(remedy: Remedy) -> int:
    """The stop timeout in whole seconds, never less than it was tried with."""
    return -(-(remedy.stop_timeout_ns or 0) // NS_PER_S)
