"""Records without the values that a user gave: what is written and shown has names and keyed digests. Pure.

A value is what a user gives a container in `environment`, `build_args`, `--env`, the headers of traffic, and the
`environment` and log options of a task definition; in a group, that of each container with its hooks and probes, and
every file that a volume begins with. Its digest is HMAC-SHA-256 with a key of this machine, so that two runs can be
compared and nobody without the key can try out values. Where a container repeats a value, in its log or its command
lines, an ellipsis stands for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from stop_harness.model import (
    ContainerSettings,
    GivenFile,
    Group,
    Hook,
    Member,
    Observation,
    Probe,
    RemedyTrial,
    Scenario,
    Subject,
    TaskDefinition,
)

Record = TypeVar("Record")
Pairs = tuple[tuple[str, str], ...]

HIDDEN = "hmac-sha256:"
"""How a hidden value begins; 16 hexadecimal digits follow."""

DIGEST_DIGITS = 16
"""64 bits: no two values of a run meet by chance, and the rest of the digest is nobody's business."""

SHORTEST = 6
"""A value of fewer characters is left in what a container says: `1`, `true` and `8000` stand in every log."""

MASK = "…"

VALUE_OPTIONS = frozenset({"--env", "--parameter"})
"""Options of the command line whose argument is NAME=VALUE."""

SPOKEN = frozenset(
    {
        "command",
        "text",
        "log_after_signal",
        "lost_processes",
        "suspected_processes",
        "sender",
        "message",
        "detail",
        "reason",
        "found",
        "excerpt",
        "argv",
        "contains",
        "equals",
        "matches",
        "path",
        "pattern",
        "stopped_reason",
        "not_told",
        "cut_short",
        "entrypoint",
        "title",
        "assumption",
        "lines",
        "target",
        "log",
        "seen",
        "problem",
    }
)
"""Fields of observations, remedies and expectations that may hold words of the container, or repeat a value; all others
are ours, or identify."""


class Redaction:
    """Takes the values of `scenarios` out of records. `key` None: leaves everything as it is (`--show-values`)."""

    def __init__(self, key: bytes | None, scenarios: tuple[Scenario, ...]) -> None:
        self._key = key
        self._scenarios = {item.name: self._hidden(item) for item in scenarios}
        self._values = {item.name: () if key is None else _spoken_values(item) for item in scenarios}

    @property
    def key_id(self) -> str | None:
        """Which key made the digests; None: values are in clear."""
        return None if self._key is None else key_id(self._key)

    def scenario(self, name: str) -> Scenario:
        """With digests instead of values."""
        return self._scenarios[name]

    def observation(self, seen: Observation) -> Observation:
        """Without the scenario's values in what the container said and in its command lines."""
        return self._without_words(seen, seen.scenario)

    def remedy(self, tried: RemedyTrial) -> RemedyTrial:
        """Likewise, also in the commands that were tried."""
        return self._without_words(tried, tried.scenario)

    def command_line(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Our own, as recorded: `--env NAME=…`, and no value anywhere."""
        if self._key is None:
            return words
        shown, option = [], ""
        for word in words:
            name, sign, rest = word.partition("=")
            if option in VALUE_OPTIONS:
                shown.append(f"{name}={MASK}" if sign else MASK)
            elif name in VALUE_OPTIONS and sign:
                shown.append(f"{name}={rest.partition('=')[0]}={MASK}")
            else:
                shown.append(word)
            option = "--" if option == "--" else word  # what stands behind `--` is the subject's command
        values = _longest_first(value for some in self._values.values() for value in some)
        return tuple(_masked(word, values) for word in shown)

    def _without_words(self, record: Record, scenario: str) -> Record:
        values = self._values[scenario]
        return _spoken_masked(record, values) if values else record

    def _hidden(self, scenario: Scenario) -> Scenario:
        if self._key is None:
            return scenario
        subject = scenario.subject
        values = _spoken_values(scenario)
        traffic = tuple(replace(client, headers=self._digests(client.headers)) for client in scenario.traffic)
        expected = tuple(_spoken_masked(item, values) for item in scenario.expectations)
        return replace(
            scenario,
            subject=self._subject(subject, values),
            traffic=traffic,
            expectations=expected,
            faults=tuple(_spoken_masked(item, values) for item in scenario.faults),
        )

    def _subject(self, subject: Subject, values: tuple[str, ...]) -> Subject:
        return replace(
            subject,
            environment=self._digests(subject.environment),
            build_args=self._digests(subject.build_args),
            entrypoint=_words(subject.entrypoint, values),
            command=_words(subject.command, values),
            settings=_settings(subject.settings, values),
            task=subject.task and self._task(subject.task, values),
            group=subject.group and self._group(subject.group, values),
        )

    def _group(self, group: Group, values: tuple[str, ...]) -> Group:
        def member(it: Member) -> Member:
            return replace(
                it,
                subject=self._subject(it.subject, values),
                after_start=tuple(self._hook(hook, values) for hook in it.after_start),
                before_stop=tuple(self._hook(hook, values) for hook in it.before_stop),
                started=it.started and self._probe(it.started, values),
                ready=it.ready and self._probe(it.ready, values),
            )

        def file(it: GivenFile) -> GivenFile:
            return replace(it, content=self.digest(it.path, it.content.decode(errors="replace")).encode())

        volumes = tuple(replace(it, files=tuple(map(file, it.files))) for it in group.volumes)
        return replace(group, members=tuple(map(member, group.members)), volumes=volumes)

    def _hook(self, hook: Hook, values: tuple[str, ...]) -> Hook:
        return replace(
            hook,
            command=_words(hook.command, values) or (),
            environment=self._digests(hook.environment),
            headers=self._digests(hook.headers),
        )

    def _probe(self, probe: Probe, values: tuple[str, ...]) -> Probe:
        return replace(probe, command=_words(probe.command, values) or (), headers=self._digests(probe.headers))

    def _task(self, task: TaskDefinition, values: tuple[str, ...]) -> TaskDefinition:
        document = json.loads(task.document)
        for container in document["containerDefinitions"]:
            for item in _named_values(container):
                item["value"] = self.digest(str(item.get("name")), str(item["value"]))
            options = _log_options(container)
            options.update({name: self.digest(name, str(value)) for name, value in options.items()})
            for key in ("entryPoint", "command"):
                if isinstance(container.get(key), list):
                    container[key] = [_masked(str(word), values) for word in container[key]]
        return replace(task, document=json.dumps(document))

    def _digests(self, pairs: Pairs) -> Pairs:
        return tuple((name, self.digest(name, value)) for name, value in pairs)

    def digest(self, name: str, value: str) -> str:
        """What stands for a value. The name is part of it, so that equal values do not show as equal."""
        assert self._key is not None
        made = hmac.new(self._key, f"{name}\0{value}".encode(errors="surrogatepass"), hashlib.sha256)
        return HIDDEN + made.hexdigest()[:DIGEST_DIGITS]


def mask_for(scenarios: tuple[Scenario, ...]) -> Callable[[str], str]:
    """Takes the values of all these scenarios out of a text that a program wrote, such as a build."""
    values = _longest_first(value for item in scenarios for value in _spoken_values(item))
    return lambda text: _masked(text, values)


def key_id(key: bytes) -> str:
    """Names a key without giving it away."""
    return hmac.new(key, b"stop-harness key", hashlib.sha256).hexdigest()[:8]


def has_values(scenario: Scenario) -> bool:
    """Whether there is anything to hide."""
    return bool(_values(scenario))


def has_hidden(scenario: Scenario) -> bool:
    """Whether values are missing, so that nothing can be started from this record."""
    return any(map(is_hidden, _values(scenario)))


def is_hidden(value: str) -> bool:
    """Whether a stored value is a digest."""
    digits = value.removeprefix(HIDDEN)
    return digits != value and len(digits) == DIGEST_DIGITS and all(digit in "0123456789abcdef" for digit in digits)


def is_same(one: Scenario, key_of_one: str | None, other: Scenario, key_of_other: str | None) -> bool:
    """Whether two stored scenarios are the same; made with two keys, their values are not compared."""
    if key_of_one == key_of_other:
        return one == other
    return _without_values(one) == _without_values(other)


def _without_values(scenario: Scenario) -> Scenario:
    """With names alone, to compare scenarios whose digests were made with different keys."""

    def names(pairs: Pairs) -> Pairs:
        return tuple((name, "") for name, _ in pairs)

    def bare_task(task: TaskDefinition) -> TaskDefinition:
        document = json.loads(task.document)
        for container in document["containerDefinitions"]:
            for item in _named_values(container):
                item["value"] = ""
            _log_options(container).update(dict.fromkeys(_log_options(container), ""))
            container["entryPoint"] = container["command"] = None  # a value may stand masked in them
        return replace(task, document=json.dumps(document))

    def bare_subject(it: Subject) -> Subject:
        return replace(
            it,
            environment=names(it.environment),
            build_args=names(it.build_args),
            entrypoint=None,
            command=None,
            task=it.task and bare_task(it.task),
            group=it.group and bare_group(it.group),
        )

    def bare_group(group: Group) -> Group:
        def hooks(some: tuple[Hook, ...]) -> tuple[Hook, ...]:
            return tuple(
                replace(it, command=(), environment=names(it.environment), headers=names(it.headers)) for it in some
            )

        def probe(it: Probe | None) -> Probe | None:
            return it and replace(it, command=(), headers=names(it.headers))

        members = tuple(
            replace(
                it,
                subject=bare_subject(it.subject),
                after_start=hooks(it.after_start),
                before_stop=hooks(it.before_stop),
                started=probe(it.started),
                ready=probe(it.ready),
            )
            for it in group.members
        )
        volumes = tuple(
            replace(it, files=tuple(replace(file, content=b"") for file in it.files)) for it in group.volumes
        )
        return replace(group, members=members, volumes=volumes)

    bare = bare_subject(scenario.subject)
    traffic = tuple(replace(client, headers=names(client.headers)) for client in scenario.traffic)
    return replace(scenario, subject=bare, traffic=traffic)


def changed_values(stored: Scenario, given: Scenario) -> tuple[str, ...]:
    """Names whose values differ between two scenarios that were hidden with one key, with where they stand."""
    places: tuple[tuple[str, Callable[[Scenario], Pairs]], ...] = (
        ("environment", lambda it: it.subject.environment),
        ("build_args", lambda it: it.subject.build_args),
        ("headers", lambda it: tuple(pair for client in it.traffic for pair in client.headers)),
    )
    return tuple(
        f"{place}.{name}"
        for place, pairs in places
        for name in dict.fromkeys(name for name, _ in (*pairs(stored), *pairs(given)))
        if dict(pairs(stored)).get(name) != dict(pairs(given)).get(name)
    )


def _spoken_values(scenario: Scenario) -> tuple[str, ...]:
    """Values that are taken out of what the container says, and single lines of those with several."""
    return _longest_first(part.strip() for value in _values(scenario) for part in (value, *value.splitlines()))


def _values(scenario: Scenario) -> list[str]:
    """Everything that is a value."""
    headers = [value for client in scenario.traffic for _, value in client.headers]
    return headers + _values_of_subject(scenario.subject)


def _values_of_subject(subject: Subject) -> list[str]:
    values = [value for _, value in (*subject.environment, *subject.build_args)]
    if subject.task is not None:
        values += _values_of_task(subject.task)
    for member in subject.group.members if subject.group is not None else ():
        values += _values_of_subject(member.subject)
        hooks = (*member.after_start, *member.before_stop)
        probes = tuple(probe for probe in (member.started, member.ready) if probe is not None)
        values += [value for hook in hooks for _, value in (*hook.environment, *hook.headers)]
        values += [value for probe in probes for _, value in probe.headers]
    for volume in subject.group.volumes if subject.group is not None else ():
        values += [file.content.decode(errors="replace") for file in volume.files]
    return values


def _values_of_task(task: TaskDefinition) -> list[str]:
    values: list[str] = []
    for container in json.loads(task.document)["containerDefinitions"]:
        values += [str(item["value"]) for item in _named_values(container)]
        values += [str(value) for value in _log_options(container).values()]
    return values


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    """Without the short ones; a value may be part of another."""
    return tuple(sorted({value for value in values if len(value) >= SHORTEST}, key=lambda value: (-len(value), value)))


def _named_values(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    items = container.get("environment")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and "value" in item:
            yield item


def _log_options(container: dict[str, Any]) -> dict[str, Any]:
    """`splunk-token` and the like stand there in clear."""
    logging = container.get("logConfiguration")
    options = logging.get("options") if isinstance(logging, dict) else None
    return options if isinstance(options, dict) else {}


def _words(words: tuple[str, ...] | None, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """The first word is the program: which it is decides what is said of the stop, and no secret stands there."""
    return words and (words[0], *(_masked(word, values) for word in words[1:]))


def _settings(settings: ContainerSettings, values: tuple[str, ...]) -> ContainerSettings:
    """A health check may name a variable's value; labels are for everybody to read."""
    check = settings.healthcheck
    return replace(settings, healthcheck=check and replace(check, test=_words(check.test, values) or ()))


def _masked(text: str, values: tuple[str, ...]) -> str:
    for value in values:
        text = text.replace(value, MASK)
    return text


def _command_masked(text: str, values: tuple[str, ...]) -> str:
    """As `_words` for a command line that is one text."""
    program, space, rest = text.partition(" ")
    return program + space + _masked(rest, values)


def _tail_masked(text: str, values: tuple[str, ...]) -> str:
    """The end of a log, which may begin in the middle of a value."""
    for value in values:
        for length in range(len(value) - 1, SHORTEST - 1, -1):
            if text.startswith(value[-length:]):
                return MASK + _masked(text[length:], values)
    return _masked(text, values)


def _spoken_masked(record: Record, values: tuple[str, ...]) -> Record:
    """The record with every spoken field masked, however deep."""
    changes: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type] # every caller gives a record
        old = getattr(record, field.name)
        new = _value_masked(field.name, old, values, cut=bool(getattr(record, "truncated", False)))
        if new is not old:
            changes[field.name] = new
    return replace(record, **changes) if changes else record  # type: ignore[type-var] # likewise


def _value_masked(name: str, old: Any, values: tuple[str, ...], *, cut: bool) -> Any:
    if is_dataclass(old):
        return _spoken_masked(old, values)
    if isinstance(old, tuple):
        if name in {"command", "entrypoint"}:
            new: Any = _words(old, values)
        else:
            new = tuple(_value_masked(name, item, values, cut=cut) for item in old)
        return old if all(before is after for before, after in zip(old, new, strict=True)) else new
    if type(old) is not str or name not in SPOKEN:  # an enumeration's member is text, too
        return old
    mask = _command_masked if name == "command" else _tail_masked if name == "text" and cut else _masked
    new = mask(old, values)
    return old if new == old else new
